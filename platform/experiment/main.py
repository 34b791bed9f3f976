"""A study that runs: from its command line to an exit code, with one sentence for whatever ends it."""

import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from deepblur.platform.experiment.study import Design
from deepblur.platform.system import terminal
from deepblur.platform.system.disk import denied, writing
from deepblur.platform.system.printable import say

BUDGET_SPENT = 3
"""Exit code."""


@dataclass(frozen=True, kw_only=True)
class Study(Design):
    """A design that runs."""

    def main(self, argv: Sequence[str] | None = None) -> None:
        """Run from the command line; exits with 0 only if the study is complete."""
        sys.exit(main(self, argv))


def main(study: Design, argv: Sequence[str] | None = None) -> int:
    """Run the study; the process's exit code. The last line on standard error names what went wrong."""
    terminal.guard()
    signal.signal(signal.SIGTERM, _stop)  # so that what we reserved on the cluster is given back
    from deepblur.platform.experiment.command_line import plan
    from deepblur.platform.stages.cost import BudgetSpentError

    try:
        from deepblur.platform.experiment.run import run

        chosen = plan(study, argv)
        with writing(f"the study {study.name}", chosen.runs):
            run(chosen)
    except KeyboardInterrupt:
        print("stopped; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    except BudgetSpentError as spent:
        print(f"{spent}; the same command goes on", file=sys.stderr)
        return BUDGET_SPENT
    except (ValueError, OSError, RuntimeError) as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        say(f"error: {denied(error) if isinstance(error, OSError) else error}", sys.stderr)
        return 1
    return 0


def _stop(*_: object) -> None:
    raise KeyboardInterrupt
