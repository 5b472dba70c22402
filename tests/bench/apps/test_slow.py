"""The application for slow readers has a namespace for each policy."""

from bench.apps import slow


def test_each_policy_has_its_namespace() -> None:
    assert {name: options["slow_policy"] for name, options in slow.app.namespaces.items()} == {
        policy: policy for policy in slow.POLICIES
    }
