"""The generated pages, and what writes each of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from docs.generate import codes, commands, control_api, python_api, toolbox
from fastws.config import docs as configuration

ROOT: Final = Path(__file__).resolve().parents[2]

PAGES: Final[dict[str, Callable[[], str]]] = {
    "docs/configuration.md": configuration.render,
    "docs/reference/codes.md": codes.render,
    "docs/reference/commands.md": commands.render,
    "docs/reference/control-api.md": control_api.render,
    "docs/reference/python-api.md": python_api.render,
    "docs/reference/toolbox.md": toolbox.render,
}
"""By path from the root of the repository."""
