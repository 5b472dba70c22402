"""The shape of the repository: who imports whom, how big things get, tests that mirror sources.

Every exception is named here with its reason.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_MODULE_LINES = 450
MAX_FUNCTION_LINES = 60
MAX_MODULES_IN_A_FOLDER = 10

# Imports go down only. A layer is a folder or a module at the top of fastws/; what it names here it may import, and so
# may everything import VOCABULARY. A dotted entry allows that module only.
VOCABULARY = {"closes", "errors", "types", "services", "config", ""}
LAYERS: dict[str, set[str]] = {
    "core": set(),
    "engine": {"core"},
    "net": {"core", "fastws_ext"},
    "hub": {"engine.contract", "core", "fastws_ext"},
    "gateway": {
        "hub",
        "engine.contract",
        "core",
        "net.connection",
        "net.hooks",
        "net.session",
        "net.stepping",
        "fastws_ext",
    },
    "app": {"core"},
    "observe": set(),
    "server": {"app", "gateway", "hub", "engine", "net", "core", "observe", "fastws_ext"},
    "testing": {"server", "app", "gateway.auth.tokens", "net", "core"},
    "asgi": {"server", "app", "net", "core"},
    "__main__": {"server"},
}
DIRECTION_EXCEPTIONS: dict[tuple[str, str], str] = {
    ("fastws/engine/redis/envelope.py", name): "taken apart in Python, an envelope costs as much as all the rest"
    for name in ("fastws_ext", "fastws_ext.envelope")
} | {
    ("fastws/engine/redis/resp/link.py", name): "looks at every byte that Redis sends"
    for name in ("fastws_ext.replies", "fastws_ext.replies.ReplyGuard")
}

# `core` decides, it never waits or talks.
CORE_MUST_NOT_IMPORT = {
    "asyncio",
    "socket",
    "selectors",
    "ssl",
    "threading",
    "time",
    "uvloop",
    "redis",
    "hiredis",
    "subprocess",
}

LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
FULL_FOLDERS: dict[str, str] = {
    "fastws_ext": "the compiled modules cimport one another and are one part; a sub-package would not make it clearer",
}
WITHOUT_TEST: dict[str, str] = {
    "fastws/services.py": "an interface; its implementation has the tests",
    "fastws/__main__.py": "every test that starts a server goes through it",
}

SOURCES = ("fastws", "fastws_ext", "bench")


def files(*patterns: str, folders: tuple[str, ...] = SOURCES) -> list[Path]:
    found = {path for folder in folders for pattern in patterns for path in (ROOT / folder).rglob(pattern)}
    return sorted(path for path in found if "__pycache__" not in path.parts and "node_modules" not in path.parts)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_modules(path: Path) -> Iterator[str]:
    """Every module named by an import statement, at any depth: `from a import b` yields both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: relative import"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def may_import(importer: str, module: str) -> bool:
    """Whether the layer `importer` may import `module` (an absolute dotted name)."""
    package, _, rest = module.partition(".")
    if package == "fastws_ext":
        return "fastws_ext" in LAYERS[importer]
    if package != "fastws":
        return True
    layer = rest.partition(".")[0]
    if layer == importer or layer in VOCABULARY or layer not in {*LAYERS, *VOCABULARY}:
        return True  # what is no layer is a name defined in fastws/__init__.py
    if layer in LAYERS[importer]:
        return True
    allowed = [entry for entry in LAYERS[importer] if entry.startswith(f"{layer}.")]
    return any(rest == entry or rest.startswith(f"{entry}.") or entry == f"{rest}" for entry in allowed)


def layer_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "fastws").with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


@pytest.mark.parametrize(
    ("importer", "module", "allowed"),
    [
        ("core", "fastws.errors", True),
        ("core", "fastws.net.http", False),
        ("core", "fastws_ext.frames", False),
        ("net", "fastws_ext.frames", True),
        ("net", "fastws.gateway.gateway", False),
        ("hub", "fastws.engine.contract.Engine", True),
        ("hub", "fastws.engine.memory", False),
        ("gateway", "fastws.net.connection.Connection", True),
        ("gateway", "fastws.net.http", False),
        ("gateway", "fastws.net", False),
        ("observe", "fastws.core.request", False),
        ("server", "fastws.engine.memory", True),
    ],
)
def test_the_rule_itself(importer: str, module: str, allowed: bool) -> None:
    assert may_import(importer, module) is allowed


def test_imports_go_down_only() -> None:
    wrong = []
    for path in files("*.py", folders=("fastws",)):
        layer = layer_of(path)
        if layer == "":
            continue  # re-exports the public names, lazily
        if layer in VOCABULARY:
            bad = [m for m in imported_modules(path) if m.startswith("fastws.") and layer_name(m) not in VOCABULARY]
        else:
            assert layer in LAYERS, f"{name_of(path)}: a new layer; say in LAYERS what it may import"
            bad = [m for m in packages(path) if not may_import(layer, m)]
        wrong += [f"{name_of(path)} imports {m}" for m in bad if (name_of(path), m) not in DIRECTION_EXCEPTIONS]
    assert not wrong, "\n".join(wrong)


def layer_name(module: str) -> str:
    """The layer of `fastws.layer.more`; "" for a name defined in fastws/__init__.py."""
    layer = module.split(".")[1]
    return layer if layer in {*LAYERS, *VOCABULARY} else ""


