"""Who of one topic is here, counted."""

from __future__ import annotations

from fastws.hub.news import News


class Roll:
    """There is one for each topic whose namespace has `presence` or `join_leave`; its members are the audience."""

    __slots__ = ("news", "users")

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        """The users with a name, and how many of their connections are here."""
        self.news: News | None = None
        """Only while somebody wants to be told who comes and goes."""

    def count(self, user: str) -> None:
        """One more connection of this user."""
        if user:
            self.users[user] = self.users.get(user, 0) + 1

    def discount(self, user: str) -> None:
        """One less."""
        if not user:
            return
        left = self.users[user] - 1
        if left:
            self.users[user] = left
        else:
            del self.users[user]
