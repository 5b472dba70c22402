"""TLS as clients and operators meet it: what is printed, what connects, what is refused, how the process ends."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets.asyncio.client

from tests.contract.talking import get
from tests.support.certificates import PASSWORD, Certificate, self_signed
from tests.support.raw_client import RawClient
from tests.support.server import ServerFailed, ServerProcess

APP = """
from fastws import FastWS

app = FastWS()


@app.raw("/echo")
def echo(conn, message):
    conn.send(message)


@app.http("/scheme")
def scheme(request):
    return request.scheme
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def trusting(certificate: Certificate) -> ssl.SSLContext:
    """The context of a client that knows the certificate."""
    return ssl.create_default_context(cafile=certificate.certfile)


@pytest.fixture(scope="module")
def server(certificate: Certificate) -> Iterator[ServerProcess]:
    with ServerProcess(*certificate.options, source=APP) as process:
        yield process


def ask(server: ServerProcess, trusting: ssl.SSLContext, path: str, *headers: str) -> bytes:
    with RawClient(server.host, server.port, tls=trusting) as client:
        client.send(get(path, *headers))
        return client.read_response().body


def test_it_says_that_it_speaks_tls(server: ServerProcess) -> None:
    assert server.lines == [f"listening on https://127.0.0.1:{server.port}"]
    assert " on https://127.0.0.1:0," in json.loads(server.stderr().splitlines()[0])["event"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_echo(server: ServerProcess, certificate: Certificate, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=certificate.certfile)
    context.minimum_version = context.maximum_version = version
    with RawClient(server.host, server.port, tls=context) as client:
        client.upgrade("/echo")
        for text in ("hello", "x" * 60_000):
            client.send_text(text)
            assert client.read_message() == text
        client.send_close(1000)
        assert client.read_close() == (1000, "")
        assert client.read_until_eof() == b""  # close_notify came first: else this raises


def test_the_gateway(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    with RawClient(server.host, server.port, tls=trusting) as client:
        client.upgrade("/ws")
        client.send_json({"id": 1, "cmd": "ping"})
        replies = [client.read_json(), client.read_json()]
        assert any(reply.get("id") == 1 for reply in replies)


def test_an_https_page_of_the_same_host_may_connect(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    with RawClient(server.host, server.port, tls=trusting) as client:
        client.upgrade("/echo", [("Origin", f"https://127.0.0.1:{server.port}")])


def test_handlers_see_the_scheme(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    assert ask(server, trusting, "/scheme") == b"https"
    assert ask(server, trusting, "/scheme", "X-Forwarded-Proto: http") == b"http"
    assert ask(server, trusting, "/scheme", "X-Forwarded-For: 10.0.0.1") == b"https"


def test_plain_http_gets_an_explanation(server: ServerProcess) -> None:
    with RawClient(server.host, server.port) as client:
        client.send(client.request("/echo"))
        response = client.read_response()
        assert response.status == 400
        assert b"wss://" in response.body


def test_websockets_connects(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    async def talk() -> str | bytes:
        url = server.url("/echo", "wss")
        async with websockets.asyncio.client.connect(url, ssl=trusting, server_hostname="localhost") as client:
            await client.send("über TLS")
            return await client.recv()

    assert asyncio.run(talk()) == "über TLS"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_connects(server: ServerProcess, certificate: Certificate) -> None:
    url = server.url("/healthz", "https")
    command = [
        "curl",
        "--silent",
        "--cacert",
        certificate.certfile,
        "--write-out",
        " %{http_code} %{http_version}",
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == '{"status":"ok"} 200 1.1'


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_renegotiation_is_refused(server: ServerProcess) -> None:
    """It would be the dearest part of the handshake as often as a client likes."""
    command = ["openssl", "s_client", "-connect", f"{server.host}:{server.port}", "-tls1_2"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as client:
        assert client.stdin is not None
        assert client.stderr is not None
        client.stdin.write("R\n")
        client.stdin.flush()
        assert client.wait(20) != 0  # it ends while its input is still open
        assert "no renegotiation" in client.stderr.read()


def test_it_drains(certificate: Certificate, trusting: ssl.SSLContext) -> None:
    with (
        ServerProcess(*certificate.options, "--drain-timeout", "5") as server,
        RawClient(server.host, server.port, tls=trusting) as client,
    ):
        client.upgrade()
        client.read_json()
        server.signal(signal.SIGTERM)
        assert client.read_close()[0] == 1012
        client.send_close(1012)
        assert server.wait(10) == 0


def test_an_encrypted_key_and_a_unix_socket(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, encrypted=True)
    env = {"FASTWS_SSL_KEYFILE_PASSWORD": PASSWORD}
    with ServerProcess(*certificate.options, "--uds", str(tmp_path / "s"), env=env) as server:
        assert server.lines == [f"listening on unix:{tmp_path / 's'}"]
        trusting = ssl.create_default_context(cafile=certificate.certfile)
        with socket.socket(socket.AF_UNIX) as inner:
            inner.settimeout(10)
            inner.connect(server.uds)
            with trusting.wrap_socket(inner, server_hostname="localhost") as client:
                client.sendall(get("/healthz"))
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--ssl-certfile", "none.pem"), "--ssl-certfile none.pem: cannot be read: No such file or directory"),
        (("--ssl-keyfile", "none.pem"), "--ssl-keyfile is set without --ssl-certfile"),
        (("--ssl-ca-certs", "ca.pem"), "--ssl-ca-certs cannot be set yet: client certificates"),
        (("--ssl-require-client-cert",), "--ssl-require-client-cert cannot be set yet: client certificates"),
    ],
)
def test_what_cannot_be_served_exits_2(options: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ServerFailed, match="exited 2 ") as failed, ServerProcess(*options):
        pass
    assert f"Error: {sentence}" in str(failed.value)
