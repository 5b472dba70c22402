"""Scripts are read from their files, once."""

from hashlib import sha1
from importlib.resources import files

import pytest

from fastws.engine.redis.scripts import script

NAMES = sorted(file.name.removesuffix(".lua") for file in files("fastws.engine.redis.scripts").iterdir())


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("__")])
def test_every_file_is_a_script(name: str) -> None:
    made = script(name)
    assert made is script(name)
    assert made.sha == sha1(made.text).hexdigest().encode()
    assert made.text.startswith(b"-- ")
