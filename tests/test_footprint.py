"""The budgets of idle connections: 350 bytes of the server's own memory for a raw one, 700 for one that has shown a
token, hears a topic and is pinged. What they had is used again after they close.

The memory is the PSS of a real server process, so everything counts: objects, tables, allocator overhead. A thousand
connections are opened and closed first, for what a process allocates once. 8,000 at a time keep both ends far below
20,000 descriptors and are enough for a byte of each to show: pages are 4 KiB.
"""

import pytest

from bench import measure, servers
from bench.scenarios.footprint import AUTHENTICATED, SERVER_SPARE, open_and_close, subject_of

CONNECTIONS = 8000
WARM_UP = 1000
MOST_PER_CONNECTION = 350
MOST_PER_USER = 700
# A second and third time may touch some pages more (half-filled arenas, timer and epoll batches): 32 bytes each, which
# is less than any object that would leak with a connection.
REOPEN_TOLERANCE = 32 * CONNECTIONS


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.skipif(measure.descriptor_limit() < CONNECTIONS + SERVER_SPARE, reason="too few descriptors (ulimit -n)")
def test_an_idle_raw_connection_keeps_its_budget_and_gives_it_back() -> None:
    with servers.fastws() as server:
        few = open_and_close(server, WARM_UP)
        files_before = measure.open_files(server.pids)
        first, second, third = (open_and_close(server, CONNECTIONS) for _ in range(3))
        files_after = measure.open_files(server.pids)
    per_connection = first.per_connection(few)
    print(f"{per_connection:.0f} bytes per idle raw connection, {first.slab_per_socket:.0f} of kernel slab per socket")
    assert per_connection <= MOST_PER_CONNECTION
    assert second.per_connection(few) <= MOST_PER_CONNECTION
    assert third.pss_open <= first.pss_open + REOPEN_TOLERANCE, (first, second, third)
    assert files_after == files_before


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.skipif(measure.descriptor_limit() < CONNECTIONS + SERVER_SPARE, reason="too few descriptors (ulimit -n)")
def test_a_user_who_hears_a_topic_and_is_pinged_keeps_its_budget() -> None:
    with subject_of(AUTHENTICATED, CONNECTIONS) as subject, subject.server as server:
        few = open_and_close(server, WARM_UP, subject)
        first, second, third = (open_and_close(server, CONNECTIONS, subject) for _ in range(3))
    per_user = first.per_connection(few)
    print(f"{per_user:.0f} bytes per user, {second.per_connection(few):.0f} and {third.per_connection(few):.0f} again")
    assert per_user <= MOST_PER_USER
    # The second time they come back as users who have left, of whom something was kept; the third time it is the same.
    assert third.pss_open <= second.pss_open + REOPEN_TOLERANCE, (first, second, third)
