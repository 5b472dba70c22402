"""What a peer.toml says, and what it takes until a peer is ready."""

import sys
from pathlib import Path

import pytest

from bench import build, roster
from bench.report import PlainProgress

SERVER = "int main(void) { return 0; }\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a peer `some`, alone in its world."""
    monkeypatch.setattr(roster, "PEERS", tmp_path / "peers")
    monkeypatch.setattr(roster, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(build, "BINARIES", tmp_path / "bin")
    folder = tmp_path / "peers" / "some"
    folder.mkdir(parents=True)
    (folder / "main.c").write_text(SERVER)
    return folder


def describe(folder: Path, text: str) -> roster.Peer:
    (folder / "peer.toml").write_text(f'title = "Some"\nstart = "{{binary}} 0"\n{text}')
    return roster.read(folder.name)


def test_those_of_the_project_can_be_read() -> None:
    peers = {peer.name: peer for peer in roster.everyone()}
    assert {"c_epoll", "websockets"} <= set(peers)
    assert peers["c_epoll"].problem() in ("", "not built: run `make bench-peers`")
    assert all(peer.title and peer.start and peer.path.startswith("/") for peer in peers.values())


def test_everything_that_can_be_said(folder: Path) -> None:
    peer = describe(
        folder,
        'language = "C"\nversion = "1"\nneeds = ["cc"]\npath = "/chat"\necho = false\n'
        '[fanout]\npath = "/all"\nsubscribe = "SUB\\r\\n"\nbinary = true\n'
        '[rooms]\npath = "/rooms/{room}"\n',
    )
    assert (peer.name, peer.language, peer.version, peer.path, peer.needs) == ("some", "C", "1", "/chat", ("cc",))
    assert peer.fanout == roster.Fanout("/all", "/all", "SUB\r\n", "{payload}", binary=True)
    assert peer.rooms == roster.Rooms("/rooms/{room}", "", "{payload}", binary=False)
    assert peer.problem() == ""
    assert roster.echoing(["some"]) == []


@pytest.mark.parametrize("wrong", ['titel = "x"', "title", "[fanout]\nroad = 1", "[rooms]\nroad = 1"])
def test_a_wrong_file_is_named(folder: Path, wrong: str) -> None:
    with pytest.raises(roster.PeerError, match=r"some/peer\.toml"):
        describe(folder, wrong)


def test_an_unknown_peer_is_named(folder: Path) -> None:
    describe(folder, "")
    with pytest.raises(KeyError, match="no peer 'nobody'; there are: some"):
        roster.read("nobody")


def test_placeholders_and_steps(folder: Path) -> None:
    peer = describe(folder, "")
    assert peer.steps("{python} -m venv '{cache}/a b' && make x") == [
        [sys.executable, "-m", "venv", f"{peer.cache}/a b"],
        ["make", "x"],
    ]


def test_a_missing_program_is_named_and_is_no_failure(folder: Path) -> None:
    peer = describe(folder, 'needs = ["cc", "no-such-program"]\nbuild = "cc -o {binary} main.c"\n')
    assert peer.problem() == "needs no-such-program"
    with pytest.raises(build.BuildError, match="some needs no-such-program"):
        peer.command()
    table, failures = roster.prepare_all(PlainProgress())
    assert [row[3] for row in table.rows] == ["needs no-such-program"]
    assert failures == {}


def test_installed_and_built_once_and_again_after_a_change(folder: Path) -> None:
    peer = describe(folder, 'install = "cp main.c {cache}/package"\nbuild = "cc -o {binary} main.c"\n')
    assert peer.problem() == "not installed: run `make bench-peers`"
    with pytest.raises(build.BuildError, match="some: not installed: run `make bench-peers`"):
        peer.command()
    said: list[str] = []
    peer.prepare(said.append)
    assert said == ["some: installing", "some: building"]
    assert peer.problem() == ""
    assert peer.command() == [str(build.BINARIES / "some"), "0"]
    peer.prepare(said.append)
    assert len(said) == 2
    (folder / "Some.lock").write_text("made by a tool")
    assert peer.problem() == ""
    (folder / "main.c").write_text(f"/* other */ {SERVER}")
    assert peer.problem().startswith("not installed")


def test_a_failure_is_remembered_until_it_works(folder: Path) -> None:
    peer = describe(folder, """install = "sh -c 'echo no network; exit 1'"\n""")
    table, failures = roster.prepare_all(PlainProgress())
    assert [row[3] for row in table.rows] == ["failed: no network"]
    assert failures["some"].endswith("no network")
    assert peer.problem() == "install failed: no network"
    describe(folder, 'install = "true"\n').prepare(lambda _: None)
    assert describe(folder, 'install = "true"\n').problem() == ""


def test_all_means_the_reference_and_those_that_are_ready(folder: Path) -> None:
    describe(folder, "")
    for name, more in (("limit", 'build = "cc -o {binary} main.c"\n'), ("absent", 'needs = ["no-such-program"]\n')):
        (folder.parent / name).mkdir()
        (folder.parent / name / "main.c").write_text(SERVER)
        describe(folder.parent / name, more)
    assert roster.choose("all", "limit") == (["limit", "some"], {"absent": "needs no-such-program"})
    assert roster.choose("some, absent", "limit") == (["some", "absent"], {})
    with pytest.raises(KeyError):
        roster.choose("some,nobody", "limit")
