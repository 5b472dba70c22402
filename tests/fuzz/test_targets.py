"""Every target holds on its corpus and on inputs made of it, and notices when something is wrong."""

import random
import re
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastws.config import values
from fastws.core import deflate, law, proxies, request, topics, upgrade
from fastws.core.codecs import json_text, msgpack_binary
from fastws.engine.redis import envelope
from fastws.engine.redis.resp import errors, link
from fastws.engine.redis.topic import asking, past
from fastws.errors import ProtocolViolation
from fastws.gateway.auth import claims, tokens
from fastws_ext import envelope as compiled
from tests.differential import subjects
from tests.fuzz.corpus import inputs, mutate
from tests.fuzz.targets import NAMES, frames, load

ENOUGH = 5000

# As many as take a second or two.
EXAMPLES = {
    "heads": 300,
    "upgrade": 500,
    "frames": 150,
    "inflate": 500,
    "json_commands": 150,
    "msgpack_commands": 150,
    "proxies": 500,
    "topics": 600,
    "config": 80,
    "tokens": 300,
    "redis_answers": 150,
    "envelopes": 500,
    "redis_topics": 300,
}


@pytest.fixture(autouse=True)
def _another_rig() -> Iterator[None]:
    """What a test plants must not stay behind in wires that are kept."""
    frames.rig.cache_clear()
    yield
    frames.rig.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_holds(name: str) -> None:
    target = load(name)
    for seed, data in inputs(name):
        assert len(data) <= target.MAX_BYTES, seed
        target.run(data)


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_for_inputs_made_of_the_corpus(name: str) -> None:
    target = load(name)
    seeds = [data for _, data in inputs(name)]

    def made(number: int) -> bytes:
        return mutate(random.Random(number), seeds, target.WORDS)[: target.MAX_BYTES]

    @settings(
        max_examples=EXAMPLES[name],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32).map(made) | st.binary(max_size=100))
    def hold(data: bytes) -> None:
        target.run(data)

    hold()


# One fault for each target, or more where it looks at more than one thing: where, and what stands there instead.


class _LawWithoutText(law.Law):
    """Lets through what is no UTF-8, as nothing."""

    def receive_data(self, data: bytes) -> list[law.Event]:
        try:
            return super().receive_data(data)
        except ProtocolViolation as violation:
            if violation.code != 1007:
                raise
            return []


class _LawWithoutPings(law.Law):
    """Overhears pings that say nothing."""

    def receive_data(self, data: bytes) -> list[law.Event]:
        return [event for event in super().receive_data(data) if event != (9, b"")]


def _trusting(self: Any) -> Any:
    return b"" if self._untouched else self._inflate(b"\x00\x00\xff\xff")


def _gives_up(*_arguments: object) -> bytes:
    raise zlib.error("a symbol behind it is wrong")


def _says(value: object) -> Callable[..., Any]:
    return lambda *_arguments: value


def _believes(_self: Any, owner: Any, push: Any) -> None:
    owner.on_push(push[0] if push else None, push)


def _without_offset(published: Any) -> dict[str, Any]:
    return {"data": published.data.decode(), "ts": published.ts_ms}


class _HeaderOfAlgorithm(msgspec.Struct):
    """Overlooks everything else."""

    alg: str
    kid: Any = msgspec.UNSET
    crit: Any = msgspec.field(default=msgspec.UNSET, name="other")
    b64: bool = msgspec.field(default=True, name="another")


class _AnyVersion:
    """Reads what comes later than this program."""

    publications_in = staticmethod(compiled.publications_in)

    @staticmethod
    def publication_in(data: bytes, make: Any) -> Any:
        return compiled.publication_in(b"\x01" + data[1:], make)


class _HalfABatch:
    """Passes over what is damaged."""

    publication_in = staticmethod(compiled.publication_in)

    @staticmethod
    def publications_in(data: bytes, make: Any) -> Any:
        return compiled.publications_in(data, make) or []


class _AnyAnswer(msgspec.Struct, array_like=True):
    """Believes any number of subscribers."""

    number: int
    is_last: bool
    topics: list[tuple[str, int]]


