"""The three bystanders of a real server, seen from the outside."""

import os
import signal
import time

import pytest

from bench import servers
from bench.bystander.probes import Figures
from bench.bystander.watch import BystanderError, Bystanders, Delayed, ask
from tests.support.waiting import wait_until

CALM = Figures(100, 0.1, 1.0, 2.0, 1.0, 2.0)


def test_all_three_are_served(server: servers.Server) -> None:
    with Bystanders(server) as bystanders:
        for _ in range(2):
            # Each of them has come several times since the last look.
            seen: dict[str, int] = dict.fromkeys(("echo", "timer", "link"), 0)

            def came(seen: dict[str, int] = seen) -> bool:
                for name, figures in bystanders.take().by_name.items():
                    seen[name] += figures.count
                return min(seen.values()) >= 5

            wait_until(came, what="delays of all three")


def test_a_server_that_stops_does_not_hold_the_bar(server: servers.Server) -> None:
    with Bystanders(server) as bystanders:
        bystanders.take()
        os.kill(server.pid, signal.SIGSTOP)  # it does not wait for a CPU, so nothing is taken off
        time.sleep(0.3)
        os.kill(server.pid, signal.SIGCONT)
        delayed = bystanders.take()
    assert not delayed.holds
    assert delayed.worst >= 100


@pytest.mark.parametrize(
    ("figures", "holds"),
    [
        (CALM, True),
        (Figures(100, 0.1, 20.0, 100.0, 500.0, 900.0), True),
        (Figures(100, 0.1, 20.1, 30.0, 20.1, 30.0), False),
        (Figures(100, 0.1, 1.0, 100.1, 1.0, 100.1), False),
    ],
)
def test_the_bar(figures: Figures, holds: bool) -> None:
    for delayed in (Delayed(figures, CALM, CALM), Delayed(CALM, figures, CALM), Delayed(CALM, CALM, figures)):
        assert delayed.holds is holds


def test_a_bystander_that_is_not_served_says_why() -> None:
    with servers.fastws("bench.bystander.app:app") as mortal, Bystanders(mortal) as bystanders:
        os.kill(mortal.pid, signal.SIGKILL)
        with pytest.raises(BystanderError):
            wait_until(lambda: bystanders.take() is None)


def test_an_application_without_bystanders_is_refused() -> None:
    with servers.fastws("bench.apps.echo:app") as other, pytest.raises(BystanderError, match="404"), Bystanders(other):
        pass


def test_nobody_answers() -> None:
    with pytest.raises(BystanderError, match="GET /x"):
        ask(1, "GET", "/x")
