"""Every case of Autobahn's fuzzing client passes: the core ones always, all 517 with FASTWS_TEST_AUTOBAHN=all."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.autobahn import CORE, GROUPS, HOW_TO_GET_IT, WSTEST, CaseResult, run_suite
from tests.support.server import ServerProcess

EVERYTHING = os.environ.get("FASTWS_TEST_AUTOBAHN") == "all"
SELECTED = tuple(GROUPS) if EVERYTHING else CORE
# Group 9 sends messages of 16 MiB in one frame, and of 4 MiB in 65,536 frames and an empty last one; groups 12 and 13
# are about deflate.
OPTIONS = (
    *("--max-message-size", str(16 << 20), "--max-fragments", "65537", "--max-outbox", str(64 << 20)),
    *("--deflate", "--ping-interval", "0"),
)
SECONDS = 2700 if EVERYTHING else 240

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.timeout(SECONDS + 60),
    pytest.mark.skipif(not WSTEST.exists(), reason=HOW_TO_GET_IT),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[CaseResult]]:
    """The verdicts on every selected case, from one run of the suite."""
    directory: Path = tmp_path_factory.mktemp("autobahn")
    with ServerProcess(*OPTIONS, app="tests.conformance.echo_app:app") as server:
        yield run_suite(server.url("/echo"), SELECTED, directory, SECONDS)


@pytest.mark.parametrize("group", SELECTED)
def test_group(results: list[CaseResult], group: str) -> None:
    title, expected = GROUPS[group]
    mine = [result for result in results if result.group == group]
    failed = [result for result in mine if not result.passed]
    verdicts = Counter(result.behavior for result in mine)
    print(f"group {group}, {title}: {len(mine)} cases, {dict(verdicts)}")
    assert not failed, "\n".join(map(str, failed))
    assert len(mine) == expected
