"""From finished stages to the result of a study that tunes methods, and what is shown of it where."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from deepblur.platform.arms.tuning.report import sections, tables, tuning_text
from deepblur.platform.arms.tuning.result import FILE, Tuned, TuningResult, as_json, tuning_metrics
from deepblur.platform.arms.tuning.tuning import Tune
from deepblur.platform.experiment.result import header
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.report.page import Section
from deepblur.platform.stages.heartbeat import read_rows
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.system.whole_files import replace_file


class TuningStudy(TuningResult):
    """A finished tuning study, as the experiment asks of it."""

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return tables(self)

    def sections(self) -> Sequence[Section]:
        return sections(self)

    def write(self, folder: Path) -> Path:
        """The path of tuned.json, which other studies take."""
        super().write(folder)
        return replace_file(folder / FILE, as_json(self).encode())

    def text(self) -> str:
        return tuning_text(self)

    def metrics(self) -> dict[str, float]:
        return tuning_metrics(self)


def collect(plan: Plan, graph: Graph, ledger: Ledger, facts: dict[str, str]) -> TuningStudy:
    searches = []
    for (arm, seed), keys in graph.results.items():
        for key in keys:
            stage = graph.works[key].stage
            assert isinstance(stage, Tune)
            best = json.loads((ledger.folder(key) / "best.json").read_text())
            trials = read_rows(ledger.folder(key) / "trials.jsonl")
            searches.append(Tuned(arm, stage.noise, best["default"], best["tuned"], trials, seed))
    return TuningStudy(**header(plan, facts, ledger, graph.works), searches=tuple(searches))
