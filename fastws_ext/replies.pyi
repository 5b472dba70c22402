class ReplyGuard:
    """Follows what one connection to Redis sends, so that nothing is parsed that takes more memory than it may: a
    parser makes a list when its length is announced, whether anything comes or not.
    """

    problem: str
    """Why the server is no longer followed; empty while it is."""

    def __init__(self, most: int) -> None:
        """:param most: bytes of one answer or push, each element of a list counting some more than it has."""

    def check(self, data: bytes) -> int:
        """How many of these bytes, which are the next, may be parsed: all of them, or those before a problem. After one
        that is none.
        """
