"""Node's `ws`, the most used client outside browsers, works unchanged."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import ROOT, ServerProcess

MODULES = ROOT / ".cache" / "node" / "node_modules"
HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "ws").exists(),
    reason="no Node with ws (install nodejs and npm, then 'make test-packages')",
)


def run_script(script: str, url: str) -> dict[str, Any]:
    result = subprocess.run(
        ["node", str(HERE / script), url],
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("deflate", [False, True])
def test_echo(deflate: bool) -> None:
    options = ["--max-message-size", "65536", "--deflate" if deflate else "--no-deflate"]
    with ServerProcess(*options, app="tests.conformance.echo_app:app") as server:
        report = run_script("echo.cjs", server.url("/echo"))
    assert report["messages"] == 15
    assert report["code"] == 4321
    assert ("permessage-deflate" in report["extensions"]) == deflate


def test_chat_through_the_gateway() -> None:
    with ServerProcess("--dev") as server:
        report = run_script("chat.cjs", server.url())
    assert report == {"heard": 2, "topic": "room", "error": 104, "codes": [1000, 1000]}
