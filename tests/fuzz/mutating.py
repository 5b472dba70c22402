"""One target without atheris, in a process of its own: `python -m tests.fuzz.mutating TARGET SECONDS`.

New inputs are made by changing seeds at random; nothing is learnt from what they reach. The lines that it prints are
those of libFuzzer as far as there is something to say.
"""

import random
import sys
import time
import traceback

from tests.fuzz import corpus, findings
from tests.fuzz.targets import load

FOUND = 77
_BATCH = 500


def main() -> int:
    """Try inputs until the time is over or something is found."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    target = load(name)
    seeds = [data for _, data in corpus.inputs(name)]
    number = random.SystemRandom().randrange(2**32)
    rng = random.Random(number)
    sys.stderr.write(f"INFO: Seed: {number}\n")
    end_s = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end_s:
        for _ in range(_BATCH):
            data = corpus.mutate(rng, seeds, target.WORDS)[: target.MAX_BYTES]
            count += 1
            try:
                target.run(data)
            except Exception:
                traceback.print_exc()
                path = findings.write(name, findings.shrink(target.run, data))
                sys.stderr.write(f"#{count}\tFOUND\nTest unit written to {path}\n")
                return FOUND
        sys.stderr.write(f"#{count}\tpulse\n")
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
