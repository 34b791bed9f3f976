"""`deepblur study STUDY`: run a study from anywhere, an installed one by its name or a researcher's own by its file."""

import argparse
import runpy
import sys
from pathlib import Path

from deepblur.platform.commands.studies import installed

HELP = "run a study here: deepblur study STUDY [options], by its name or its file"


def configure(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "study", metavar="STUDY", help="a name that 'deepblur studies' lists, or a file of your own such as mine.py"
    )
    command.add_argument("options", nargs=argparse.REMAINDER, help="the study's own: deepblur study STUDY --help")


def run(arguments: argparse.Namespace) -> int:
    """Exactly as `python FILE [options]` does."""
    from deepblur.platform.experiment.study import CALLED

    known, name = installed(), arguments.study
    file = known.get(name, Path(name))
    if not file.is_file():
        print(f"error: no study is called {name!r}, and no file; there are {', '.join(known)}", file=sys.stderr)
        return 2
    sys.argv = [str(file), *arguments.options]
    if name not in known:
        sys.path.insert(0, str(file.resolve().parent))  # where its own modules lie
    runpy.run_path(str(file), init_globals={CALLED: ["deepblur", "study", name]}, run_name="__main__")
    print(f"error: {name} ran no study; it ends with STUDY.main(), where it is run as a program", file=sys.stderr)
    return 2
