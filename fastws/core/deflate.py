"""permessage-deflate (RFC 7692): which offers are taken up, bounded inflation, compression of whole messages.

Neither side keeps its window between messages (`server_no_context_takeover`, `client_no_context_takeover`): an idle
connection owns no zlib state, and one compressed frame can be shared by every client with the same window.
"""

import re
import zlib
from typing import Final, NamedTuple

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from fastws.core.utf8 import TextCheck

_NO_BITS: Final = RsvBits(False, False, False)
_RSV1: Final = RsvBits(True, False, False)

# RFC 7692 7.2.1: the sender strips these from the end of each message. What follows them here is an empty final
# block: the stream can only end in it if the message stopped where a block does.
_STRIPPED: Final = b"\x00\x00\xff\xff"
_FINAL_BLOCK: Final = b"\x01\x00\x00\xff\xff"

# The window that a client may use is never narrowed, so every message is inflated with the widest (RFC 7692 7.1.2.2).
_CLIENT_WINDOW_BITS: Final = 15

# Blocks with BFINAL set start the decompressor anew (a microsecond each). Encoders that set it do so once a message
# or once a fragment; a message of nothing but such blocks would cost far more than its bytes.
_MAX_RESTARTS: Final = 1024

# Bytes on the wire for one message, compared with its limit after inflation. The worst honest encoder flushes after
# every byte, which takes 11 bytes for each; blocks that inflate to nothing must not go on for ever.
_WIRE_BYTES_PER_BYTE: Final = 16
_WIRE_BYTES_SPARE: Final = 65536

# Up to this many bytes a better level costs microseconds; at 16 KiB level 6 is 370 us against 70 us for 20 % more
# bytes, and a loop that compresses is a loop that serves nobody. For 1 KiB of JSON level 3 is 11 us and 166 bytes,
# level 6 is 27 us and 162.
_THOROUGH_BELOW: Final = 4096

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_NAME: Final = re.compile(rb"[ \t]*(" + _TOKEN + rb")[ \t]*")
# RFC 6455 9.1: what a quoted string holds must be a token too, so quoted pairs have nothing to escape.
_VALUE: Final = re.compile(rb'=[ \t]*(?:"(' + _TOKEN + rb')"|(' + _TOKEN + rb"))[ \t]*")
_WINDOW_BITS: Final = re.compile(rb"[89]|1[0-5]")

_Parameters = list[tuple[bytes, bytes | None]]


class DeflateOffer(NamedTuple):
    """An offer that is taken up."""

    answer: bytes
    """The value of `Sec-WebSocket-Extensions` in the 101."""

    window_bits: int
    """For `compress`: the window that the client is ready to inflate, 9 to 15."""


def negotiate(header_value: bytes) -> DeflateOffer | None:
    """Choose from the client's `Sec-WebSocket-Extensions` (several lines joined by commas) the first offer that fits.

    None if there is no offer of permessage-deflate, none that can be met, or the value breaks the grammar of
    RFC 6455 9.1; the connection is then served without compression. Never raises. Names are compared exactly.
    """
    try:
        offers = _parse_offers(header_value)
    except ValueError:
        return None
    for name, parameters in offers:
        offer = _take_up(parameters) if name == b"permessage-deflate" else None
        if offer is not None:
            return offer
    return None


def _parse_offers(header_value: bytes) -> list[tuple[bytes, _Parameters]]:
    """Split into (extension, parameters) in the order of preference; `ValueError` if the grammar is broken anywhere."""
    offers: list[tuple[bytes, _Parameters]] = []
    position = 0
    while position < len(header_value):
        name = _NAME.match(header_value, position)
        if name is None:
            # RFC 9110 5.6.1: a list may have empty elements.
            position = _skip_blanks(header_value, position)
        else:
            parameters, position = _parse_parameters(header_value, name.end())
            offers.append((name[1], parameters))
        if position < len(header_value) and header_value[position] != ord(","):
            raise ValueError("not a list of extensions")
        position += 1
    return offers


def _parse_parameters(header_value: bytes, position: int) -> tuple[_Parameters, int]:
    """Read `; name` and `; name=value` from `position` on; the parameters, and where the first other byte is."""
    parameters: _Parameters = []
    while header_value[position : position + 1] == b";":
        name = _NAME.match(header_value, position + 1)
        if name is None:
            raise ValueError("a parameter without a name")
        value = _VALUE.match(header_value, name.end())
        parameters.append((name[1], None if value is None else value[1] or value[2]))
        position = (value or name).end()
    return parameters, position


