from fastws_ext.wire import Wire

class Roster:
    """Connections by their numbers, of one event loop."""

    def __len__(self) -> int: ...
    def __contains__(self, wire: Wire, /) -> bool: ...
    def wires(self) -> list[Wire]:
        """The connections, in no order."""
    def get(self, number: int) -> Wire | None:
        """The connection of that number. Raises `OverflowError` for what no 64-bit number is."""
    def add(self, wire: Wire) -> bool:
        """Note a connection; False if its number is here already."""
    def discard(self, wire: Wire) -> bool:
        """Forget a connection; False if it was not here."""
