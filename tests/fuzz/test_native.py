"""The modules compiled for fuzzing: where that does not work, and what stands between gcc and libFuzzer."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import native


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    monkeypatch.setattr(native, "_COUNTERS", tmp_path / "coverage.so")
    return tmp_path


@pytest.mark.parametrize(
    ("compiler", "said"), [("/no/such/compiler", "No such file"), ("false", "false failed: without a word")]
)
def test_a_machine_that_cannot_compile_says_why(
    monkeypatch: pytest.MonkeyPatch, folder: Path, compiler: str, said: str
) -> None:
    (folder / "fastws_ext").mkdir()
    for older in (folder / "coverage.so", folder / "fastws_ext" / "wire.older.so"):
        older.touch()
    assert native.is_built()
    monkeypatch.setenv("CC", compiler)
    assert said in native.build()
    assert not native.is_built()
    assert (folder / "fastws_ext" / "wire.pyx").read_bytes() == (native.ROOT / "fastws_ext" / "wire.pyx").read_bytes()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_counters_need_libfuzzer(folder: Path) -> None:
    source = Path(native.__file__).with_name("coverage.c")
    subprocess.run(["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", native._COUNTERS, source], check=True)
    library = ctypes.CDLL(str(native._COUNTERS))
    library.fastws_connect.argtypes = [ctypes.c_void_p]
    assert library.fastws_connect(ctypes.CDLL(None)._handle) == -1
    library.__sanitizer_cov_trace_pc()
    library.__sanitizer_cov_trace_cmp4(1, 2)
