"""Edits one line on a terminal: bytes of keys in, lines and what to draw out. No terminal is touched here."""

import codecs
import re
import unicodedata
from dataclasses import dataclass, field

PROMPT = "> "

# CSI and SS3 sequences of keys (ECMA-48 5.4), and what may be the beginning of one.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~]|[^\[O])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")
_MAX_HISTORY = 500


@dataclass
class LineEditor:
    """One line under edit, with the lines before it. After `feed`, draw what `render` returns."""

    text: str = ""
    cursor: int = 0
    """Position in `text`, 0 to its length."""
    history: list[str] = field(default_factory=list)
    _place: int = 0
    _draft: str = ""
    _pending: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def feed(self, keys: bytes) -> list[str | None]:
        """Take keys as the terminal sends them; return the lines that were finished, and None for the end (Ctrl-D)."""
        done: list[str | None] = []
        self._pending += self._decoder.decode(keys)
        while self._pending:
            if _UNFINISHED.match(self._pending):
                break
            sequence = _SEQUENCE.match(self._pending)
            key = sequence[0] if sequence else self._pending[0]
            self._pending = self._pending[len(key) :]
            if key in "\r\n":
                done.append(self._finish())
            elif key == "\x04" and not self.text:
                done.append(None)
            else:
                self._edit(key)
        return done

    def render(self, columns: int) -> str:
        """Return the characters that draw prompt and line over whatever stands in the terminal's current row.

        A line wider than `columns` is shown from where the cursor still fits.
        """
        room = max(columns - len(PROMPT) - 1, 1)
        start = 0
        while _width(self.text[start : self.cursor]) > room:
            start += 1
        end = len(self.text)
        while _width(self.text[start:end]) > room:
            end -= 1
        back = _width(self.text[self.cursor : end])
        return f"\r\x1b[K{PROMPT}{self.text[start:end]}" + (f"\x1b[{back}D" if back else "")

    def _finish(self) -> str:
        line, self.text, self.cursor = self.text, "", 0
        if line and self.history[-1:] != [line]:
            self.history = [*self.history, line][-_MAX_HISTORY:]
        self._place = len(self.history)
        return line

    def _edit(self, key: str) -> None:
        match key:
            case "\x7f" | "\x08":
                self._delete(self.cursor - 1, self.cursor)
            case "\x04" | "\x1b[3~":
                self._delete(self.cursor, self.cursor + 1)
            case "\x15":
                self._delete(0, self.cursor)
            case "\x0b":
                self._delete(self.cursor, len(self.text))
            case "\x17":
                self._delete(self.text[: self.cursor].rstrip().rfind(" ") + 1, self.cursor)
            case "\x01" | "\x1b[H" | "\x1bOH" | "\x1b[1~":
                self.cursor = 0
            case "\x05" | "\x1b[F" | "\x1bOF" | "\x1b[4~":
                self.cursor = len(self.text)
            case "\x02" | "\x1b[D" | "\x1bOD":
                self.cursor = max(self.cursor - 1, 0)
            case "\x06" | "\x1b[C" | "\x1bOC":
                self.cursor = min(self.cursor + 1, len(self.text))
            case "\x10" | "\x1b[A" | "\x1bOA":
                self._recall(self._place - 1)
            case "\x0e" | "\x1b[B" | "\x1bOB":
                self._recall(self._place + 1)
            case _ if key.isprintable() or key == "\t":
                typed = " " if key == "\t" else key
                self.text = self.text[: self.cursor] + typed + self.text[self.cursor :]
                self.cursor += 1
            case _:
                pass

    def _delete(self, start: int, end: int) -> None:
        start = max(start, 0)
        self.text = self.text[:start] + self.text[end:]
        self.cursor = min(start, len(self.text))

    def _recall(self, place: int) -> None:
        """Show a line of the history; below the newest one is what was being typed."""
        if not 0 <= place <= len(self.history):
            return
        if self._place == len(self.history):
            self._draft = self.text
        self._place = place
        self.text = self._draft if place == len(self.history) else self.history[place]
        self.cursor = len(self.text)


def _width(text: str) -> int:
    """Return how many columns a terminal takes for the text."""
    columns = 0
    for letter in text:
        if not unicodedata.combining(letter):
            columns += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
    return columns
