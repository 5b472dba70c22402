"""Servers under measurement start, are seen whole, and end."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import measure, servers
from tests.support.waiting import wait_until


def test_a_peer_starts_and_ends() -> None:
    with servers.peer("c_epoll") as server:
        assert server.port > 0
        assert server.pids == [server.pid]
        assert measure.pss_bytes(server.pids) > 0
        assert measure.open_files(server.pids) >= 5  # three standard ones, listener, epoll
    assert not Path(f"/proc/{server.pid}").exists()


def test_its_processes_run_where_they_are_told() -> None:
    cpus, _ = measure.server_and_client_cpus()
    with servers.peer("c_epoll", cpus=cpus) as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
    assert f"Cpus_allowed_list:\t{min(cpus)}\n" in status


def test_its_workers_are_found() -> None:
    # The child ends with its standard input, which ends with the parent.
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'input()'],"
        " stdin=subprocess.PIPE); print('listening on http://127.0.0.1:1', flush=True); time.sleep(60)"
    )
    with servers.Server("parent", [sys.executable, "-c", code]) as server:
        assert len(server.pids) == 2
        assert server.pids[0] == server.pid


def test_one_that_does_not_start_says_why() -> None:
    code = "import sys; sys.exit('out of luck')"
    with (
        pytest.raises(servers.ServerError, match="out of luck"),
        servers.Server("broken", [sys.executable, "-c", code]),
    ):
        pass


@pytest.mark.skipif(not servers.ending_with_parent(), reason="no setpriv of util-linux")
def test_it_ends_with_whoever_started_it() -> None:
    code = "from bench import servers\nwith servers.peer('c_epoll') as server: print(server.pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=servers.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
        wait_until(lambda: not is_running(pid), what="the server ends")


def is_running(pid: int) -> bool:
    """Whether the process is there, and not only because nobody has asked yet how it ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_an_unknown_peer_is_named() -> None:
    with pytest.raises(KeyError, match="no peer 'nobody'"):
        servers.peer("nobody")
