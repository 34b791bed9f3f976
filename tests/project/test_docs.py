"""The pages for people: every command in them is run, or where that takes too long or more than a machine, parsed."""

import argparse
import ast
import functools
import importlib
import importlib.util
import os
import pkgutil
import re
import runpy
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, Block, blocks, commands, is_plain

from deepblur import baselines, cli
from deepblur.baselines import nonblind
from deepblur.platform.commands.studies import installed
from deepblur.platform.experiment import command_line as study_cli

WITH_BLOCKS = [page for page in PAGES if any(block.kind in ("sh", "python") for block in blocks(page))]
OUTSIDE = {  # programs that are not ours
    "aws", "cd", "docker", "export", "git", "kubectl", "mlflow", "napari", "openssl", "optuna-dashboard", "pip", "ray",
    "curl", "ssh", "python3.11",
}  # fmt: skip


def ids(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=ids)
def test_every_command_of_a_page_is_one_that_exists(page):
    for block in blocks(page):
        if block.kind == "sh":
            for words in commands(block.text):
                check(words, block)
        elif block.kind == "python":
            compile(block.text, block.name, "exec")


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=ids)
def test_the_blocks_of_a_page_run_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    run = [block for block in blocks(page) if block.kind in ("sh", "python") and "skip" not in block.told]
    if not run:
        pytest.skip("every block of this page says why it is not run")
    monkeypatch.setattr(sys, "argv", ["deepblur"])
    environment(tmp_path, monkeypatch)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in run:
        if "python" in block.told:
            exec(compile(block.told["python"], f"{block.name}, setup", "exec"), names)
        if "file" in block.told:
            Path(block.told["file"]).write_text(block.text, encoding="utf-8")
            continue
        if block.kind == "python":
            exec(compile(block.text, block.name, "exec"), names)
            continue
        text = block.text.rstrip() + (" " + block.told["add"] if "add" in block.told else "")
        code = inside(text) if ours(text) else in_a_shell(text)
        said = capsys.readouterr()
        assert code == int(block.told.get("exit", 0)), f"{block.name} ended with {code}:\n{said.out}{said.err}"


def environment(folder, monkeypatch):
    """The page's own folder as current and as home of results, with `deepblur` and `python` of this source tree.

    The spectral method starts from a few γ and TV iterates a few times: commands are tested here, quality elsewhere.
    """
    programs = folder / ".bin"
    programs.mkdir()
    for name, module in (("deepblur", " -m deepblur.cli"), ("python", "")):
        file = programs / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    slow = baselines.METHODS["spectral"]
    monkeypatch.setitem(baselines.METHODS, "spectral", functools.partial(slow, starts=4, steps=8))
    restore = nonblind.split_bregman_tv
    monkeypatch.setattr(nonblind, "split_bregman_tv", lambda *args, **more: restore(*args, **more | {"iterations": 2}))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DEEPBLUR_RUNS", str(folder / "deepblur-runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)


def ours(text):
    if "--max-memory" in text:  # counts the whole process, which here has run other tests
        return False
    return is_plain(text) and all(words[0] in ("deepblur", "python") and words[1] != "-m" for words in commands(text))


def inside(text):
    """Carry out lines of `deepblur` and `python FILE` in this process: starting a new one takes seconds."""
    for words in commands(text):
        before = signal.getsignal(signal.SIGTERM)
        try:
            if words[0] == "python":
                sys.argv = words[1:]
                runpy.run_path(words[1], run_name="__main__")
                code = 0
            else:
                code = cli.main(words[1:])
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, before)
        if code:
            return code
    return 0


def in_a_shell(text):
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], timeout=600, check=False, capture_output=True)
    print(done.stdout.decode(), done.stderr.decode())
    return done.returncode


def check(words, block: Block):
    """One command line: the program is known, its options parse, the files of ours that it names are there."""
    while "=" in words[0] and len(words) > 1:  # NAME=value before a command
        words = words[1:]
    program, rest = Path(words[0]).name, words[1:]
    where = f"{block.name}: {' '.join(words)}"
    rest = rest[: next((i for i, word in enumerate(rest) if word in ("|", "||", "&&", ">", ">>", "2>", ";")), None)]
    if program == "deepblur":
        parses(where, lambda: cli.parser().parse_args(rest))
        if rest[0] == "study" and rest[1] not in installed():
            script(where, rest[1:], block)
        elif rest[0] == "study":
            study(where, installed()[rest[1]], rest[2:])
    elif program == "python" and rest and not rest[0].startswith("-"):
        script(where, rest, block)
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets), where
    elif "--" in rest:  # ray job submit … -- COMMAND
        check(rest[rest.index("--") + 1 :], block)
    elif program not in OUTSIDE and program != "python":
        known = "skip" not in block.told and shutil.which(program)
        assert known, f"{where}: what is {program}?"
    if program in OUTSIDE - {"cd", "export"}:
        assert "skip" in block.told, f"{where}: a page says with <!-- test: skip WHY --> that this is not run"
        for word in rest:
            if re.fullmatch(r"(docs/\S+|[a-z]+\.(yaml|toml|md))", word):
                assert (ROOT / word).exists(), f"{where}: there is no {word}"


