"""The pages for people as a test sees them: their blocks of commands and code, and what is said about testing these.

A block is run as it stands, in one folder per page, from top to bottom, unless a comment right above it says otherwise:

    <!-- test: skip WHY -->            not run; its command lines are still held against the real parsers
    <!-- test: add OPTIONS -->         OPTIONS end its last line, which makes a long command a short one
    <!-- test: exit N -->              it ends with that exit code
    <!-- test: file NAME -->           not run, but saved under that name for the blocks below
    <!-- test: python
    CODE
    -->                                CODE is run before it: files that the page's reader would have

Readers of the rendered page see none of that; readers of the file see why. tests/project/test_docs.py runs quicker
versions of two methods.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_PART = re.compile(
    r"^<!-- test: (?P<word>\w+)(?P<rest>.*?)-->\n|^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_WORDS = ("skip", "add", "exit", "file", "python")


@dataclass
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    kind: str
    """sh, python, or what else the fence says."""
    text: str
    told: dict[str, str] = field(default_factory=dict)
    """What the comments above it say."""

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page with the comments that stand right above them."""
    text = page.read_text(encoding="utf-8")
    told: dict[str, str] = {}
    end = 0
    for part in _PART.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if told and text[end : part.start()].strip():
            raise ValueError(f"{page.name}:{line}: a test comment stands right above the block that it is about")
        end = part.end()
        if part["word"]:
            if part["word"] not in _WORDS or not part["rest"].strip():
                raise ValueError(f"{page.name}:{line}: a test comment is {' or '.join(_WORDS)}, and says something")
            told[part["word"]] = told.get(part["word"], "") + part["rest"].strip(" \n") + "\n"
            continue
        yield Block(page, line, part["kind"], part["text"], {word: rest.strip("\n") for word, rest in told.items()})
        told = {}
    if told:
        raise ValueError(f"{page.name}: a test comment has no block below it")


def commands(text: str) -> list[list[str]]:
    """The words of every command line of a block; comments and line continuations are taken away."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_plain(text: str) -> bool:
    """Whether a shell does nothing to these lines but split them into words."""
    return not re.search(r"[|&;<>$`*?(){}~]", re.sub(r"(^|\s)#.*", "", text))
