"""The differential test at length, in a process of its own: `python -m tests.fuzz.comparing SECONDS STREAMS`.

It stops when the time is over and so many streams have been compared. Streams that were compared once are not compared
again: the next call goes on behind them, for ever if it is told so.
"""

import sys
import time
import traceback

from tests.differential.checking import check
from tests.differential.streams import make_stream
from tests.differential.subjects import WireRig
from tests.fuzz import findings
from tests.fuzz.native import CACHE

NAME = "differential"
FOUND = 77
_BATCH = 500
_NEXT = CACHE / "next-stream"


def main() -> int:
    """Compare batch after batch."""
    seconds, streams = float(sys.argv[1]), int(sys.argv[2])
    end_s = time.monotonic() + seconds
    first = number = int(_NEXT.read_text()) if _NEXT.exists() else 0
    CACHE.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"INFO: from stream {first}\n")
    while number < first + streams or time.monotonic() < end_s:
        rig = WireRig()
        for _ in range(_BATCH):
            try:
                check(rig, make_stream(number))
            except Exception:
                traceback.print_exc()
                path = findings.write(NAME, str(number).encode())
                sys.stderr.write(f"#{number - first}\tFOUND stream {number}\nTest unit written to {path}\n")
                return FOUND
            number += 1
        _NEXT.write_text(str(number))
        sys.stderr.write(f"#{number - first}\tpulse\n")
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
