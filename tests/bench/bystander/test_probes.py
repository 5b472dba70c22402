"""Delays of bystanders: what the clocks leave out, and what one long stop stands for."""

import os
import subprocess
import sys
import time

import pytest

from bench.bystander.probes import PERIOD_NS, Delays, Figures, OwnClock, go_first, scheduled_s

BURN = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
end = time.monotonic() + 30
while time.monotonic() < end: pass
"""


def test_the_own_clock_stands_still_while_the_thread_waits_for_a_cpu() -> None:
    before = os.sched_getaffinity(0)
    cpu = min(before)
    with subprocess.Popen([sys.executable, "-c", BURN, str(cpu)], stdout=subprocess.PIPE) as rival:
        try:
            assert rival.stdout is not None
            rival.stdout.readline()
            os.sched_setaffinity(0, {cpu})
            with OwnClock() as clock:
                own, wall = clock.read()
                while clock.read()[1] - wall < 200_000_000:
                    pass  # both want the CPU all the time
                own_spent, wall_spent = (now - then for now, then in zip(clock.read(), (own, wall), strict=True))
                assert clock.waited_ns() > 0
        finally:
            os.sched_setaffinity(0, before)
            rival.kill()
    assert own_spent < 0.8 * wall_spent


def test_the_own_clock_goes_on_while_the_thread_sleeps() -> None:
    with OwnClock() as clock:
        own, wall = clock.read()
        time.sleep(0.05)
        own_spent, wall_spent = (now - then for now, then in zip(clock.read(), (own, wall), strict=True))
    assert own_spent > 0
    assert wall_spent >= 50_000_000


def test_other_processes_are_counted_in_and_those_that_are_gone_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    with OwnClock([os.getppid(), gone.pid]) as clock:
        assert clock.waited_ns() >= 0


def test_figures_of_one_to_a_hundred() -> None:
    delays = Delays()
    for hundredth_ms in range(1, 101):
        delays.add(hundredth_ms * 10_000, hundredth_ms * 20_000)
    figures = Figures.read(delays.take())
    assert (figures.count, figures.p50, figures.p99, figures.max) == (100, 0.51, 1.0, 1.0)
    assert (figures.raw_p99, figures.raw_max) == (2.0, 2.0)
    assert Figures.read(delays.take()) == Figures(0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_a_long_stop_stands_for_all_who_would_have_come_meanwhile() -> None:
    delays = Delays()
    delays.add(10 * PERIOD_NS, 10 * PERIOD_NS)
    figures = Figures.read(delays.take())
    assert figures.count == 10
    assert figures.max == pytest.approx(10 * PERIOD_NS / 1e6)
    assert figures.p50 == pytest.approx(6 * PERIOD_NS / 1e6)


def test_of_a_long_stop_everybody_has_the_same_share_from_the_server() -> None:
    delays = Delays()
    delays.add(4 * PERIOD_NS, 10 * PERIOD_NS)
    figures = Figures.read(delays.take())
    assert (figures.count, figures.max) == (10, pytest.approx(4 * PERIOD_NS / 1e6))
    assert figures.p50 == pytest.approx(0.6 * 4 * PERIOD_NS / 1e6)


def test_what_the_machine_took_is_no_delay() -> None:
    delays = Delays()
    delays.add(-5, 3 * PERIOD_NS)
    figures = Figures.read(delays.take())
    assert (figures.count, figures.max) == (3, 0.0)
    assert figures.raw_max == pytest.approx(3 * PERIOD_NS / 1e6)


def test_what_a_process_had_of_the_cpu() -> None:
    ran, waited = scheduled_s(os.getpid())
    assert ran > 0
    assert waited >= 0


def test_going_first_is_a_wish() -> None:
    script = (
        "from bench.bystander.probes import go_first; import os; go_first(); print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(result.stdout) <= os.getpriority(os.PRIO_PROCESS, 0)
    assert go_first.__doc__
