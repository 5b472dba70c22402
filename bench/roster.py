"""The peers: other servers, one folder of `bench/peers/` each, described by its `peer.toml`.

A peer is ready when the programs it needs are there, its packages are installed and it is built. `make bench-peers`
makes it so; what that did is remembered in `.cache/peers/`.
"""

import hashlib
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.build import BENCH, ENGINE, BuildError, is_built, outcome_of, peer_binary
from bench.report import ProgressBar, Table

PEERS = BENCH / "peers"
CACHE = BENCH.parent / ".cache" / "peers"
HOW_TO_PREPARE = "run `make bench-peers`"
STEP_TIMEOUT_S = 900.0
MADE_BY_TOOLS = ("__pycache__", "node_modules", "*.lock")  # nobody's source, though it may lie in the folder


class PeerError(RuntimeError):
    """A `peer.toml` does not say what it should."""


@dataclass(frozen=True, slots=True)
class Fanout:
    """How messages are spread by a peer."""

    path: str  # of subscribers
    publish_path: str  # of the publisher
    subscribe: str = ""  # text that a subscriber sends after the upgrade; "" for nothing
    publish: str = "{payload}"  # what the publisher sends; `{size}` in it are the bytes of the payload
    binary: bool = False  # whether both are binary messages


@dataclass(frozen=True, slots=True)
class Rooms:
    """How members of a room speak to each other on a peer. `{room}` in all of it is the number of the room."""

    path: str
    subscribe: str = ""  # text that a member sends after the upgrade; "" for nothing
    publish: str = "{payload}"  # what a member says; `{size}` in it are the bytes of the payload
    binary: bool = False  # whether both are binary messages


@dataclass(frozen=True, slots=True)
class Peer:
    """What a `peer.toml` says; commands are still with their placeholders."""

    name: str
    folder: Path
    title: str
    start: str
    path: str = "/echo"
    echo: bool = True  # whether `path` echoes; one that does not can still be connected to
    language: str = ""
    version: str = ""
    needs: tuple[str, ...] = ()  # programs that have to be on PATH
    install: str = ""
    build: str = ""
    fanout: Fanout | None = None
    rooms: Rooms | None = None
    variants: Mapping[str, str] = field(default_factory=dict)  # of its echo, and the arguments that ask for each

    @property
    def cache(self) -> Path:
        """Where its packages are, and what was remembered."""
        return CACHE / self.name

    def steps(self, commands: str) -> list[list[str]]:
        """The arguments of each command of a line, `{python}` and `{cache}` filled in; they are joined by `&&`."""
        steps: list[list[str]] = [[]]
        for word in shlex.split(commands):
            if word == "&&":
                steps.append([])
            else:
                steps[-1].append(word.replace("{python}", sys.executable).replace("{cache}", str(self.cache)))
        return steps

    def sources(self) -> Iterator[Path]:
        """The files it is made of."""
        for path in sorted(self.folder.rglob("*")):
            names = path.relative_to(self.folder)
            if path.is_file() and not any(names.match(made) or made in names.parts for made in MADE_BY_TOOLS):
                yield path

    def program(self) -> Path:
        """Its program, built if a source is newer; its folder when there is nothing to build.

        :raises bench.build.BuildError: it does not build.
        """
        if not self.build:
            return self.folder
        return peer_binary(self.name, self.steps(self.build), self._build_sources(), self.folder)

    def command(self) -> list[str]:
        """What starts it; builds it first if it has to be.

        :raises bench.build.BuildError: it does not build, or something that it takes is missing.
        """
        if (missing := self.missing_programs()) or not self._is_installed():
            raise BuildError(f"{self.name} needs {', '.join(missing)}" if missing else f"{self.name}: {self.problem()}")
        program = str(self.program())
        (step,) = self.steps(self.start)
        return [word.replace("{binary}", program) for word in step]

    def problem(self) -> str:
        """Why it is not ready, in one line; "" when it is."""
        if missing := self.missing_programs():
            return f"needs {', '.join(missing)}"
        if not self._is_installed():
            failure = self._failure.read_text(encoding="utf-8").splitlines() if self._failure.exists() else []
            return f"install failed: {failure[-1]}" if failure else f"not installed: {HOW_TO_PREPARE}"
        if self.build and not is_built(self.name, self._build_sources()):
            return f"not built: {HOW_TO_PREPARE}"
        return ""

    def missing_programs(self) -> list[str]:
        """Those of `needs` that this machine does not have."""
        return [program for program in self.needs if shutil.which(program) is None]

    def prepare(self, say: Callable[[str], None]) -> None:
        """Install its packages and build it, where that has not been done already.

        :param say: told what is going on.
        :raises bench.build.BuildError: a command failed; the message ends with what it wrote last.
        """
        if not self._is_installed():
            say(f"{self.name}: installing")
            self._install()
        if self.build and not is_built(self.name, self._build_sources()):
            say(f"{self.name}: building")
            self.program()

    def _install(self) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        self._stamp.unlink(missing_ok=True)
        for step in self.steps(self.install):
            try:
                outcome_of(step, self.folder, STEP_TIMEOUT_S)
            except BuildError as error:
                self._failure.write_text(str(error), encoding="utf-8")
                raise
        self._failure.unlink(missing_ok=True)
        self._stamp.write_text(self._fingerprint(), encoding="utf-8")

    def _is_installed(self) -> bool:
        if not self.install:
            return True
        return self._stamp.exists() and self._stamp.read_text(encoding="utf-8") == self._fingerprint()

    def _fingerprint(self) -> str:
        """Of what its packages are installed by: another text in its folder, another Python, and they are again."""
        digest = hashlib.sha256(sys.version.encode())
        for path in self.sources():
            digest.update(f"\0{path.relative_to(self.folder)}\0".encode() + path.read_bytes())
        return digest.hexdigest()

    def _build_sources(self) -> list[Path]:
        """Peers in C include headers of the load engine."""
        headers = ENGINE.glob("*.h") if self.steps(self.build)[0][0] == "cc" else ()
        return [*self.sources(), *headers]

    @property
    def _stamp(self) -> Path:
        return self.cache / ".installed"

    @property
    def _failure(self) -> Path:
        return self.cache / ".failed"


