"""The budget of an idle raw connection: 350 bytes of the server's own memory, used again after it closes.

The memory is the PSS of a real server process, so everything counts: objects, tables, allocator overhead. A thousand
connections are opened and closed first, for what a process allocates once. 8,000 at a time keep both ends far below
20,000 descriptors and are enough for a byte of each to show: pages are 4 KiB.
"""

import pytest

from bench import measure, servers
from bench.scenarios.footprint import SERVER_SPARE, open_and_close

CONNECTIONS = 8000
WARM_UP = 1000
MOST_PER_CONNECTION = 350
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
