"""The command `deepblur`: what it can do, in the time that reading the help takes; heavy imports wait until needed."""

import argparse
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import deepblur


def studies() -> dict[str, Path]:
    """Name → file of every study that is installed."""
    spec = find_spec("deepblur.studies")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return {file.stem: file for folder in folders for file in sorted(Path(folder).glob("*.py")) if file.stem[0] != "_"}


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="deepblur",
        description="Blind identification and deblurring of optical images, and the studies that compare methods.",
        epilog="On a Ray cluster: ray job submit --working-dir . -- python studies/NAME.py --preset quick",
    )
    result.add_argument("--version", action="version", version=f"deepblur {deepblur.__version__}")
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("studies", help="list the studies with their questions")
    study = commands.add_parser("study", help="run a study here: deepblur study NAME [options]", add_help=False)
    study.add_argument("name", metavar="NAME", help="see 'deepblur studies'")
    study.add_argument("options", nargs=argparse.REMAINDER, help="as of the study itself: deepblur study NAME --help")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    known = studies()
    if arguments.command == "studies":
        for name, file in known.items():
            print(f"{name:28} {file.read_text(encoding='utf-8').strip().splitlines()[0].strip(chr(34))}")
        return 0
    if arguments.name not in known:
        print(f"error: no study is called {arguments.name!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    sys.argv = [str(known[arguments.name]), *arguments.options]
    runpy.run_path(str(known[arguments.name]), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
