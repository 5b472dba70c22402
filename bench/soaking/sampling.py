"""Once a second or more often: what a server holds and uses, and what its bystanders wait."""

import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench import measure
from bench.bystander.probes import scheduled_s
from bench.bystander.watch import BystanderError, Bystanders, Delayed
from bench.servers import Server

INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What was from the sample before to this one."""

    at_s: float  # since the beginning
    phase: str
    pss_bytes: int
    own_bytes: int  # the part of it that is no file: what the server allocates
    files: int
    cpu: float  # share of a CPU that the server used
    waited: float  # share of the time in which it was ready and had none
    delayed: Delayed


class Sampler:
    """Samples on a thread of its own while a `with` block runs.

    `phase` is set by whoever knows what is going on. The bystanders belong to it meanwhile.

    :param interval_s: seconds from one sample to the next.
    """

    def __init__(self, server: Server, bystanders: Bystanders, interval_s: float = INTERVAL_S) -> None:
        self.phase = ""
        self.samples: list[Sample] = []
        self.failure: BystanderError | OSError | None = None  # OSError: the server is gone
        self._server = server
        self._bystanders = bystanders
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        begun = last = time.monotonic()
        try:
            ran, waited = scheduled_s(self._server.pid)
            self._bystanders.take()
            while not self._over.wait(max(0.0, last + self._interval_s - time.monotonic())):
                phase = self.phase
                delayed = self._bystanders.take()
                now, (ran_now, waited_now) = time.monotonic(), scheduled_s(self._server.pid)
                spent = now - last
                pss, own = memory_bytes(self._server.pid)
                self.samples.append(
                    Sample(
                        at_s=round(now - begun, 3),
                        phase=phase,
                        pss_bytes=pss,
                        own_bytes=own,
                        files=measure.open_files([self._server.pid]),
                        cpu=round((ran_now - ran) / spent, 4),
                        waited=round((waited_now - waited) / spent, 4),
                        delayed=delayed,
                    )
                )
                last, ran, waited = now, ran_now, waited_now
        except (BystanderError, OSError) as error:
            self.failure = error


def memory_bytes(pid: int) -> tuple[int, int]:
    """PSS of a process, and the anonymous part of it.

    The other part are pages of programs and libraries: a process's share of them changes when other processes that use
    the same ones come and go.
    """
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    fields = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return fields["Pss"], fields.get("Pss_Anon", fields["Pss"])
