"""The decorators: what they keep, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import FastWS, UsageError


def gone(info: Any, close: Any) -> None: ...


def test_hooks_are_kept_in_order() -> None:
    app = FastWS()
    hooks = [lambda conn: None, lambda conn: 1]
    for hook in hooks:
        assert app.on_connect(hook) is hook
    assert app.connect_hooks == hooks
    assert app.on_upgrade(hooks[0]) in app.upgrade_hooks
    assert app.on_disconnect(gone) in app.disconnect_hooks
    nothing = app.on_startup(lambda: None)
    assert app.on_shutdown(nothing) in app.shutdown_hooks
    assert app.startup_hooks == [nothing]
    layers = [app.use(lambda ctx, call_next: call_next(ctx)) for _ in range(2)]
    assert app.middleware == layers


@pytest.mark.parametrize(
    "name", ["on_connect", "on_disconnect", "on_startup", "on_shutdown", "on_upgrade", "use", "can_subscribe", "rpc"]
)
def test_wrong_signatures_say_how(name: str) -> None:
    def handler(a: Any, b: Any, c: Any) -> None: ...

    def decorator(registered: Any) -> None:
        app = FastWS()
        (getattr(app, name)("x") if name in ("can_subscribe", "rpc") else getattr(app, name))(registered)

    with pytest.raises(UsageError) as raised:
        decorator(handler)
    assert "handler(a: 'Any', b: 'Any', c: 'Any')" in raised.value.message
    assert f"@app.{name}" in raised.value.hint
    with pytest.raises(UsageError, match="cannot be called"):
        decorator("text")


TABLES = {
    "can_subscribe": "subscribe_rules",
    "can_publish": "publish_rules",
    "on_publish": "publish_hooks",
    "on_subscribe": "subscribe_hooks",
    "on_unsubscribe": "unsubscribe_hooks",
}


@pytest.mark.parametrize("name", TABLES)
def test_what_is_registered_for_a_pattern(name: str) -> None:
    app = FastWS()

    def handler(*_arguments: Any, room: str = "") -> None: ...

    assert getattr(app, name)("chat:{room}")(handler) is handler
    table = getattr(app, TABLES[name])
    assert table.match("chat:7") == (handler, {"room": "7"})
    assert table.match("chat") is None
    for wrong in (handler, "chat:{", "chat:*"):
        with pytest.raises(UsageError):
            getattr(app, name)(wrong)


@pytest.mark.parametrize("name", TABLES)
def test_one_rule_for_a_pattern_but_any_number_of_hooks(name: str) -> None:
    app = FastWS()

    def handler(*_arguments: Any, **_parameters: Any) -> None: ...

    getattr(app, name)("chat:{room}")(handler)
    if name in ("on_subscribe", "on_unsubscribe"):
        getattr(app, name)("chat:{other}")(handler)
        assert len(getattr(app, TABLES[name]).match_all("chat:7")) == 2
        return
    with pytest.raises(UsageError) as raised:
        getattr(app, name)("chat:{other}")(handler)
    assert "handler" in raised.value.message
    assert "more specific" in raised.value.hint
    getattr(app, name)("chat:{room}-{sub}")(handler)


@pytest.mark.parametrize("wrong", [lambda conn: None, lambda conn, name: None, lambda room, conn, more: None])
def test_parameters_come_by_their_names(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"cannot be called with \(conn, data, room\)"):
        FastWS().on_publish("chat:{room}")(wrong)
    FastWS().on_publish("chat:{room}")(lambda connection, content, *, room: content)
    with pytest.raises(UsageError, match="another name"):
        FastWS().can_publish("chat:{conn}")(lambda conn: True)
    FastWS().can_publish("chat:{conn}")(lambda connection, conn: True)


def test_methods() -> None:
    app = FastWS()

    @app.rpc("sum")
    def add(conn: Any, data: list[int]) -> int:
        return sum(data)

    assert app.rpc_methods["sum"].handler is add
    assert app.rpc_methods["sum"].data_type == list[int]
    with pytest.raises(UsageError, match="add"):
        app.rpc("sum")(lambda conn, data: 1)
    for wrong in (add, "", None, "a\nb", "x" * 256):
        with pytest.raises(UsageError):
            app.rpc(wrong)
