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
    _reproduce(commands.add_parser("reproduce", help="make a recorded run again, from its MLflow record alone"))
    study = commands.add_parser("study", help="run a study here: deepblur study NAME [options]", add_help=False)
    study.add_argument("name", metavar="NAME", help="see 'deepblur studies'")
    study.add_argument("options", nargs=argparse.REMAINDER, help="as of the study itself: deepblur study NAME --help")
    return result


def _reproduce(command: argparse.ArgumentParser) -> None:
    """The options of `deepblur reproduce`."""
    command.description = (
        "Make a recorded run again and compare metrics and weights to the last bit. Ends with 0 if it was reproduced, "
        "with 1 if something differs, with 2 if an ingredient is missing."
    )
    add = command.add_argument
    add("run_id", metavar="RUN_ID", help="MLflow's id of a study's run, or of its child runs")
    add("--tracking-uri", help="where the run is recorded (default: $MLFLOW_TRACKING_URI or the database in the runs "
        "folder); it is only read")  # fmt: skip
    add("--runs", type=Path, help="new folder for the results, shared by all nodes (default: a temporary one)")
    add("--data", metavar="SOURCE", help="where the recorded images lie now, such as folder:ROOT")
    add("--test", metavar="SOURCE", help="the same of the test images")
    add("--local", action="store_true", help="without Ray where the run had one worker, which gives the same bits")
    add("--check", action="store_true", help="compare the ingredients and run nothing")
    add("--anyway", action="store_true", help="run even if an ingredient differs")
    add("--json", action="store_true", help="the findings as JSON; everything else goes to standard error")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    known = studies()
    if arguments.command == "studies":
        for name, file in known.items():
            print(f"{name:28} {file.read_text(encoding='utf-8').strip().splitlines()[0].strip(chr(34))}")
        return 0
    if arguments.command == "reproduce":
        from deepblur.platform.reproduce import main as reproduce

        return reproduce(arguments)
    if arguments.name not in known:
        print(f"error: no study is called {arguments.name!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    sys.argv = [str(known[arguments.name]), *arguments.options]
    runpy.run_path(str(known[arguments.name]), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
