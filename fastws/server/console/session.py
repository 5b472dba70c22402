"""One run of `fastws connect`: keys or lines in, frames out and in, everything printed with time and direction."""

import asyncio
import codecs
import os
import shutil
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable
from contextlib import ExitStack
from typing import TextIO

from wsproto.events import Ping, Pong

from fastws import closes
from fastws.observe.logs import escape
from fastws.server.console.editor import LineEditor
from fastws.server.console.link import ConnectError, Link, Target
from fastws.types import CloseInfo

_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0
# Without --wait: how long nothing may arrive before the replies to a finished input count as complete.
_QUIET_S = 0.5
_SHOWN_BINARY_BYTES = 256

HELP = """\
lines are sent as text messages; // at the beginning sends one /
/ping [TEXT]            send a ping and show how long the pong takes
/close [CODE [REASON]]  close with that code (1000)
/quit                   close and leave, as Ctrl-D does
/help                   this text"""


def run(target: Target, wait_s: float | None = None) -> int:
    """Connect, talk until either side closes or the input ends, and return the exit code of the command.

    0 if it ended as asked for, else 1. `wait_s` is how long to listen after the end of an input that is no terminal;
    by default until the server has answered a ping and nothing more arrives for half a second. Raises `ConfigError`
    if the target cannot be one, and `ConnectError` if the server cannot be reached or refuses.
    """
    return asyncio.run(Session(target, wait_s).run())


