"""The command `deepblur`: what it can do, in the time that reading the help takes; heavy imports wait until needed.

A command is a module in a `commands/` with HELP, `configure(parser)` and `run(arguments) -> exit code`. It imports
nothing heavy before `run`.
"""

import argparse
import errno
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from deepblur._version import __version__
from deepblur.platform.system import terminal
from deepblur.platform.system.printable import printable

COMMANDS = {
    **dict.fromkeys(("restore", "identify", "psf", "simulate", "calibrate"), "deepblur.restoration.commands"),
    **dict.fromkeys(("models", "studies", "study", "reproduce", "export"), "deepblur.platform.commands"),
}
"""Each with its room, in the order of the help."""
CANNOT_BE_WRITTEN = 6
"""Exit code, as of a result."""


def _module(name: str) -> ModuleType:
    return import_module(f"{COMMANDS[name]}.{name}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))  # which may name a file, such as one that begins with a dash


def parser() -> argparse.ArgumentParser:
    result = _Parser(
        prog="deepblur",
        description="Blind identification and deblurring of optical images, and the studies that compare methods.",
        epilog="On a Ray cluster: ray job submit --working-dir . -- python studies/NAME.py --preset quick",
    )
    result.add_argument("--version", action="version", version=f"deepblur {__version__}")
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = _module(name)
        # a study has a help of its own
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=f"{module.HELP[0].upper()}{module.HELP[1:]}.",
            add_help=name != "study",
        )
        module.configure(command)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    terminal.guard()
    arguments = parser().parse_args(argv)
    code = _module(arguments.command).run(arguments)
    if (error := terminal.lost()) is None:
        return code
    if error.errno == errno.EPIPE:  # whoever read our output, such as `head`, has seen enough
        return code or 1
    print(f"deepblur: standard output cannot be written ({error.strerror}); send it elsewhere", file=sys.stderr)
    return code or CANNOT_BE_WRITTEN


def script() -> int:
    """`main`, of a process that ends with it: to look for cycles in what is left would take a quarter of a second."""
    code = main()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(script())