FAULTS: list[tuple[str, str, object, str, object]] = [
    ("heads", "strict about origins", upgrade.OriginRules, "allows", _says(False)),
    ("heads", "another accept key", upgrade, "accept_value", _says(b"x" * 28)),
    ("heads", "two hosts", request, "_ONCE", ()),
    ("heads", "no limit of headers", request, "MAX_HEADERS", 90),
    ("upgrade", "any window", deflate, "_WINDOW_BITS", re.compile(rb"[0-9]+")),
    ("upgrade", "no default port", upgrade, "_DEFAULT_PORTS", {b"http": 81}),
    ("frames", "wrong text", subjects, "Law", _LawWithoutText),
    ("frames", "empty pings", subjects, "Law", _LawWithoutPings),
    ("inflate", "what zlib forgets", deflate, "_first_byte", _gives_up),
    ("inflate", "messages may end inside a block", deflate.BoundedDeflate, "_finish", _trusting),
    ("inflate", "a wider window", deflate, "compress", None),
    ("json_commands", "deep nesting", json_text, "_FAILURES", ValueError),
    ("json_commands", "ids of any length", json_text, "id_fits", _says(True)),
    ("msgpack_commands", "publications differ", msgpack_binary, "_core", _without_offset),
    ("msgpack_commands", "wrong types kill", msgpack_binary, "_FAILURES", RecursionError),
    ("proxies", "ports stay", proxies, "_without_port", str),
    ("proxies", "two families", proxies, "_parse", ip_address),
    ("topics", "too long", topics, "MAX_TOPIC_BYTES", 256),
    ("topics", "separators", topics, "_SCOPE", ":"),
    ("tokens", "any signature", tokens.SharedSecret, "holds", _says(True)),
    ("tokens", "other words of base64", tokens, "_LAST_DIGITS", {2: frozenset(range(256)), 3: frozenset(range(256))}),
    ("tokens", "what is critical", tokens, "_headers", msgspec.json.Decoder(_HeaderOfAlgorithm)),
    ("tokens", "the issuer", tokens.Verifier, "_judge", lambda _self, payload: claims.read_claims(payload)),
    ("envelopes", "other versions", envelope, "compiled", _AnyVersion),
    ("envelopes", "half a batch", envelope, "compiled", _HalfABatch),
    ("redis_answers", "lists are answers", link, "_is_push", _says(False)),
    ("redis_answers", "what does not print", errors, "safe_text", str),
    ("redis_answers", "what cannot be pushed", link.Link, "_push", _believes),
    ("redis_answers", "any place", errors, "_is_number", lambda text, _largest: text.isdigit()),
    ("redis_topics", "any number", past, "_number", lambda word, least=0: word),
    ("redis_topics", "any list of topics", asking, "_answers", msgspec.msgpack.Decoder(_AnyAnswer)),
    ("config", "control characters", values, "_CONTROL", re.compile("$^")),
    ("config", "any bytes", import_module("fastws.config.load"), "_is_utf8", _says(True)),
]


def _is_too_deep(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except RecursionError:
        return True
    except msgspec.DecodeError:
        return False
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("name", "fault", "place", "attribute", "planted"), FAULTS, ids=[f"{f[0]}-{f[1]}" for f in FAULTS]
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, fault: str, place: object, attribute: str, planted: object
) -> None:
    target = load(name)
    if fault == "deep nesting" and not _is_too_deep("[" * target.MAX_BYTES):
        pytest.skip("this Python goes deeper than the longest input")
    if attribute == "compress":  # the target has its own name for it
        monkeypatch.setattr(target, attribute, lambda payload, _bits: deflate.compress(payload * 2, 15))
    else:
        monkeypatch.setattr(place, attribute, planted)
    seeds = [data for _, data in inputs(name)]
    rng = random.Random(1)
    for number in range(ENOUGH):
        data = seeds[number] if number < len(seeds) else mutate(rng, seeds, target.WORDS)[: target.MAX_BYTES]
        try:
            target.run(data)
        except Exception:
            return
    pytest.fail(f"{fault}: not found in {ENOUGH} inputs")
