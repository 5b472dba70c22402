"""One target under atheris, in a process of its own: `python -m tests.fuzz.guided TARGET SECONDS`.

libFuzzer writes what it does to standard error, inputs that reach something new to `.cache/fuzz/corpus/TARGET`, and an
input that breaks the target to `.cache/fuzz/findings/TARGET`; the exit status is then not 0.
"""

import sys
from importlib import import_module
from typing import Any

from tests.fuzz import corpus, native

# Slower than this for one input is a finding.
_SLOW_S = 20
_MEMORY_MB = 3072
_LOOKED_AT = ["fastws", "wsproto", "h11", "tests.fuzz.targets"]


def main() -> None:
    """Fuzz until the time is over or something is found."""
    name, seconds = sys.argv[1], int(sys.argv[2])
    if native.is_built():
        native.take()
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=_LOOKED_AT, enable_loader_override=False):
        target = import_module("tests.fuzz.targets").load(name)
    inputs, findings = native.CACHE / "corpus" / name, native.CACHE / "findings" / name
    words = native.CACHE / "words" / f"{name}.txt"
    for folder in (inputs, findings, words.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for seed, data in corpus.inputs(name):
        (inputs / f"seed-{seed}").write_bytes(data)
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.WORDS if 0 < len(word) <= 64), "ascii")
    options = {
        "max_total_time": seconds,
        "max_len": target.MAX_BYTES,
        "timeout": _SLOW_S,
        "rss_limit_mb": _MEMORY_MB,
        "dict": words,
        "artifact_prefix": f"{findings}/",
        "print_final_stats": 1,
        "reload": 0,
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(inputs)], target.run)
    atheris.Fuzz()


def _quoted(word: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
