"""UTF-8 that comes in pieces."""

from codecs import getincrementaldecoder


class TextCheck:
    """Says at the first wrong byte of a text that it is wrong, whatever the pieces (RFC 6455 8.1, RFC 3629)."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")()

    def accepts(self, piece: bytes) -> bool:
        """Tell whether the text may still be right after `piece`; once false, never call it again.

        That the text does not end inside a character is for the caller to check at its end.
        """
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError:
            return False
        # CPython's decoder waits for a third byte of half a surrogate pair, though ED A0 can't begin a character.
        held = self._decoder.getstate()[0]
        return not (held[:1] == b"\xed" and held[1:2] >= b"\xa0")
