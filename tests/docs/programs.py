"""Programs beside the server that a page tells its readers to run."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.server import ROOT
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
NODE_MODULES = ROOT / ".cache" / "node" / "node_modules"
PATIENCE_S = 30.0


def has_node() -> bool:
    """Whether JavaScript can be run, with Node's `ws` in the place of a browser's WebSocket."""
    return shutil.which("node") is not None and (NODE_MODULES / "ws").exists()


def surroundings(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a reader who has followed the page so far, and whose virtual environment is active."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FASTWS_")}
    return clean | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), clean.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), clean.get("PYTHONPATH", "")])),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NODE_PATH": str(NODE_MODULES),
        "NODE_OPTIONS": f"--require {HERE / 'browser.cjs'}",
        **more,
    }


class Program:
    """One running command. Its output is collected until it ends or is ended."""

    def __init__(self, command: Sequence[str], directory: Path, env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._command = command
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a shell's children are ended with it
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(stream, into), daemon=True)
            for stream, into in ((self._process.stdout, self.lines), (self._process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: "object", into: list[str]) -> None:
        for line in stream:  # type: ignore[attr-defined]
            into.append(line.rstrip("\n"))

    def finished(self) -> str:
        """Wait for its end, which has to be a success; what it printed.

        :raises AssertionError: another exit code than 0, or no end.
        """
        wait_until(lambda: self._process.poll() is not None, PATIENCE_S, f"the end of {self._command}\n{self.said()}")
        self.close()
        assert self._process.returncode == 0, f"exit code {self._process.returncode}\n{self.said()}"
        return "\n".join(self.lines)

    def prints(self, wanted: Sequence[str]) -> None:
        """Wait until it has printed these lines, in this order; others may be between them.

        :raises AssertionError: it did not.
        """
        wait_until(lambda: self._has(wanted) or self._process.poll() is not None, PATIENCE_S, f"prints {wanted}")
        if not self._has(wanted):
            self.close()
        assert self._has(wanted), f"instead of {list(wanted)} it printed\n{self.said()}"

    def _has(self, wanted: Sequence[str]) -> bool:
        remaining = iter(tuple(self.lines))
        return all(any(line.strip() == want for line in remaining) for want in wanted)

    def said(self) -> str:
        """Everything that it printed, for messages."""
        return "\n".join([*self.lines, *self.errors])

    def close(self) -> None:
        """End it and what it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join(5)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
