"""`--reload`: runs the server in a child process and starts a new one whenever a file of the application changes.

The child is forked before anything of the application is imported, so every new one imports all of it afresh.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_PERIOD_S = 0.5
"""How often files are looked at, seconds."""

_STOP_TIMEOUT_S = 5.0
"""How long the old server may take to stop, seconds."""

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD}
_STOPS = {signal.SIGTERM, signal.SIGINT}
_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "build", "dist"}

_log = logging.getLogger("fastws.server")


class Watch:
    """The Python files below a folder and a few others, and when each was changed last."""

    def __init__(self, folder: Path, others: list[Path]) -> None:
        self._folder = folder
        self._others = others
        self._seen = self._look()

    def changed(self) -> list[Path]:
        """Return the files that are new, gone or different since the last call."""
        before, self._seen = self._seen, self._look()
        return sorted(path for path in before.keys() | self._seen.keys() if before.get(path) != self._seen.get(path))

    def _look(self) -> dict[Path, tuple[int, int]]:
        states = {}
        for path in (*python_files(self._folder), *self._others):
            try:
                status = path.stat()
            except OSError:  # gone meanwhile, or never there
                continue
            states[path] = (status.st_mtime_ns, status.st_size)
        return states


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the modules below a folder, without hidden folders, virtual environments and what tools make."""
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED_FOLDERS
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        yield from (Path(place, name) for name in names if name.endswith(".py"))


def run(serve: Callable[[], int], watch: Watch) -> int:
    """Serve in a child until a signal ends it, and return the exit code of the last one.

    `serve` runs in the child and returns its exit code. A child that fails to start is not the end: the next change
    may mend it. Call this from the main thread of a process without other threads or an event loop.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        return _supervise(serve, watch, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _supervise(serve: Callable[[], int], watch: Watch, child_mask: set[signal.Signals] | set[int]) -> int:
    child: int | None = _fork(serve, child_mask)
    is_stopping = False
    while True:
        info = signal.sigtimedwait(_SIGNALS, _PERIOD_S)
        if info is None:
            changed = [] if is_stopping else watch.changed()
            if changed:
                _log.info("%s changed: starting again", ", ".join(str(path) for path in changed))
                if child is not None:
                    _end(child)
                child = _fork(serve, child_mask)
        elif info.si_signo == signal.SIGCHLD:
            code = _code_of(child)
            if code is None:
                continue
            if is_stopping or code == 0:
                return code
            child = None
            _log.error("stopped with exit code %d: waiting for a change", code)
        else:
            is_stopping = is_stopping or info.si_signo in _STOPS
            if child is not None:
                os.kill(child, info.si_signo)
            elif is_stopping:
                return 0


def _fork(serve: Callable[[], int], mask: set[signal.Signals] | set[int]) -> int:
    """Start a child in a process group of its own: then Ctrl-C reaches it once, through us."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = serve()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # nothing of the parent may run in the child: no exit handlers, no callers of ours
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end(child: int) -> None:
    """Stop a child, by force if it does not stop by itself, and collect it."""
    os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        left = deadline - time.monotonic()
        if left <= 0:
            _log.warning("the server did not stop within %g s: killed", _STOP_TIMEOUT_S)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return
        signal.sigtimedwait({signal.SIGCHLD}, left)


def _code_of(child: int | None) -> int | None:
    """Return the exit code of the child if it has ended: 128 + signal, as a shell has it, if one ended it."""
    if child is None:
        return None
    pid, status = os.waitpid(child, os.WNOHANG)
    if not pid:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
