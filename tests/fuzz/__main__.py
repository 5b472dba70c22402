"""`python -m tests.fuzz [TARGET...]`: fuzz every target, or those that are named, and compare wire and law at length.

FUZZ_MINUTES is the time for each, 10 by default; 0 goes round and round until it is interrupted. FASTWS_TEST_STREAMS
is how many streams the differential test compares at least, 200,000 by default. Exit status: 0 clean, 1 something was
found, 2 wrong usage.

`python -m tests.fuzz --keep TARGET FILE NAME` makes a finding the regression NAME, as short as it can be made.
"""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from tests.fuzz import findings, native
from tests.fuzz.campaign import Campaign, say
from tests.fuzz.comparing import NAME as DIFFERENTIAL
from tests.fuzz.targets import NAMES, load

STREAMS = 200_000


def main(arguments: list[str]) -> int:
    """Run the campaign and print the summary."""
    if arguments[:1] == ["--keep"]:
        return keep(*arguments[1:])
    known = [*NAMES, DIFFERENTIAL]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        say(f"there is no target {unknown[0]!r}; there are {', '.join(known)}")
        return 2
    try:
        seconds = int(float(os.environ.get("FUZZ_MINUTES") or 10) * 60)
        streams = int(os.environ.get("FASTWS_TEST_STREAMS") or STREAMS)
    except ValueError:
        say("FUZZ_MINUTES and FASTWS_TEST_STREAMS are numbers")
        return 2
    campaign = Campaign(arguments or known, streams)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        campaign.run(driver(), seconds)
    except KeyboardInterrupt:
        say("interrupted")
    return summary(campaign)


def driver() -> str:
    """The module that fuzzes a target here, which is said."""
    try:
        import_module("atheris")
    except ImportError as error:
        say(f"atheris cannot be used ({error}): inputs are made by changing the corpus, without looking at coverage")
        return "tests.fuzz.mutating"
    say("atheris: coverage of Python and of the extension modules, which are compiled with bounds checks for this")
    problem = native.build()
    if problem:
        say(f"the extension modules are used as they are, without coverage: {problem}")
    return "tests.fuzz.guided"


def summary(campaign: Campaign) -> int:
    """Print what there is to know in the end."""
    say("")
    for tally in campaign.tallies.values():
        say(tally.line())
    found = [(tally.name, place) for tally in campaign.tallies.values() for place in tally.findings]
    for name, place in found:
        say(f"found by {name}: {place}")
    if found:
        say("keep one: python -m tests.fuzz --keep TARGET FILE NAME; the logs are in .cache/fuzz/logs")
    return 1 if found else 0


def keep(target: str = "", file: str = "", name: str = "") -> int:
    """Write a finding to the regressions."""
    if target not in NAMES or not name or not Path(file).is_file():
        say("usage: python -m tests.fuzz --keep TARGET FILE NAME")
        return 2
    run = load(target).run
    data = findings.shrink(run, Path(file).read_bytes())
    raised = findings.broken_by(run, data)
    say(f"{findings.keep(target, data, name)}: {raised.__name__ if raised else 'passes now'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
