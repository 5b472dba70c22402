"""The scenario of variants, made very short."""

import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest

from bench import roster
from bench.report import PlainProgress, Table
from bench.scenarios import footprint, variants
from tests.bench.windows import long_enough

SHORT = {"connections": 4, "size": 300, "inflight": 2, "rounds": 1, "seconds": 0.15}


@pytest.mark.slow
def test_every_variant_of_ours_has_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "UNCHANGED_S", 0.2)

    def measured(seconds: float) -> tuple[Table, dict[str, Any]]:
        options = variants.VariantsOptions(**SHORT | {"seconds": seconds}, idle=20, peers=())
        return variants.run(options, PlainProgress())

    # In a window in which plain echo did nothing there is nothing to compare with.
    table, results = long_enough(measured, lambda found: found[0].rows[0][3].startswith("1"), SHORT["seconds"])
    names = ["fastws", "fastws deflate", "fastws fragments", "fastws tls", "fastws unix"]
    if shutil.which("openssl") is None:
        names.remove("fastws tls")
    assert [row[0] for row in table.rows] == names, table.notes
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert table.rows[0][3] == "1.000 (1.000 to 1.000)"
    assert list(results["idle_bytes"]) == [name for name in names if name != "fastws fragments"]
    assert not results["failures"] or shutil.which("openssl") is None


def test_without_openssl_tls_is_named_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    options = variants.VariantsOptions(**SHORT, kinds=("plain", "tls"), idle=0, peers=())
    table, results = variants.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["fastws"]
    assert "openssl" in results["failures"]["tls"]
    assert any("openssl" in note for note in table.notes)


def test_peers_take_part_with_what_their_description_names(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = roster.read("c_epoll")
    monkeypatch.setattr(roster, "read", lambda _: plain)
    options = variants.VariantsOptions(**SHORT, kinds=("plain",), idle=0, peers=("c_epoll",))
    table, _ = variants.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["fastws"]


def test_a_certificate_is_made(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    paths = variants.certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(paths["cert"], paths["key"])
