"""A study that runs: from its command line to an exit code, with one sentence for whatever ends it."""

import contextlib
import io
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepblur.platform.experiment.study import Design, Plan
from deepblur.platform.system import terminal
from deepblur.platform.system.disk import denied, writing
from deepblur.platform.system.printable import say

if TYPE_CHECKING:
    from deepblur.platform.experiment.result import Result

BUDGET_SPENT = 3
"""Exit code."""


@dataclass(frozen=True, kw_only=True)
class Study(Design):
    """A design that runs."""

    def run(self, preset: str | None = None, **options: Any) -> "Result":
        """Run from Python: as the command line does, with its options, and without its exit code.

        Args:
            preset: size of the study; default: its first.
            options: those of the command line with `_` for `-`, such as arms=("a", "b"), seeds=(0, 1), local=True or
                tracking_uri="none"; `settings`, name → value, for --set.
        Returns:
            The finished study; its `tables` are data frames by name, those that lie beside its report.
        Raises:
            ValueError: an option that does not exist or makes no sense.
            RuntimeError, OSError: a stage, the cluster, MLflow or the disk failed; the same call goes on.
            BudgetSpentError: `hours` or `gpu_hours` are used up; the same call goes on.
        """
        from deepblur.platform.experiment.command_line import written
        from deepblur.platform.experiment.provenance import argv

        with contextlib.redirect_stderr(io.StringIO()) as usage:
            try:
                words = argv(written({"preset": preset, **options}))
                chosen = _plan(self, words, program=False)
            except SystemExit:
                raise ValueError(usage.getvalue().strip().rpartition("error: ")[2]) from None
        return _run(chosen)

    def main(self, argv: Sequence[str] | None = None) -> None:
        """Run from the command line; exits with 0 only if the study is complete."""
        sys.exit(main(self, argv))


def main(study: Design, argv: Sequence[str] | None = None) -> int:
    """Run the study; the process's exit code. The last line on standard error names what went wrong."""
    terminal.guard()
    signal.signal(signal.SIGTERM, _stop)  # so that what we reserved on the cluster is given back
    from deepblur.platform.stages.cost import BudgetSpentError

    try:
        _run(_plan(study, argv, program=True))
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


def _plan(study: Design, argv: Sequence[str] | None, *, program: bool) -> Plan:
    from deepblur.platform.experiment.command_line import plan

    return plan(study, argv, program=program)


def _run(plan: Plan) -> "Result":
    from deepblur.platform.experiment.run import run

    with writing(f"the study {plan.study.name}", plan.runs):
        return run(plan)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt
