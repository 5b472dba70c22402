"""Every example says how to run it, is in the list of examples, and has a test of its own."""

from pathlib import Path

import pytest

from tests.examples.users import EXAMPLES

HERE = Path(__file__).parent
NAMES = sorted({path.stem for path in EXAMPLES.iterdir() if path.suffix == ".py" or path.is_dir()} - {"__pycache__"})


def sources(name: str) -> str:
    single = EXAMPLES / f"{name}.py"
    paths = [single] if single.exists() else sorted((EXAMPLES / name).glob("*.py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_tested_listed_and_explained(name: str) -> None:
    assert (HERE / f"test_{name}.py").exists()
    assert f"]({name}" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert "fastws-server" in sources(name) or "uvicorn" in sources(name)