def script(where, words, block):
    """A study, a program of this repository, or a file that the page itself makes."""
    file = ROOT / words[0]
    if words[0].startswith("studies/"):
        study(where, file, words[1:])
    elif not file.exists():
        made = block.page.read_text(encoding="utf-8")
        assert f"`{words[0]}`" in made or f'"{words[0]}"' in made, f"{where}: there is no {words[0]}"


def study(where, file, words):
    assert file.is_file(), f"{where}: there is no {file.name}"
    chosen = importlib.import_module(f"deepblur.studies.{file.stem}").STUDY
    parses(where, lambda: study_cli.plan(chosen, words))


def parses(where, parse):
    try:
        parse()
    except SystemExit as end:
        if end.code:
            raise AssertionError(f"{where}: the command does not parse") from None
    except (ValueError, argparse.ArgumentError) as error:
        raise AssertionError(f"{where}: {error}") from None


def anchors(page):
    """As GitHub makes them from headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}: no such heading"


def test_the_index_names_every_page():
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in text, f"docs/README.md does not link to {page.name}"


def test_each_table_of_results_is_of_one_command():
    """A name that two commands share would have the tables of both filled from either."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^<!-- table (\S+)", text, re.MULTILINE))
    made = re.findall(r"--runs runs/(\S+)", text)
    assert named
    assert {name: made.count(name) for name in named} == dict.fromkeys(named, 1)


def test_the_reference_of_commands_is_that_of_the_parsers():
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    now = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert module.text() == now, "docs/cli.md is out of date; python docs/make_cli.py writes it anew"


ROOMS = ("operators", "nets", "baselines", "platform", "restoration", "studies")
SOURCES = sorted(file for room in ("deepblur", *ROOMS) for file in (ROOT / room).rglob("*.py"))
PLACES = "|".join((*ROOMS, "deepblur", "tests", "docs", "benchmarks", "weights"))
NOT_THERE = {"platform/__init__.py", "studies/NAME.py"}


@pytest.mark.parametrize("file", [*PAGES, ROOT / "CHANGELOG.md", *SOURCES], ids=ids)
def test_files_and_modules_that_are_spoken_of_exist(file):
    text = file.read_text(encoding="utf-8")
    for name in re.findall(rf"(?<![\w./-])((?:{PLACES})/[\w/.-]*\.(?:py|md|yaml|toml|txt))\b", text):
        assert (ROOT / name).exists() or name in NOT_THERE, f"{file.name} speaks of {name}, which is not there"
    for name in set(re.findall(rf"\bdeepblur\.(?:{'|'.join(ROOMS)})(?:\.\w+)*", text)):
        assert pkgutil.resolve_name(name), name


def messages():
    """Every text in the source, with a mark where a value comes in."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_sentences_in_troubleshooting_are_said_by_the_program():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    sentences = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    known = list(messages())
    assert len(sentences) > 20
    for sentence in sentences:
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in sentence.split("…")), re.DOTALL)
        assert any(pattern.search(text) for text in known), f"nothing in the source says {sentence!r}"


def test_a_comment_about_a_test_that_says_nothing_is_refused(tmp_path):
    for text in ("<!-- test: skip -->\n```sh\nls\n```\n", "<!-- test: skp why -->\n```sh\nls\n```\n"):
        (tmp_path / "page.md").write_text(text)
        with pytest.raises(ValueError, match="a test comment is skip or"):
            list(blocks(tmp_path / "page.md"))


@pytest.mark.parametrize(
    "line",
    [
        "deepblur restore a.tif --output out --blnd",
        "deepblur study compare_method",
        "python studies/compare_methods.py --set in_step=3",
        "make dmo",
        "python benchmarks/nothing.py",
        "deeplbur studies",
    ],
)
def test_a_command_that_does_not_exist_is_found(line, tmp_path):
    block = Block(ROOT / "README.md", 1, "sh", line)
    (words,) = commands(line)
    with pytest.raises((AssertionError, KeyError)):
        check(words, block)
