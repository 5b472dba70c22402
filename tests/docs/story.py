"""One page from its beginning to its end, as a reader would follow it.

Blocks whose first line names a file (`# chat.py`) become that file, Python without a name goes on in the file before
(`app.py` at first). Commands of shells are run; `fastws-server` and `uvicorn` go on in the background until the next
one. Where a page talks to a server that it has not started, its last application is served.
"""

import contextlib
import json
import re
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import jwt

from fastws.config import load
from tests.docs.matching import Names
from tests.docs.pages import ROOT, Block
from tests.docs.programs import PATIENCE_S, Program, has_node, surroundings
from tests.docs.talk import Member, Talk
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

PUBLIC: Final = "127.0.0.1:8000"
ADMIN: Final = "127.0.0.1:9000"
PROGRAMS: Final = frozenset({"python", "js", "html", "toml"})
_ASSIGNMENT: Final = re.compile(r"[A-Z_]+=")
_SETS_A_VARIABLE: Final = re.compile(r"[A-Z_]+=(\$\(.*\)|\S*)")


class Story:
    """What a page has built up so far. Use it as a context manager."""

    def __init__(self, page: Sequence[Block], directory: Path, codec: str = "json") -> None:
        self.left_out: list[str] = []
        """What could not be run on this machine."""
        self._page = page
        self._uses_admin = any(ADMIN in block.text or "fastws publish" in block.text for block in page)
        self._directory = directory
        self._codec = codec
        self._env: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._used: set[str] = set()
        self._clients: dict[str, dict[str, Any]] = {}
        self._names = Names()
        self._output = ""
        self._ends = contextlib.ExitStack()
        self._running: list[Program] = []
        self._server: ServerProcess | None = None
        self._serving = contextlib.ExitStack()
        self._address = {PUBLIC: PUBLIC, ADMIN: ADMIN}
        self._talk = Talk(self._connect, self._names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()
        self._stop_serving()

    def run(self) -> None:
        """Follow the page.

        :raises AssertionError: something on it is not so; the message says where.
        """
        texts = _file_texts(self._page)
        for number, block in enumerate(self._page):
            try:
                if number in texts:
                    name, text = texts[number]
                    self._write(name, text)
                    self._used.discard(name)
                if not block.note("not run"):
                    self._run(block)
            except Exception as error:
                raise AssertionError(f"{block.where}: {error}") from error
        for name in self._files.keys() - self._used:
            assert name.endswith(".py"), f"{name} is never used"
            assert self._is_app(name), f"{name} is never run"
            self._serve([f"{Path(name).stem}:app"])
            self._stop_serving()

    def _run(self, block: Block) -> None:
        if block.notes.get("clients"):
            self._clients.update(json.loads(block.note("clients")))
            self._names.real |= {
                f"<token of {name}>": self._token(name) for name in self._clients if self._clients[name]
            }
        match block.language:
            case "python" | "html":
                pass  # a file, or a part of one
            case "js":
                if not block.file_name:
                    self._run_script(block)
            case "toml":
                self._check_configuration(block)
            case "sh":
                self._run_commands(block)
            case "talk":
                self._need_server()
                self._talk.run(block)
            case "json":
                shown = [json.loads(line) for line in _values(block.text)]
                assert self._output, "JSON that nothing has printed"
                self._names.match(shown, [json.loads(line) for line in _values(self._output)])
            case "text":
                assert self._output, "a text that nothing has printed"
                self._names.match(block.text.strip(), self._output.strip())
            case other:
                raise AssertionError(f"no way to run {other or 'a block without a language'}")

    # Files.

    def _write(self, name: str, text: str) -> None:
        self._files[name] = text
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._moved(text), encoding="utf-8")

    def _is_app(self, name: str) -> bool:
        return "FastWS(" in self._files[name]

    def _moved(self, text: str) -> str:
        """With the addresses of this test instead of those that the page names."""
        for shown, real in self._address.items():
            text = text.replace(shown, real).replace(shown.replace("127.0.0.1", "localhost"), real)
        return text

    def _check_configuration(self, block: Block) -> None:
        path = self._directory / (block.file_name or "shown.toml")
        if not block.file_name:
            path.write_text(block.text, encoding="utf-8")
        self._used.add(path.name)
        load({"config": str(path)}, {})

    # Programs.

    def _run_script(self, block: Block) -> None:
        if not has_node():
            self.left_out.append(f"{block.where}: no Node with ws")
            return
        self._need_server()
        path = self._directory / f"line{block.line}.mjs"
        path.write_text(self._moved(block.text), encoding="utf-8")
        self._execute(["node", str(path)], block)

    def _execute(self, command: Sequence[str], block: Block, *, last: bool = True) -> str:
        program = Program(command, self._directory, surroundings(self._env))
        self._ends.callback(program.close)
        wanted = block.notes.get("prints", [])
        if not wanted or not last:
            return program.finished()
        program.prints(wanted)
        return ""

    def _run_commands(self, block: Block) -> None:
        output = []
        commands = [line for line in _commands(block.text) if line.strip() and not line.startswith("#")]
        for number, line in enumerate(commands, 1):
            words = shlex.split(line, comments=True)
            own = dict(word.split("=", 1) for word in words if _ASSIGNMENT.match(word)) if words else {}
            name = next((word for word in words if not _ASSIGNMENT.match(word)), "")
            self._used |= {used for used in self._files if used in words}
            if words[0] == "export" or _SETS_A_VARIABLE.fullmatch(line):
                self._env |= self._exported(line)
            elif name == "fastws-server":
                self._serve(words[words.index(name) + 1 :], own)
            elif name == "uvicorn":
                self._serve_uvicorn(words)
            elif name == "make":
                makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                assert re.search(rf"^{re.escape(words[1])}( [a-z-]+)*:", makefile, re.MULTILINE), (
                    f"no target {words[1]}"
                )
            else:
                needs_node = name == "node" and not has_node()
                if needs_node:
                    self.left_out.append(f"{block.where}: no Node with ws")
                else:
                    output.append(self._execute(["bash", "-c", self._moved(line)], block, last=number == len(commands)))
        self._output = "\n".join(output)

    def _exported(self, line: str) -> dict[str, str]:
        names = re.findall(r"\b([A-Z_]+)=", line)
        shown = Program(
            ["bash", "-c", f"set -a\n{line}\nprintenv {' '.join(names)}"], self._directory, surroundings(self._env)
        )
        return dict(zip(names, shown.finished().splitlines(), strict=True))

    # Servers.

    def _need_server(self) -> None:
        apps = [name for name in self._files if name.endswith(".py") and self._is_app(name) and name not in self._used]
        if apps:
            self._serve([f"{Path(apps[-1]).stem}:app"])
        assert self._server is not None or self._address[PUBLIC] != PUBLIC, "the page has started no server"

    def _serve(self, options: Sequence[str], env: dict[str, str] | None = None) -> None:
        """Start `fastws-server` on ports of its own; the page's own addresses are those of it from now on."""
        self._stop_serving()
        target = next((option for option in options if re.fullmatch(r"[\w.]+:\w+", option)), None)
        more = [option for option in options if option != target]
        for name, port in (("--port", "0"), ("--admin-port", "0" if self._uses_admin else "-1")):
            if name in more:
                more[more.index(name) + 1] = port if more[more.index(name) + 1] != "-1" else "-1"
            else:
                more += [name, port]
        if target is not None:
            self._used.add(f"{target.partition(':')[0].replace('.', '/')}.py")
            more += ["--app-dir", str(self._directory)]
        if "--uds" not in more and "--host" not in more:
            more += ["--host", "127.0.0.1"]  # whatever a file of the page says
        server = ServerProcess(*more, app=target, env={**self._env, **(env or {})}, directory=self._directory)
        self._server = self._serving.enter_context(server)
        self._address[PUBLIC] = f"{server.host}:{server.port}"
        if server.admin_url:
            self._address[ADMIN] = server.admin_url.removeprefix("http://")
            self._env["FASTWS_ADMIN_PORT"] = server.admin_url.rpartition(":")[2]
        self._move_files()

    def _serve_uvicorn(self, words: Sequence[str]) -> None:
        """The same for an ASGI server; its port is chosen here, as it has no way to say which it took."""
        self._stop_serving()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        kept = [word for word in words if word not in {"--port", "8000"}]
        self._used.add(f"{words[1].partition(':')[0]}.py")
        self._address[PUBLIC] = f"127.0.0.1:{port}"
        self._move_files()
        program = Program([*kept, "--port", str(port)], self._directory, surroundings(self._env))
        self._serving.callback(program.close)
        wait_until(lambda: _answers(port), PATIENCE_S, f"uvicorn listens: {program.said()}")

    def _move_files(self) -> None:
        for name, text in self._files.items():
            self._write(name, text)

    def _stop_serving(self) -> None:
        self._talk.close()
        self._serving.close()
        self._server = None
        self._address = {PUBLIC: PUBLIC, ADMIN: ADMIN}
        self._env.pop("FASTWS_ADMIN_PORT", None)

    # Clients.

    def _connect(self, name: str) -> Member:
        host, _, port = self._address[PUBLIC].partition(":")
        member = Member(host, int(port))
        member.codec = self._codec
        headers = [("Sec-WebSocket-Protocol", f"fastws.{self._codec}.v1")]
        if self._clients.get(name):
            headers.append(("Authorization", f"Bearer {self._token(name)}"))
        member.upgrade("/ws", headers)
        return member

    def _token(self, name: str) -> str:
        return jwt.encode(self._clients[name], self._secret(), "HS256")

    def _secret(self) -> str:
        secret = self._env.get("FASTWS_JWT_SECRET")
        if secret is None and "fastws.toml" in self._files:
            secret = load({"config": str(self._directory / "fastws.toml")}, {}).jwt_secret
        assert secret, "the page names no secret for the tokens of its clients"
        return secret


