"""The error tree: codes, reasons, hints, exit codes, and which numbers may be sent at all."""

import pytest

from fastws import errors
from fastws.errors import Reject, TopicError, UsageError


def test_the_docstring_names_every_error() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) >= 10
    for error in classes:
        assert f"{error.__name__} " in (errors.__doc__ or "") or error is errors.FastWSError
        assert issubclass(error, errors.FastWSError)


@pytest.mark.parametrize(
    ("error", "code"), [(errors.ConfigError, 2), (errors.StartError, 3), (errors.AppImportError, 4)]
)
def test_startup_errors_carry_their_exit_code(error: type[errors.StartupError], code: int) -> None:
    assert error("no").exit_code == code
    assert issubclass(error, errors.StartupError)


def test_a_violation_has_the_word_of_the_table() -> None:
    violation = errors.ProtocolViolation(1002)
    assert (violation.code, violation.reason, str(violation)) == (1002, "protocol", "1002 protocol")


def test_a_hint_is_part_of_the_message() -> None:
    assert str(UsageError("no", "do this")) == "no\nhint: do this"
    assert str(UsageError("no")) == "no"


@pytest.mark.parametrize(("code", "reason"), [(4507, "permission_denied"), (1000, "normal"), (4321, ""), (403, "")])
def test_reject_takes_its_reason_from_the_table(code: int, reason: str) -> None:
    assert Reject(code).reason == reason
    assert Reject(code, "mine").reason == "mine"
    assert Reject(code).is_http == (code < 1000)


@pytest.mark.parametrize("code", [0, 200, 399, 600, 999, 1004, 1005, 1006, 1015, 5000])
def test_reject_refuses_what_cannot_be_sent(code: int) -> None:
    with pytest.raises(UsageError, match="hint: use an HTTP status"):
        Reject(code)


def test_a_close_reason_fits_a_control_frame() -> None:
    assert Reject(4507, "é" * 61).reason == "é" * 61
    with pytest.raises(UsageError, match="123 bytes"):
        Reject(4507, "é" * 62)
    assert Reject(403, "x" * 1000).reason == "x" * 1000


def test_topic_errors_know_the_table_and_the_application() -> None:
    assert (TopicError(107).reason, TopicError(107).temporary) == ("bad_request", False)
    assert TopicError(111).temporary
    own = TopicError(1234, "out of stock")
    assert (own.reason, own.message, str(own)) == ("application", "out of stock", "1234 application: out of stock")


@pytest.mark.parametrize("code", [0, 99, 116, 999, 5000])
def test_topic_errors_refuse_other_numbers(code: int) -> None:
    with pytest.raises(UsageError):
        TopicError(code)


def test_engine_errors_may_pass_unless_said_otherwise() -> None:
    assert errors.EngineError("away").temporary
    assert not errors.EngineError("wrong", temporary=False).temporary
