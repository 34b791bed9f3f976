"""`deepblur study NAME`: run a study from anywhere."""

import argparse
import runpy
import sys

from deepblur.platform.commands.studies import installed

HELP = "run a study here: deepblur study NAME [options]"


def configure(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="see 'deepblur studies'")
    command.add_argument("options", nargs=argparse.REMAINDER, help="as of the study itself: deepblur study NAME --help")


def run(arguments: argparse.Namespace) -> int:
    from deepblur.platform.experiment.study import CALLED

    known = installed()
    if arguments.name not in known:
        print(f"error: no study is called {arguments.name!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    sys.argv = [str(known[arguments.name]), *arguments.options]
    called = {CALLED: ["deepblur", "study", arguments.name]}
    runpy.run_path(str(known[arguments.name]), init_globals=called, run_name="__main__")
    return 0
