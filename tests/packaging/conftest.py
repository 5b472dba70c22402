"""What is built here is built from a copy: nothing that lies about in the checkout helps or harms."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What is needed to build, in a place of its own."""
    place = tmp_path / "source"
    ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    for folder in ("fastws", "fastws_ext"):
        shutil.copytree(ROOT / folder, place / folder, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    return place
