"""No Python interface: used by the other compiled modules only."""

class Outbox:
    """The queue of a connection that cannot send now. Not made from Python."""
