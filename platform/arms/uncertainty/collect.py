"""From finished stages to the result of a study of uncertainties, and what is shown of it where."""

from collections.abc import Sequence

import pandas as pd

from deepblur.platform.arms.uncertainty.report import sections, tables, uncertainty_text
from deepblur.platform.arms.uncertainty.result import UncertaintyResult, rows_of, uncertainty_metrics
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.experiment.result import header
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.report.page import Section
from deepblur.platform.stages.ledger import Ledger


class UncertaintyStudy(UncertaintyResult):
    """A finished study of uncertainties, as the experiment asks of it."""

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return {"items": self.items, **tables(self)}

    def sections(self) -> Sequence[Section]:
        return sections(self)

    def text(self) -> str:
        return uncertainty_text(self)

    def metrics(self) -> dict[str, float]:
        return uncertainty_metrics(self)


def collect(plan: Plan, graph: Graph, ledger: Ledger, facts: dict[str, str]) -> UncertaintyStudy:
    assert isinstance(plan.grid, Grid)
    found = []
    for (name, seed), keys in graph.results.items():
        readings = [pd.read_parquet(ledger.folder(key) / "items.parquet") for key in keys]
        found.append(rows_of(graph.arms[name, seed], readings, plan.grid.crop_px).assign(arm=name, seed=seed))
    items = pd.concat(found, ignore_index=True)
    return UncertaintyStudy(**header(plan, facts, ledger, graph.works), items=items, reference=plan.reference)
