"""Writes docs/cli.md, the reference of the command line, from the parsers themselves: python docs/make_cli.py"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from deepblur.cli import COMMANDS, parser

PAGE = Path(__file__).resolve().parent / "cli.md"
_HEAD = """# The command `deepblur`

Written by `python docs/make_cli.py` from the parsers; a test fails when it is out of date. `deepblur COMMAND --help`
says the same. What files come out is in [formats.md](formats.md), what errors mean in
[troubleshooting.md](troubleshooting.md). `deepblur study STUDY` takes the options of the study, which
[studies.md](studies.md) explains and `deepblur study STUDY --help` lists.

| command | what |
|---|---|
"""


def text() -> str:
    """The page."""
    commands = _subcommands(parser())
    rows = [f"| [`{name}`](#deepblur-{name}) | {helped} |" for name, helped, _ in commands]
    assert [name for name, _, _ in commands] == list(COMMANDS)
    parts = [_HEAD + "\n".join(rows) + "\n"]
    for name, _, command in commands:
        parts += _section(f"deepblur {name}", command, "##")
    return "\n".join(parts).rstrip() + "\n"


def _section(name: str, command: argparse.ArgumentParser, level: str) -> Iterator[str]:
    yield f"{level} {name}\n"
    if command.description:
        yield f"{command.description}\n"
    yield f"```text\n{_lines(name, [_usage(action) for action in _shown(command)])}\n```\n"
    rows = [f"| {_names(action)} | {_cell(action)} |" for action in _shown(command)]
    if rows and not _subcommands(command):
        yield "\n".join(["| option | meaning |", "|---|---|", *rows]) + "\n"
    for below, _, sub in _subcommands(command):
        yield from _section(f"{name} {below}", sub, level + "#")
    if command.epilog:
        yield f"```text\n{command.epilog.rstrip()}\n```\n"


def _lines(name: str, parts: list[str]) -> str:
    """A usage line, broken between its parts."""
    lines = [name]
    for part in parts:
        if len(lines[-1]) + len(part) < 110:
            lines[-1] += f" {part}"
        else:
            lines.append(f"    {part}")
    return "\n".join(lines)


def _subcommands(command: argparse.ArgumentParser) -> list[tuple[str, str, argparse.ArgumentParser]]:
    """(name, help, parser) of each."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            helped = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return [(name, helped[name], sub) for name, sub in action.choices.items()]
    return []


def _shown(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """Required ones first, as in a usage line; without --help."""
    actions = [a for a in command._actions if not isinstance(a, argparse._HelpAction)]
    return sorted(actions, key=lambda a: (bool(a.option_strings), not a.required))


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    word = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else action.dest.upper())
    assert isinstance(word, str)
    return {"+": f"{word} [{word} …]", argparse.REMAINDER: "…", "?": f"[{word}]"}.get(str(action.nargs), word)


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        return _value(action)
    said = f"{action.option_strings[0]} {_value(action)}".strip()
    return said if action.required else f"[{said}]"


def _names(action: argparse.Action) -> str:
    value = _value(action)
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{name} {value}`" if value else f"`{name}`" for name in action.option_strings)


def _cell(action: argparse.Action) -> str:
    said = (action.help or "").replace("%%", "%").replace("|", "\\|")
    choices = ", ".join(map(str, action.choices)) if action.choices and action.metavar else ""
    return f"{said} ({choices})" if choices and choices not in said else said


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE}")
