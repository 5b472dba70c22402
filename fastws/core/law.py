"""The law: what frames mean, judged by wsproto's frame protocol with the limits of fastws plugged in as extensions.

The compiled codec handles frames that need no judgement by itself and makes a `Law` for any other; it drops it when
the connection is between messages again. Close codes come from here alone.
"""

from io import BytesIO
from typing import Any, Final, cast

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from fastws.core.deflate import BoundedDeflate
from fastws.core.utf8 import TextCheck
from fastws.errors import ProtocolViolation

Event = tuple[int, Any]

_NO_BITS: Final = RsvBits(False, False, False)


class MessageRules(Extension):
    """Order and size of the frames of a message, decided from their headers before any payload is there, and its text.

    `max_message_size` in bytes and `max_fragments` in data frames hold for one message; 0 means no limit. The size of
    compressed messages is the business of `deflate`, which stands before this one in the list.
    """

    name = "fastws-message-rules"

    def __init__(self, max_message_size: int, max_fragments: int, deflate: BoundedDeflate | None) -> None:
        self.in_message = False
        self.bytes_behind_frame = 0
        """Bytes that were already there behind the frame that ended last."""
        self._max_message_size = max_message_size
        self._max_fragments = max_fragments
        self._deflate = deflate
        self._in_data_frame = False
        self._frame_size = 0
        self._size = 0
        self._fragments = 0
        self._text: TextCheck | None = None

    def enabled(self) -> bool:
        """Tell wsproto to use this extension."""
        return True

    def offer(self) -> bool | str:
        """Offer nothing: this is no extension that a peer sees."""
        return False

    def frame_inbound_header(
        self, _proto: FrameDecoder | FrameProtocol, opcode: Opcode, _rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Judge a header. wsproto may ask again about the same one, so counting waits for the end of the frame."""
        self._in_data_frame = not opcode.iscontrol()
        if not self._in_data_frame:
            return _NO_BITS
        # RFC 6455 5.4: a continuation needs a message that is open, every other data frame needs that none is.
        if (opcode is Opcode.CONTINUATION) != self.in_message:
            return CloseReason.PROTOCOL_ERROR
        if self._max_fragments and self._fragments >= self._max_fragments:
            return CloseReason.MESSAGE_TOO_BIG
        inflates = self._deflate is not None and self._deflate.compressed
        if self._max_message_size and not inflates and self._size + payload_length > self._max_message_size:
            return CloseReason.MESSAGE_TOO_BIG
        self._frame_size = payload_length
        if opcode is not Opcode.CONTINUATION:
            self._text = TextCheck() if opcode is Opcode.TEXT and not inflates else None
        return _NO_BITS

    def frame_inbound_payload_data(self, _proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Check plain text, because wsproto finds some wrong bytes only with the next one; wrong ends it does find."""
        if self._in_data_frame and self._text is not None and not self._text.accepts(data):
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return data

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> None:
        """Count a data frame that is complete; control frames between fragments change nothing."""
        if isinstance(proto, FrameDecoder):  # always; the other half of the type is for what is sent
            self.bytes_behind_frame = len(proto.buffer)
        if not self._in_data_frame:
            return
        self.in_message = not fin
        self._size = 0 if fin else self._size + self._frame_size
        self._fragments = 0 if fin else self._fragments + 1


class Law:
    """Bytes of a client in, whole messages and control frames out; or one `ProtocolViolation`.

    `max_message_size` (bytes, after inflation) and `max_fragments` (data frames) hold for one message, 0 means no
    limit; `window_bits` is 0 where permessage-deflate was not negotiated, and any other number otherwise.
    """

    __slots__ = ("_ended", "_joined", "_protocol", "_rules", "events_before", "idle")

    def __init__(self, max_message_size: int, max_fragments: int, window_bits: int) -> None:
        deflate = BoundedDeflate(max_message_size) if window_bits else None
        self._rules = MessageRules(max_message_size, max_fragments, deflate)
        self._protocol = FrameProtocol(client=False, extensions=[*filter(None, [deflate]), self._rules])
        self._joined: BytesIO | None = None
        self._ended = False
        self.events_before: list[Event] = []
        self.idle = True

    def __del__(self) -> None:
        # wsproto's protocol and its generator refer to each other. A law that is dropped after each message must not
        # wait for the garbage collector: under a flood of them it would be busy with nothing else.
        del self._protocol._parse_more

    def receive_data(self, data: bytes) -> list[Event]:
        """Take the next bytes, any number of them, and return what they complete, in order.

        Events are (1, str) and (2, bytes) for whole messages, (8, (code, reason)) for a close frame (1005 and "" if
        it is empty), (9, bytes) for a ping, which the caller owes a pong, and (10, bytes) for a pong. The first byte
        that is wrong raises `ProtocolViolation`, once; what came before it in the same call is in `events_before`,
        and the caller handles that first. After a close frame or a violation every byte is ignored (RFC 6455 1.4).
        """
        if self._ended or not data:
            return []
        events: list[Event] = []
        # Known again when a frame ends with nothing behind it.
        self._rules.bytes_behind_frame = len(data)
        self._protocol.receive_bytes(data)
        try:
            for frame in self._protocol.received_frames():
                event = self._event(frame)
                if event is not None:
                    events.append(event)
        except ParseFailed as error:
            self._end()
            self.events_before = events
            # wsproto's text can hold what the peer sent: only the code goes on.
            raise ProtocolViolation(int(error.code)) from None
        self.idle = not (self._ended or self._rules.in_message or self._rules.bytes_behind_frame)
        return events

    def _event(self, frame: Frame) -> Event | None:
        if frame.opcode is Opcode.CLOSE:
            self._end()
            # wsproto's type says str as well; a close frame always has the pair.
            code, reason = cast("tuple[int, str]", frame.payload)
            return (8, (int(code), reason))
        if frame.opcode.iscontrol():
            return (int(frame.opcode), frame.payload)
        message = self._join(frame)
        return None if message is None else (int(frame.opcode), message)

    def _join(self, frame: Frame) -> str | bytes | None:
        """Collect the pieces of a message; its whole payload at the last one.

        Into one buffer of bytes, for text too: to a client that sends byte by byte, a list of pieces would give
        fifty bytes of object for each.
        """
        piece = cast("str | bytes", frame.payload)
        if self._joined is None:
            if frame.message_finished:
                return piece
            self._joined = BytesIO()
        self._joined.write(piece.encode() if isinstance(piece, str) else piece)
        if not frame.message_finished:
            return None
        message = self._joined.getvalue()
        self._joined = None
        return message.decode() if isinstance(piece, str) else message

    def _end(self) -> None:
        self._ended = True
        self._joined = None
        self.idle = False