def packages(path: Path) -> Iterator[str]:
    """Imported names, without `from fastws.net` where only `fastws.net.connection` of it is taken."""
    names = list(imported_modules(path))
    for module in names:
        deeper = [name for name in names if name.startswith(f"{module}.")]
        if not (module.count(".") == 1 and deeper and is_package(module)):
            yield module


def is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/") / "__init__.py").exists()


def test_core_does_no_io() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in files("*.py", folders=("fastws/core",))
        for module in imported_modules(path)
        if module.partition(".")[0] in CORE_MUST_NOT_IMPORT
    ]
    assert not wrong, "\n".join(wrong)


def test_the_compiled_leaf_imports_nothing_of_fastws() -> None:
    upward = re.compile(r"^\s*(?:from|import|cimport)\s+fastws(?:\.|\s|$)", re.MULTILINE)
    wrong = [
        name_of(path)
        for path in files("*.pyx", "*.pxd", "*.pxi", "*.py", "*.pyi", folders=("fastws_ext",))
        if upward.search(path.read_text())
    ]
    assert not wrong, wrong


def test_only_the_server_names_a_concrete_engine() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in files("*.py", folders=("fastws",))
        if layer_of(path) not in {"server", "engine"}
        for module in imported_modules(path)
        if re.fullmatch(r"fastws\.engine\.(?!contract).*", module)
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_are_short() -> None:
    long = {
        name_of(path): lines
        for path in files("*.py", "*.pyx", "*.pxi")
        if (lines := len(path.read_text().splitlines())) > MAX_MODULE_LINES
    }
    assert not {name: lines for name, lines in long.items() if name not in LONG_MODULES}
    assert not LONG_MODULES.keys() - long.keys(), "no longer an exception"


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a module with its lines."""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name_of(path)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    heads = [
        (i, len(line) - len(line.lstrip()), line)
        for i, line in enumerate(lines)
        if re.match(r"\s*(?:cdef|cpdef|def)\b(?!\s+class\b)(?!\s+extern\b).*\(", line)
    ]
    for start, indent, head in heads:
        end = start
        for i in range(start + 1, len(lines)):
            if (
                lines[i].strip()
                and len(lines[i]) - len(lines[i].lstrip()) <= indent
                and not lines[i].lstrip().startswith(")")
            ):
                break
            end = i if lines[i].strip() else end
        name = re.search(r"(\w+)\s*\(", head)
        yield f"{name_of(path)}:{name[1] if name else head}", end - start + 1


def test_functions_are_short() -> None:
    long = {
        name: lines
        for path in files("*.py", "*.pyx", "*.pxi")
        for name, lines in functions(path)
        if lines > MAX_FUNCTION_LINES
    }
    assert not {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS}
    assert not LONG_FUNCTIONS.keys() - long.keys(), "no longer an exception"


def test_folders_are_small() -> None:
    counts: dict[str, int] = {}
    for path in files("*.py", "*.pyx"):
        if path.name != "__init__.py":
            counts[name_of(path.parent)] = counts.get(name_of(path.parent), 0) + 1
    full = {name: count for name, count in counts.items() if count > MAX_MODULES_IN_A_FOLDER}
    assert not {name: count for name, count in full.items() if name not in FULL_FOLDERS}
    assert not FULL_FOLDERS.keys() - full.keys(), "no longer an exception"


def test_every_module_has_its_test() -> None:
    missing = []
    for path in files("*.py", "*.pyx"):
        name = path.relative_to(ROOT)
        if path.name == "__init__.py" or name.as_posix() in WITHOUT_TEST:
            continue
        parent = Path("tests", *(name.parts[1:-1] if name.parts[0] == "fastws" else name.parts[:-1]))
        if not any((ROOT / parent).glob(f"test_{path.stem}.py")) and not any(
            (ROOT / parent).glob(f"test_{path.stem}_*.py")
        ):
            missing.append(f"{name} has no {parent}/test_{path.stem}.py")
    assert not missing, "\n".join(missing)
    stale = [name for name in WITHOUT_TEST if not (ROOT / name).exists()]
    assert not stale, stale


def test_every_package_is_one() -> None:
    """Folders without `__init__.py` are not packed, which nobody notices in a checkout."""
    folders = {path.parent for path in files("*.py", folders=("fastws", "fastws_ext"))}
    assert not [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("suffix", [".pxd", ".pyi"])
def test_every_compiled_module_is_declared(suffix: str) -> None:
    assert not [name_of(path) for path in files("*.pyx") if not path.with_suffix(suffix).exists()]


def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = [name for name in listed.stdout.decode().split("\0") if name] if listed.returncode == 0 else []
    for name in names or [
        name_of(path) for path in files("*.py", "*.pyx", "*.md", folders=("fastws", "fastws_ext", "bench", "docs"))
    ]:
        path = ROOT / name
        if path.suffix not in {".png", ".ico", ".gz"} and path.is_file():
            yield name, path.read_text(encoding="utf-8")


def test_no_leftovers() -> None:
    """No marks for later, no paths of somebody's machine, no conflict marks."""
    marks = re.compile(
        "|".join(
            [
                "TO" + "DO",
                "FIX" + "ME",
                "XX" + "X:",
                "/ho" + r"me/\w",
                "/ro" + "ot/",
                "/wo" + "rk/",
                "<<<<" + "<<<",
                ">>>>" + ">>>",
            ]
        )
    )
    wrong = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if marks.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_documents_link_to_what_exists() -> None:
    broken = [
        f"{name} -> {target}"
        for name, text in tracked_texts()
        if name.endswith(".md")
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
        if not (ROOT / name).parent.joinpath(target).exists()
    ]
    assert not broken, "\n".join(broken)
