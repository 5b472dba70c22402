"""HAProxy and nginx as the files in deploy/ configure them, on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from tests.support.redis import free_port
from tests.support.server import ROOT, ending_with_parent
from tests.support.waiting import wait_until

DEPLOY: Final = ROOT / "deploy"
START_S: Final = 20.0
_NGINX: Final = """\
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/fastws.conf;
}}
"""


def put(text: str, old: str, new: str) -> str:
    """The text with another address in it; the file may not have lost the place."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the file"
    return text.replace(old, new)


class Balancer:
    """A load balancer in front of two nodes, `web1` and `web2` in its configuration.

    :param kind: `haproxy` or `nginx`; the test is skipped where it is not installed.
    :param ports: of the nodes.
    """

    def __init__(self, kind: str, ports: Sequence[int]) -> None:
        program = shutil.which(kind, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if program is None:
            pytest.skip(f"no {kind} (Debian package {kind})")
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix=f"fastws-{kind}-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)  # workers of nginx are somebody else
        if kind == "haproxy":
            text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
            text = put(text, "    maxconn 200000 ", "    maxconn 2000 ")  # nobody has so many descriptors here
            text = put(text, "bind :80\n", f"bind 127.0.0.1:{self.port}\n")
            file, self._command = "haproxy.cfg", [program, "-db", "-f", f"{folder}/haproxy.cfg"]
        else:
            text = (DEPLOY / "nginx" / "fastws.conf").read_text(encoding="utf-8")
            text = put(text, "listen 80;", f"listen 127.0.0.1:{self.port};")
            file, self._command = "fastws.conf", [program, "-p", str(folder), "-c", f"{folder}/nginx.conf"]
            (folder / "nginx.conf").write_text(_NGINX.format(folder=folder), encoding="utf-8")
        for name, port in zip(("web1", "web2"), ports, strict=True):
            text = put(text, f" {name}:8000", f" 127.0.0.1:{port}")
        (folder / file).write_text(text, encoding="utf-8")
        self._log = (folder / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has said."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*ending_with_parent(), *self._command], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )
        try:
            wait_until(self._listens, START_S, "the load balancer listens")
        except BaseException:
            self._end()
            raise
        return self

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()  # both end at once then; nginx tells its workers
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the load balancer said:\n{self.log[-3000:]}")
        self._end()
