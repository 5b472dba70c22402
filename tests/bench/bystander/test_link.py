"""The other end of the link."""

import socket
import subprocess
import sys

from bench.build import BENCH


def test_it_answers_what_it_hears_and_ends_with_its_connection() -> None:
    command = [sys.executable, "-m", "bench.bystander.link"]
    with subprocess.Popen(command, cwd=BENCH.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().removeprefix("listening on "))
        with socket.create_connection(("127.0.0.1", port), 10.0) as connection:
            for word in (b"PING\r\n", b"again"):
                connection.sendall(word)
                assert connection.recv(100) == word
        assert process.wait(10.0) == 0