class Session:
    """A connection and what stands around it: the input, the screen, and what was asked for."""

    def __init__(self, target: Target, wait_s: float | None) -> None:
        self._target = target
        self._wait_s = wait_s
        self._input: asyncio.Queue[str | None] = asyncio.Queue()
        self._arrived = asyncio.Event()
        self._pings: dict[bytes, float] = {}
        self._closing = False
        self._screen = Screen(sys.stdout)
        self._link: Link

    async def run(self) -> int:
        """Do everything, in order, and return the exit code."""
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                self._link = await Link.open(self._target)
        except TimeoutError:
            raise ConnectError(f"no answer within {_OPEN_TIMEOUT_S:g} s") from None
        subprotocol = f" with {self._link.subprotocol}" if self._link.subprotocol else ""
        with ExitStack() as stack:
            is_terminal = self._open_input(stack)
            self._screen.line("*", f"connected to {self._target.url}{subprotocol}{'; /help' if is_terminal else ''}")
            receiving = asyncio.create_task(self._receive())
            typing = asyncio.create_task(self._follow_input(is_terminal))
            await asyncio.wait((receiving, typing), return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                await asyncio.wait((receiving,), timeout=_CLOSE_TIMEOUT_S)
            for task in (receiving, typing):
                task.cancel()
            ended, _ = await asyncio.gather(receiving, typing, return_exceptions=True)
        await self._link.release()
        if isinstance(ended, asyncio.CancelledError):
            ended = CloseInfo(closes.ABNORMAL, "(no answer to our close)")
        if isinstance(ended, BaseException):
            raise ended
        self._screen.line("*", describe_close(ended))
        return 0 if self._closing or ended.code in (closes.NORMAL.code, closes.GOING_AWAY.code) else 1

    def _open_input(self, stack: ExitStack) -> bool:
        """Start reading standard input, the terminal key by key; return whether it is one."""
        descriptor = sys.stdin.fileno()
        loop = asyncio.get_running_loop()
        is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        if is_terminal:
            before = termios.tcgetattr(descriptor)
            stack.callback(termios.tcsetattr, descriptor, termios.TCSADRAIN, before)
            tty.setcbreak(descriptor)
            self._screen.edit(LineEditor())
            stack.callback(self._screen.stop_editing)
        loop.add_signal_handler(signal.SIGINT, self._close, 1000, "")
        stack.callback(loop.remove_signal_handler, signal.SIGINT)
        take = self._take_keys if is_terminal else LineSplitter(self._input.put_nowait).take
        # A daemon, because nothing can end a read of a terminal; it reads the descriptor, not sys.stdin, whose lock
        # would stop the interpreter from exiting.
        threading.Thread(target=_read_all, args=(descriptor, loop, take), daemon=True).start()
        return is_terminal

    def _take_keys(self, keys: bytes) -> None:
        for line in self._screen.feed(keys) if keys else [None]:
            self._input.put_nowait(line)

    async def _follow_input(self, is_terminal: bool) -> None:
        """Send line after line; at the end of the input close, on a terminal at once, else after the replies."""
        while (line := await self._input.get()) is not None:
            self._obey(line)
            if self._closing:
                return
        if not is_terminal:
            await self._await_replies()
        self._close(1000, "")

    async def _await_replies(self) -> None:
        if self._wait_s is not None:
            await asyncio.sleep(self._wait_s)
            return
        self._ping(b"end of input")
        try:
            while True:
                self._arrived.clear()
                async with asyncio.timeout(_CLOSE_TIMEOUT_S if self._pings else _QUIET_S):
                    await self._arrived.wait()
        except TimeoutError:
            return

    def _obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if not line.startswith("/") or line.startswith("//"):
            text = line[1:] if line.startswith("//") else line
            if text:
                self._link.send_text(text)
                self._screen.line(">", text)
        elif word == "/ping":
            self._ping(rest.encode()[:125])
        elif word == "/close":
            self._obey_close(rest)
        elif word in ("/quit", "/exit"):
            self._close(1000, "")
        else:
            self._screen.line("*", HELP if word == "/help" else f"{word} is not known; /help shows what is")

    def _obey_close(self, rest: str) -> None:
        number, _, reason = rest.partition(" ")
        code = int(number) if number.isascii() and number.isdigit() else 1000 if not number else 0
        if not 1000 <= code <= 4999 or code in closes.UNSENDABLE or len(reason.encode()) > 123:
            self._screen.line("*", "a close code is 1000 to 4999, without 1004-1006 and 1015, the reason 123 bytes")
            return
        self._close(code, reason)

    def _ping(self, payload: bytes) -> None:
        self._pings[payload] = time.monotonic()
        self._link.ping(payload)
        self._screen.line(">", f"(ping) {payload.decode()}".rstrip())

    def _close(self, code: int, reason: str) -> None:
        """Begin to close; the second time, do not wait for the server's answer."""
        if self._closing:
            self._link.abort()
            return
        self._closing = True
        self._link.close(code, reason)
        self._screen.line(">", f"(close) {code} {reason}".rstrip())
        self._input.put_nowait("")  # wakes the task that follows the input, so that it sees the end

    async def _receive(self) -> CloseInfo:
        """Print what arrives and return how it ended."""
        async for item in self._link.incoming():
            self._arrived.set()
            match item:
                case str():
                    self._screen.line("<", item)
                case bytes():
                    more = "..." if len(item) > _SHOWN_BINARY_BYTES else ""
                    self._screen.line("<", f"(binary, {len(item)} bytes) {item[:_SHOWN_BINARY_BYTES].hex(' ')}{more}")
                case Ping():
                    self._screen.line("<", f"(ping) {_text_of(item)}".rstrip())
                case Pong():
                    sent = self._pings.pop(bytes(item.payload), None)
                    took = f"{(time.monotonic() - sent) * 1000:.1f} ms" if sent is not None else "unasked"
                    self._screen.line("<", f"(pong) {took}")
                case CloseInfo():
                    return item
        return CloseInfo(closes.ABNORMAL)


class Screen:
    """Prints lines; on a terminal above the line that is being typed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._editor: LineEditor | None = None

    def edit(self, editor: LineEditor) -> None:
        """Show an input line below everything from now on."""
        self._editor = editor
        self._draw("")

    def stop_editing(self) -> None:
        """Remove the input line."""
        self._editor = None
        self._draw("\r\x1b[K")

    def feed(self, keys: bytes) -> list[str | None]:
        """Edit the input line and return the lines that were finished."""
        lines = self._editor.feed(keys) if self._editor is not None else []
        self._draw("")
        return lines

    def line(self, direction: str, text: str) -> None:
        """Print `HH:MM:SS.mmm DIRECTION TEXT`; nothing in the text can end the line or command the terminal."""
        now = time.time()
        stamp = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now % 1 * 1000):03d}"
        own = text.splitlines() if direction == "*" else [text]
        clear = "\r\x1b[K" if self._editor is not None else ""
        self._draw(clear + "".join(f"{stamp} {direction} {escape(part)}\n" for part in own))

    def _draw(self, before: str) -> None:
        after = self._editor.render(shutil.get_terminal_size().columns) if self._editor is not None else ""
        self._stream.write(before + after)
        self._stream.flush()


class LineSplitter:
    """Cuts an input that is no terminal into lines; None follows the last one."""

    def __init__(self, put: Callable[[str | None], None]) -> None:
        self._put = put
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def take(self, data: bytes) -> None:
        """Take the next bytes; none at all means the end."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final=not data)).split("\n")
        if not data and self._rest:
            lines.append(self._rest)
        for line in lines:
            self._put(line.removesuffix("\r"))
        if not data:
            self._put(None)


def describe_close(info: CloseInfo) -> str:
    """Return one line about how a connection ended: code, reason, and what the code means."""
    return f"closed: {' '.join(filter(None, (str(info.code), info.reason)))} - {closes.meaning_of(info.code)}"


def _read_all(descriptor: int, loop: asyncio.AbstractEventLoop, take: Callable[[bytes], None]) -> None:
    """Read to the end in a thread of its own and hand every piece to the loop."""
    data = b"-"
    while data:
        try:
            data = os.read(descriptor, 65536)
        except OSError:
            data = b""
        try:
            loop.call_soon_threadsafe(take, data)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return


def _text_of(ping: Ping) -> str:
    return bytes(ping.payload).decode("utf-8", "replace")
