"""What systemd is told (sd_notify): ready, stopping, still alive. Does nothing where `NOTIFY_SOCKET` is not set."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Datagrams to the service manager's socket; none of them is worth failing for."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the abstract namespace, which the kernel writes as a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval_us = environment.get("WATCHDOG_USEC", "")
        own = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(interval_us) / 2e6 if interval_us.isdecimal() and own else 0.0
        """How often to send `alive`, half of what the manager waits for; 0 = never."""

    def ready(self) -> None:
        """It serves."""
        self._send(b"READY=1")

    def reloading(self) -> None:
        """It takes new code and a new configuration; `ready` says when it has."""
        self._send(b"RELOADING=1\nMONOTONIC_USEC=%d" % (time.monotonic_ns() // 1000))

    def stopping(self) -> None:
        """It has begun to end."""
        self._send(b"STOPPING=1")

    def alive(self) -> None:
        """Its loop goes round."""
        self._send(b"WATCHDOG=1")

    def _send(self, message: bytes) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(message, self._address)
        except OSError:
            return
