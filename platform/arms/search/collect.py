"""From the trials of searches to the result of their study, and what is shown of it where."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepblur.platform.arms.search.history import History, curves
from deepblur.platform.arms.search.report import sections, tables
from deepblur.platform.arms.search.result import SECONDARY, SearchResult
from deepblur.platform.arms.search.search import OBJECTIVES, Search
from deepblur.platform.arms.search.text import search_metrics, search_text
from deepblur.platform.arms.trained.report import write_report
from deepblur.platform.experiment.result import header
from deepblur.platform.experiment.study import Plan
from deepblur.platform.report.page import Section
from deepblur.platform.stages.ledger import Ledger

Searches = Mapping[tuple[str, int], Search]
Histories = Mapping[tuple[str, int], History]
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


class SearchStudy(SearchResult):
    """A finished search, as the experiment asks of it."""

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return tables(self)

    @property
    def lead(self) -> str:
        return f"; {len(self.trials)} trials of {', '.join(self.arms)}"

    def sections(self) -> Sequence[Section]:
        return sections(self)

    def write(self, folder: Path) -> Path:
        """With final/, the report of best against default on the test images, where that was run."""
        if self.final is not None:
            write_report(self.final, folder / "final")
        return super().write(folder)

    def text(self) -> str:
        return search_text(self)

    def metrics(self) -> dict[str, float]:
        return search_metrics(self)


def collect(plan: Plan, searches: Searches, histories: Histories, ledger: Ledger, facts: dict[str, str]) -> SearchStudy:
    """The tables of all trials. A stage costs the first trial of its sampler that needed it, as if each ran alone."""
    some = next(iter(searches.values()))
    rows, settings, seen = [], [], []
    for (arm, seed), history in histories.items():
        paid: set[str] = set()
        for trial in history.trials:
            if not history.ended(trial.number):
                continue
            about = trial.user_attrs
            seconds = {key: ledger.seconds(key) for key in about["stages"]}
            rows.append(
                {"arm": arm, "seed": seed, "number": trial.number, "state": STATES[trial.state.name]}
                | {"reason": about.get("reason", ""), "seconds_naive": sum(seconds.values())}
                | {"seconds": sum(s for key, s in seconds.items() if key not in paid)}
                | {name: about.get("measures", {}).get(name, float("nan")) for name in (*some.objectives, *SECONDARY)}
            )
            paid |= seconds.keys()
            settings.append(searches[arm, seed].params(trial))
            for kind, points in curves(trial).items():
                seen += [(arm, seed, trial.number, kind, mark, value) for mark, value in points.items()]
    stages = {key for history in histories.values() for trial in history.trials for key in trial.user_attrs["stages"]}
    return SearchStudy(
        **header(plan, facts, ledger, stages),
        objectives=tuple(OBJECTIVES[name] for name in some.objectives),
        trials=pd.DataFrame(rows),
        settings=tuple(settings),
        intermediate=pd.DataFrame(seen, columns=["arm", "seed", "number", "stage", "step", "value"]),
        space={name: str(part) for name, part in some.space.items()},
        defaults=some.defaults,
        commands={arm: best[0].command(plan.preset, best[1]) for arm in plan.arms
                  if (best := best_of(arm, searches, histories))},
        final=None,
    )  # fmt: skip


def best_of(sampler: str, searches: Searches, histories: Histories) -> tuple[Search, dict[str, Any]] | None:
    """The best complete trial of a sampler by the first objective, over all seeds: its search and its settings."""
    found = [
        (trial.values[0], searches[where], trial)
        for where, history in histories.items()
        for trial in history.trials
        if where[0] == sampler and trial.state.name == "COMPLETE"
    ]
    if not found:
        return None
    sign = OBJECTIVES[found[0][1].objectives[0]].sign
    _, search, trial = max(found, key=lambda one: sign * one[0])  # the first of equals
    return search, search.params(trial)
