"""The errors of fastws, split by whose fault they are.

::

    Exception
    └── FastWSError
        ├── ProtocolViolation    the peer's: it broke the WebSocket protocol or a limit; the connection closes
        ├── UsageError           the user's of the library: a handler, call or argument that cannot work; has a hint
        ├── InternalError        ours: an invariant of fastws is broken; please report it
        ├── EngineError          outside: what carries messages between processes failed; may be `temporary`
        ├── StartupError         the process cannot run; `exit_code` is what it exits with
        │   ├── ConfigError      2: an option, variable or file is wrong
        │   ├── StartError       3: the configuration is right, this machine does not allow it
        │   └── AppImportError   4: MODULE:APP could not be imported or is not a FastWS
        ├── Reject               raised by applications: refuse this client
        └── TopicError           raised by applications: refuse this command
"""

from typing import ClassVar

from fastws import closes

_MAX_REASON_BYTES = 123  # RFC 6455 5.5: a control frame carries 125 bytes, two of them are the code


class FastWSError(Exception):
    """The root: `except FastWSError` catches everything that fastws raises on purpose."""


class ProtocolViolation(FastWSError):  # noqa: N818 - the name says what the peer did
    """The peer broke the protocol. Whoever catches it closes the connection with `code` and `reason`, once.

    `code` is a close code (RFC 6455 7.4.1); `reason` is a word from our tables, never bytes of the peer.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason or closes.reason_of(code)
        super().__init__(code, self.reason)

    def __str__(self) -> str:
        return f"{self.code} {self.reason}"


class UsageError(FastWSError):
    """The library is used in a way that cannot work; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}\nhint: {hint}" if hint else message)


class InternalError(FastWSError):
    """Something that fastws itself guarantees does not hold."""


class EngineError(FastWSError):
    """The engine (what carries messages between processes) failed; `temporary` errors may pass by themselves."""

    told_to_clients: ClassVar[str] = "what carries messages is not available"
    """The message of error 113: that of the error itself may name servers."""

    def __init__(self, message: str, *, temporary: bool = True) -> None:
        self.temporary = temporary
        super().__init__(message)


class StartupError(FastWSError):
    """The process ends with `exit_code` before it serves; the message goes to standard error as it is."""

    exit_code: ClassVar[int] = 1


class ConfigError(StartupError):
    """Wrong usage or configuration: an unknown option, a value out of range, a file that does not parse."""

    exit_code = 2


class StartError(StartupError):
    """The server could not start: the port is taken, `on_startup` failed, protected mode forbids the address."""

    exit_code = 3


class AppImportError(StartupError):
    """MODULE:APP could not be imported, has no such attribute, or the attribute is not a `FastWS`."""

    exit_code = 4


class Reject(FastWSError):  # noqa: N818 - applications write `raise Reject(4507)`
    """Refuse a client: `Reject(400..599)` in `on_upgrade` answers HTTP, `Reject(1000..4999)` in `on_connect` closes.

    `reason` is shown to the client, at most 123 bytes of UTF-8 for a close; by default it is the word of the table
    of close codes. Codes that may not be sent (1004, 1005, 1006, 1015) and other numbers raise `UsageError`.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        is_close = 1000 <= code <= 4999 and code not in closes.UNSENDABLE
        if not is_close and not 400 <= code <= 599:
            raise UsageError(
                f"Reject({code}) cannot be sent",
                "use an HTTP status from 400 to 599 in on_upgrade, or a close code from 1000 to 4999 in on_connect",
            )
        if is_close and len(reason.encode()) > _MAX_REASON_BYTES:
            raise UsageError(f"the reason of Reject({code}) is too long", f"at most {_MAX_REASON_BYTES} bytes of UTF-8")
        self.code = code
        self.reason = reason or closes.reason_of(code)
        super().__init__(code, self.reason)

    @property
    def is_http(self) -> bool:
        """True for an HTTP status, false for a close code."""
        return self.code < 1000

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()


class TopicError(FastWSError):
    """Refuse a command: the reply carries `code`, the `reason` word of the table, and `message` for people.

    `code` is 100..115 or an application's own, 1000..4999 (then `reason` is `application`); others raise `UsageError`.
    """

    def __init__(self, code: int, message: str = "") -> None:
        known = closes.ERRORS.get(code)
        if known is None and not 1000 <= code <= 4999:
            raise UsageError(
                f"TopicError({code}) is not an error code", "use one of 100 to 115, or 1000 to 4999 of your own"
            )
        self.code = code
        self.reason = known.reason if known is not None else "application"
        self.temporary = known.temporary if known is not None else False
        self.message = message
        super().__init__(code, message)

    def __str__(self) -> str:
        return f"{self.code} {self.reason}: {self.message}" if self.message else f"{self.code} {self.reason}"