def _skip_blanks(header_value: bytes, position: int) -> int:
    while header_value[position : position + 1] in (b" ", b"\t"):
        position += 1
    return position


def _take_up(parameters: _Parameters) -> DeflateOffer | None:
    """Judge one offer (RFC 7692 7.1): None declines what is unknown, given twice, or has a wrong value."""
    if len({name for name, _ in parameters}) != len(parameters):
        return None
    answer = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    window_bits = 15
    for name, value in parameters:
        if name in (b"server_no_context_takeover", b"client_no_context_takeover"):
            if value is not None:
                return None
        elif name == b"client_max_window_bits":
            # 7.1.2.2: a hint, with or without a value. Any window can be inflated here, so the answer sets none.
            if value is not None and not _WINDOW_BITS.fullmatch(value):
                return None
        elif name == b"server_max_window_bits":
            # 7.1.2.1: taken up by repeating it. zlib has no raw deflate with a window of 2**8.
            if value is None or value == b"8" or not _WINDOW_BITS.fullmatch(value):
                return None
            window_bits = int(value)
            answer += b"; server_max_window_bits=" + value
        else:
            return None
    return DeflateOffer(answer, window_bits)


def compress(payload: bytes, window_bits: int) -> bytes:
    """Return the payload of a compressed frame that holds the whole message `payload` (RFC 7692 7.2.1).

    The caller sets RSV1. `window_bits` is what was negotiated, 9 to 15, and an upper bound: less is used where the
    message is shorter, because allocating and clearing zlib's tables is most of the work for a small one
    (128 bytes: 72 us with 15 bits, 4 us with 9).
    """
    # zlib finds matches up to 262 bytes less than the window away.
    enough_bits = max(9, (len(payload) + 262).bit_length())
    small = len(payload) < _THOROUGH_BELOW
    compressor = zlib.compressobj(
        level=3 if small else 1,
        wbits=-min(window_bits, enough_bits),
        memLevel=5 if small else 8,
    )
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_STRIPPED)]


def inflate(payload: bytes, is_text: bool, max_message_size: int) -> str | bytes | None:
    """Return the message that a compressed frame holds (RFC 7692 7.2.2), whole and of at most `max_message_size` bytes.

    None if it is anything else: malformed, too big, bad text, or several streams. `BoundedDeflate` knows which.
    """
    stream = _new_stream()
    try:
        message = stream.decompress(payload + _STRIPPED, max_message_size + 1)
        if len(message) > max_message_size or stream.eof or stream.unconsumed_tail:
            return None
        surplus = stream.decompress(_FINAL_BLOCK, 1)
        text = message.decode() if is_text else message
    except (zlib.error, UnicodeDecodeError):
        return None
    return None if surplus or stream.unused_data or not _has_ended(stream) else text


class BoundedDeflate(Extension):
    """Inflates the compressed messages of one client inside wsproto's frame protocol, and no byte beyond their limit.

    It stands before every extension that looks at payloads. `max_message_size` counts inflated bytes of one message,
    0 means no limit. Wrong RSV1 ends in 1002, data that is not deflate in 1007, a message over the limit in 1009: at
    the byte that makes it so, whatever the pieces in which the bytes come.
    """

    name = "permessage-deflate"

    def __init__(self, max_message_size: int) -> None:
        self.compressed = False
        """The message of the current or the latest data frame is compressed."""
        self._max_message_size = max_message_size
        self._in_data_frame = False
        self._wire_bytes = 0
        self._frame_wire_bytes = 0
        self._size = 0
        self._restarts = 0
        self._untouched = True
        self._stream = _new_stream()
        self._text: TextCheck | None = None

    def enabled(self) -> bool:
        """Tell wsproto to use this extension: the negotiation is over when it is made."""
        return True

    def offer(self) -> bool | str:
        """Offer nothing: only clients do."""
        return False

    def frame_inbound_header(
        self, _proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Judge RSV1 and the declared length. wsproto may ask again about the same header: nothing is counted here."""
        self._in_data_frame = not opcode.iscontrol()
        # RFC 7692 6: RSV1 is set on the first frame of a message, and on no control frame.
        if opcode.iscontrol() or opcode is Opcode.CONTINUATION:
            if rsv.rsv1:
                return CloseReason.PROTOCOL_ERROR
        else:
            self._begin(opcode, rsv.rsv1)
        if self._in_data_frame and self.compressed:
            allowed = self._max_message_size * _WIRE_BYTES_PER_BYTE + _WIRE_BYTES_SPARE
            if self._max_message_size and self._wire_bytes + payload_length > allowed:
                return CloseReason.MESSAGE_TOO_BIG
            self._frame_wire_bytes = payload_length
        return _RSV1 if rsv.rsv1 else _NO_BITS

    def frame_inbound_payload_data(self, _proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Inflate a piece of a frame; pieces of control frames and of plain messages pass as they are."""
        if not (self._in_data_frame and self.compressed):
            return data
        return self._inflate(data)

    def frame_inbound_complete(self, _proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """Count a data frame; at the end of a message check that its last block is complete."""
        if not (self._in_data_frame and self.compressed):
            return None
        self._wire_bytes += self._frame_wire_bytes
        return self._finish() if fin else None

    def _begin(self, opcode: Opcode, compressed: bool) -> None:
        self.compressed = compressed
        if compressed:
            self._wire_bytes = self._size = self._restarts = 0
            self._untouched = True
            self._stream = _new_stream()
            self._text = TextCheck() if opcode is Opcode.TEXT else None

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        """Give at most one byte more than the message may still have to zlib as room, so that is all it ever makes."""
        pieces = []
        while data:
            room = self._max_message_size - self._size + 1 if self._max_message_size else 0
            try:
                piece = self._decompress(data, room)
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            self._untouched = False
            over = self._max_message_size and len(piece) == room
            # Bad text before the byte that is too many has to win, however much of both came in one piece.
            if self._text is not None and not self._text.accepts(piece[:-1] if over else piece):
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            if over:
                return CloseReason.MESSAGE_TOO_BIG
            self._size += len(piece)
            pieces.append(piece)
            # RFC 7692 7.2.3.4: a block with BFINAL is not the end of the message, another stream may follow it.
            data = self._stream.unused_data
            if self._stream.eof:
                self._restarts += 1
                if self._restarts > _MAX_RESTARTS:
                    return CloseReason.MESSAGE_TOO_BIG
                self._stream = _new_stream()
                self._untouched = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _decompress(self, data: bytes, room: int) -> bytes:
        """At most `room` bytes (0: any number). The last of them is asked for by itself: zlib looks one symbol ahead
        and forgets what it has made when that one is wrong, so a message too big would be called malformed instead.
        """
        stream = self._stream
        if room == 0:
            return stream.decompress(data)
        piece = b""
        if room > 1:
            piece = stream.decompress(data, room - 1)
            if len(piece) < room - 1 or stream.eof:
                return piece
            data = stream.unconsumed_tail
        before = stream.copy()
        try:
            return piece + stream.decompress(data, 1)
        except zlib.error:
            return piece + _first_byte(before, data)

    def _finish(self) -> bytes | CloseReason:
        """Put back what the sender stripped (RFC 7692 7.2.2). Encoders that end with BFINAL, or send nothing for an
        empty message, have nothing to put it back to.
        """
        if self._untouched:
            return b""
        rest = self._inflate(_STRIPPED)
        if isinstance(rest, CloseReason):
            return rest
        try:
            surplus = self._stream.decompress(_FINAL_BLOCK, 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        if surplus or not self._stream.eof or self._stream.unused_data:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return rest


def _has_ended(stream: "zlib._Decompress") -> bool:
    return stream.eof  # asked anew: a type checker believes that it is what it was before the last bytes


def _first_byte(stream: "zlib._Decompress", data: bytes) -> bytes:
    """The next byte that comes out, whatever comes behind it. Raises `zlib.error` if none does."""
    made = stream.decompress(b"", 1)
    position = 0
    while not made and position < len(data):
        made = stream.decompress(data[position : position + 1], 1)
        position += 1
    return made


def _new_stream() -> "zlib._Decompress":
    return zlib.decompressobj(-_CLIENT_WINDOW_BITS)
