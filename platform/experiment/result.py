"""What a finished study hands over, whatever its kind: a header, and all that a report, a log and MLflow ask of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from deepblur.platform.evaluation.measure import Metric
from deepblur.platform.experiment.study import Plan
from deepblur.platform.report.table import Table
from deepblur.platform.stages.cost import Cost, cost_of
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.system.printable import markdown

if TYPE_CHECKING:
    from deepblur.platform.report.page import Section

LONGEST = 3000
"""Characters of an outcome that has no table of its own; MLflow takes 5000 for the whole description."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A finished study. A kind of arm derives its own from it and says how it is written, read and recorded.

    Two results are equal only if they are the same one, for tables have no equality of their own.
    """

    name: str
    title: str
    """The question."""
    abstract: dict[str, str] = field(default_factory=dict)
    """Claim, Measure, Cost, Run, Outcome, as the study's docstring gives them."""
    preset: str
    command: str
    contrast: tuple[str, str] | None = None
    """(a, b): the study asks whether a does better than b; None where it asks nothing."""
    facts: dict[str, str] = field(default_factory=dict)
    """Where, with what and on which images it was carried out."""
    own_metrics: tuple[Metric, ...] = ()
    """Measures of the study's own, each a column of its items."""
    cost: Cost | None = None
    """What its stages cost, and the command that reports them; None where nobody counted."""

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Name → table; those that lie beside its report, and "items", a row per draw, where it has them."""
        return {}

    @property
    def lead(self) -> str:
        """What a report says below its title after name and preset of the study."""
        return ""

    def text(self) -> str:
        """For the job's log."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float]:
        """Of the study's run in MLflow, by the names of `tracking.names`."""
        raise NotImplementedError

    def sections(self) -> "Sequence[Section]":
        """Of the report, which adds where the result comes from."""
        from deepblur.platform.report.page import Code, Section, cost_section

        return [Section("What came out", [Code(self.text())]), cost_section(self.cost)]

    def write(self, folder: Path) -> Path:
        """Write the report, and what lies beside it; the file to open first."""
        from deepblur.platform.report.page import write  # and with it Matplotlib, which no worker needs

        return write(self, self.sections(), self.tables, folder, lead=self.lead)

    def outcome(self) -> str:
        """What came out, as Markdown, for the description of the study's run."""
        text = self.text()
        return block(text if len(text) <= LONGEST else text[:LONGEST].rpartition("\n")[0] + "\n…")

    def by_run(self) -> dict[tuple[str, int], dict[str, float]]:
        """Metrics of the runs of its arms, by arm and seed."""
        return {}

    def pictures_by_arm(self) -> dict[str, dict[str, list[np.ndarray]]]:
        """Pictures of the runs of its arms, of the first seed: arm → name → pictures (H, W) in [0, 1]."""
        return {}

    def finish(self, record: Any) -> None:
        """Called with its `Record` when all else is recorded, such as to register models."""


def header(plan: Plan, facts: dict[str, str], ledger: Ledger, keys: Iterable[str]) -> dict[str, Any]:
    """What every `Result` begins with, of a plan whose stages have these keys."""
    study = plan.study
    return {
        "name": study.name,
        "title": study.title,
        "abstract": study.abstract,
        "preset": plan.preset,
        "command": plan.command,
        "contrast": plan.contrast,
        "facts": facts,
        "own_metrics": study.metrics,
        "cost": cost_of(ledger, keys),
    }


def table_and_sentences(table: Table, sentences: Iterable[str]) -> str:
    """As Markdown; MLflow sets the cells of a row without any space between them."""
    said = "\n".join(f"- {markdown(sentence)}" for sentence in sentences)
    return "\n\n".join(filter(None, [table.markdown(gap="&emsp;"), said]))


def block(text: str) -> str:
    """Text as it is, in Markdown: between fences longer than any run of backquotes in it."""
    fence = "`" * (1 + max(2, *map(len, re.findall("`+", text)), 0))
    return f"{fence}\n{text}\n{fence}"
