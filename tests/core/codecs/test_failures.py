"""How a failed command is told."""

from fastws.core.codecs.failures import described
from fastws.errors import TopicError


def test_as_a_reply_or_as_a_push() -> None:
    error = TopicError(111, "slower")
    content = {"code": 111, "reason": "too_many_requests", "message": "slower", "temporary": True}
    assert described("pub", 0, error) == {"id": 0, "error": content}
    assert described("pub", None, error) == {"event": "error", "cmd": "pub", "error": content}
    assert described("", None, error) == {"event": "error", "error": content}


def test_the_word_stands_where_there_is_no_message() -> None:
    assert described("pub", 1, TopicError(103))["error"]["message"] == "permission_denied"
