"""The harness finds what is wrong on a page: each of these says something that is not so."""

from pathlib import Path

import pytest

from tests.docs.pages import Block
from tests.docs.story import Story
from tests.docs.talk import lines

APP = "from fastws import FastWS\napp = FastWS()\n"
SERVER = Block("page", 1, "sh", "fastws-server --dev\n")


def follow(directory: Path, *blocks: Block) -> None:
    with Story(blocks, directory) as story:
        story.run()


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        ([Block("page", 1, "", "x\n")], "page:1: no way to run"),
        ([Block("page", 1, "sh", "exit 3\n")], "exit code 3"),
        ([Block("page", 1, "sh", "make coffee\n")], "no target coffee"),
        ([Block("page", 1, "sh", "echo 1\n"), Block("page", 5, "json", "2\n")], "page:5: .* 1 instead of 2"),
        ([Block("page", 1, "json", "{}\n")], "nothing has printed"),
        ([Block("page", 1, "toml", "[server]\nhosts = 1\n")], "hosts"),
        ([Block("page", 1, "python", "from fastws import Nothing\n" + APP)], "Nothing"),
        ([Block("page", 1, "python", "# tool.py\nprint(1)\n")], "tool.py is never run"),
        ([Block("page", 1, "talk", '-> {"cmd":"ping"}\n')], "has started no server"),
        ([SERVER, Block("page", 5, "talk", "something\n")], "page:6: .* is no line of a talk"),
        (
            [SERVER, Block("page", 5, "talk", '-> {"id":1,"cmd":"ping"}\n<- {"id":2,"result":{"ts":1}}\n')],
            "page:7: .id: 1 instead of 2",
        ),
    ],
)
def test_a_page_that_is_wrong(blocks: list[Block], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=complaint):
        follow(tmp_path, *blocks)


def test_programs_print_what_is_noted(tmp_path: Path) -> None:
    text = "# tool.py\nprint('one')\nprint('two')\n"
    good = Block("page", 5, "sh", "python tool.py\n", {"prints": ["one", "two"]})
    follow(tmp_path, Block("page", 1, "python", text), good)
    bad = Block("page", 5, "sh", "python tool.py\n", {"prints": ["two", "one"]})
    with pytest.raises(AssertionError, match="page:5: instead of"):
        follow(tmp_path, Block("page", 1, "python", text), bad)


def test_lines_of_a_talk_go_on() -> None:
    block = Block("page", 1, "talk", '# a note\nann -> {"a":\n    1}\n<- PONG\nben closed 4503 kicked\nann closes\n')
    assert [tuple(line) for line in lines(block)] == [
        (3, "ann", "->", '{"a":1}', 0),
        (5, "", "<-", "PONG", 0),
        (6, "ben", "closed", "kicked", 4503),
        (7, "ann", "closes", "", 0),
    ]