def _file_texts(page: Sequence[Block]) -> dict[int, tuple[str, str]]:
    """Where on the page which file is complete enough to be written: at its first block, with all that follows."""
    texts: dict[int, tuple[str, str]] = {}
    current: dict[str, int] = {}
    for number, block in enumerate(page):
        if block.language not in PROGRAMS or block.note("not run"):
            continue
        if block.file_name:
            current[block.language] = number
            texts[number] = (block.file_name, block.text)
        elif block.language == "python":
            if "python" not in current:
                current["python"] = number
                texts[number] = ("app.py", block.text)
            else:
                name, before = texts[current["python"]]
                texts[current["python"]] = (name, f"{before}\n{block.text}")
    return texts


def _commands(text: str) -> list[str]:
    """The lines of a shell block, those joined that end in a backslash or open a quote."""
    joined: list[str] = []
    for line in text.splitlines():
        if joined and (joined[-1].endswith("\\") or joined[-1].count("'") % 2):
            joined[-1] = joined[-1].removesuffix("\\") + ("" if joined[-1].endswith("\\") else "\n") + line
        else:
            joined.append(line)
    return joined


def _values(text: str) -> list[str]:
    """JSON values, each from the start of a line to the line before the next one."""
    values: list[str] = []
    for line in text.splitlines():
        if values and (line.startswith((" ", "}", "]")) or not line.strip()):
            values[-1] += f"\n{line}"
        elif line.strip():
            values.append(line)
    return values


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
