"""The list of options whose part is missing."""

from fastws.config import OPTIONS
from fastws.config.not_built import NOT_BUILT, not_built_problem


def test_the_list_names_existing_options_of_later_parts() -> None:
    assert set(NOT_BUILT) <= set(OPTIONS)
    built = {"admin_host", "admin_key", "admin_port", "anonymous", "node_name", "redis", "data_dir", "prefix"}
    assert not built & set(NOT_BUILT)
    built_groups = {"limits", "heartbeat", "websocket", "shutdown", "logging"}
    assert not {name for name in NOT_BUILT if OPTIONS[name].group in built_groups}


def test_a_default_is_no_problem() -> None:
    for name in NOT_BUILT:
        assert not_built_problem(OPTIONS[name], OPTIONS[name].default) is None
    assert not_built_problem(OPTIONS["port"], 1) is None