def names() -> list[str]:
    """The peers there are."""
    return sorted(path.parent.name for path in PEERS.glob("*/peer.toml"))


def read(name: str) -> Peer:
    """What its `peer.toml` says.

    :raises KeyError: there is no such peer.
    :raises PeerError: the file is wrong.
    """
    if name not in names():
        raise KeyError(f"no peer {name!r}; there are: {', '.join(names())}")
    folder = PEERS / name
    try:
        facts: dict[str, Any] = tomllib.loads((folder / "peer.toml").read_text(encoding="utf-8"))
        spread = facts.pop("fanout", None)
        if spread is not None:
            spread = Fanout(**{"publish_path": spread.get("path"), **spread})
        rooms = Rooms(**facts.pop("rooms")) if "rooms" in facts else None
        needs = tuple(facts.pop("needs", ()))
        return Peer(name=name, folder=folder, fanout=spread, rooms=rooms, needs=needs, **facts)
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise PeerError(f"{folder / 'peer.toml'}: {error}") from error


def everyone() -> list[Peer]:
    """All of them, by name.

    :raises PeerError: a file is wrong.
    """
    return [read(name) for name in names()]


def echoing(chosen: Sequence[str]) -> list[str]:
    """Those of the chosen peers that echo.

    :raises PeerError: a file is wrong.
    """
    return [name for name in chosen if read(name).echo]


def choose(wanted: str, reference: str) -> tuple[list[str], dict[str, str]]:
    """The peers that a command line names, and those that are not ready with the reason.

    :param wanted: names with commas between them, or "all": the reference, then every other peer that is ready.
    :param reference: the peer that "all" puts first; it is built on first use.
    :raises KeyError: there is no such peer.
    :raises PeerError: a file is wrong.
    """
    if wanted != "all":
        return [read(name.strip()).name for name in wanted.split(",") if name.strip()], {}
    problems = {peer.name: peer.problem() for peer in everyone() if peer.name != reference}
    skipped = {name: problem for name, problem in problems.items() if problem}
    return [reference, *(name for name in problems if name not in skipped)], skipped


def prepare_all(progress: ProgressBar) -> tuple[Table, dict[str, str]]:
    """Install and build every peer; return a table of what is ready, and the complaints of those that failed.

    A peer that lacks a program of the machine has not failed: it cannot be had here.

    :raises PeerError: a file is wrong.
    """
    rows, failures = [], {}
    peers = everyone()
    progress.start(len(peers))
    for peer in peers:
        progress.say(peer.name)
        if not peer.missing_programs():
            try:
                peer.prepare(progress.say)
            except BuildError as error:
                failures[peer.name] = str(error)
        state = (
            f"failed: {failures[peer.name].splitlines()[-1]}" if peer.name in failures else peer.problem() or "ready"
        )
        rows.append([peer.name, peer.language, peer.version, state])
        progress.step()
    return Table("peers", ("name", "language", "version", "state"), rows, texts=True), failures
