"""Keys of publications: known for five minutes, and what remembering them costs."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from fastws.engine.contract import IDEMPOTENCY_S
from fastws.engine.keys import Keys
from fastws.types import Published

steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 4)),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 100, 299, 300])),
        st.tuples(st.just("forget"), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(steps)
def test_a_key_is_known_as_long_as_it_has_to_be(script: list[tuple[str, int]]) -> None:
    keys, model, now_s, count = Keys(), dict[str, tuple[float, Published]](), 1000.0, 0
    for what, number in script:
        if what == "wait":
            now_s += number
        elif what == "forget":
            keys.forget(now_s, number)
        else:
            key = f"{number}" * 40  # longer ones are remembered by their digest
            until_s, published = model.get(key, (0.0, None))
            assert keys.get("t", key, now_s) == (published if until_s > now_s else None)
            assert keys.get("u", key, now_s) is None
            if until_s <= now_s:
                count += 1
                published = Published(count, "e", duplicate=False)
                keys.note("t", key, published, now_s)
                model[key] = (now_s + IDEMPOTENCY_S, published)
        for key, (until_s, published) in model.items():
            assert keys.get("t", key, now_s) == (published if until_s > now_s else None)
    keys.forget(now_s + IDEMPOTENCY_S, 1000)
    assert len(keys) == 0
    assert not keys._by_age
    assert not keys._renewed


def test_forgetting_is_as_cheap_for_many_keys_as_for_few() -> None:
    def cost_s(number: int) -> float:
        """Of 1,000 new keys where as many are forgotten, with `number` of them known."""
        keys, best_s = Keys(), 9.0
        published = Published(None, None, duplicate=False)
        for count in range(number * 2):
            now_s = IDEMPOTENCY_S * count / number
            if count % 1000 == 0:
                began_s = time.process_time()
            keys.forget(now_s, 2)
            keys.note("t", f"{count}", published, now_s)
            if count > number * 1.4 and count % 1000 == 999:
                best_s = min(best_s, time.process_time() - began_s)
        assert len(keys) <= number + 1
        return best_s

    # Where the oldest is searched for from the front of a dict this is a factor of 50.
    assert cost_s(50_000) < 8 * cost_s(2_500)
