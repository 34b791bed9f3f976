"""Which settings a search's scores depend on: fANOVA over the complete trials of all samplers together.

Optuna computes it and is imported inside the functions only.
Source: Hutter, Hoos, Leyton-Brown, An efficient approach for assessing hyperparameter importance, ICML 2014.
"""

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kruskal

from deepblur.platform.arms.search.result import SearchResult, plain
from deepblur.platform.evaluation.paired import holm

MIN_TRIALS = 10
"""Complete trials below which a forest would describe chance."""
COLUMNS = ("objective", "setting", "importance", "p", "p_holm", "trials", "conditional")
_GROUP = 5
"""Trials of a group that a rank test compares."""
_SEED = 0


def numeric(values: Iterable[Any]) -> bool:
    """Whether all values are numbers; True and False are not."""
    return all(isinstance(plain(value), int | float) and not isinstance(plain(value), bool) for value in values)


@functools.lru_cache(maxsize=4)  # the report, its figures, the job log and the record all ask
def importances(result: SearchResult) -> tuple[pd.DataFrame, str]:
    """The share of each objective's variance that each setting explains by itself.

    A conditional setting is judged on the trials that have it, beside the settings that all trials have.

    Returns:
        The table, and a sentence where there is none or where it lacks something ("" otherwise). One row per objective
        and setting, largest first: objective, setting, importance (0 … 1, of the variance that the forest sees; what
        is left belongs to interactions), p (Kruskal–Wallis test of the scores between the setting's levels, or up to
        four groups of equal size along its range; NaN where they are too few), p_holm (corrected for the settings of
        the objective), trials, conditional. A sampler that learns changes several settings together, so p is a guide.
    """
    tables, reasons = [], []
    for objective in result.objectives:
        trials = result.trials[(result.trials["state"] == "complete") & result.trials[objective.name].notna()]
        values = trials[objective.name].to_numpy(float)
        settings = [{name: plain(value) for name, value in result.settings[row].items()} for row in trials.index]
        if len(trials) < MIN_TRIALS:
            reasons.append(f"at least {MIN_TRIALS} complete trials are needed; {objective.label} has {len(trials)}")
        elif not np.ptp(values) > 0:
            reasons.append(f"{objective.label} is the same in all {len(trials)} complete trials")
        elif not (rows := _of_objective(settings, values)):
            reasons.append(f"no setting differs between the {len(trials)} complete trials")
        else:
            found = pd.DataFrame(rows).assign(objective=objective.name)
            p = found["p"].dropna()
            tables.append(found.assign(p_holm=pd.Series(holm(p), p.index, dtype=float)))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    why = f"No importances: {'; '.join(dict.fromkeys(reasons))}." if reasons else ""
    return table[list(COLUMNS)], why


def _of_objective(settings: list[dict[str, Any]], values: np.ndarray) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    common = [name for name in names if all(name in setting for setting in settings)]
    varying = {name for name in names if len({s[name] for s in settings if name in s}) > 1}
    rows = []
    groups = [[name for name in common if name in varying]]
    groups += [[*groups[0], name] for name in names if name in varying and name not in common]
    for group in filter(None, groups):
        chosen = [i for i, setting in enumerate(settings) if all(name in setting for name in group)]
        wanted = group if group is groups[0] else group[-1:]
        scores = values[chosen]
        if len(chosen) < MIN_TRIALS or not np.ptp(scores) > 0:
            continue
        points = [{name: settings[i][name] for name in group} for i in chosen]
        shares = _fanova(points, scores)
        for name in wanted:
            p = _rank_test([point[name] for point in points], scores)
            rows.append({"setting": name, "importance": shares[name], "p": p, "trials": len(chosen)})
            rows[-1]["conditional"] = name not in common
    return sorted(rows, key=lambda row: -row["importance"])


def _fanova(points: list[dict[str, Any]], values: np.ndarray) -> dict[str, float]:
    """Setting → share of the variance, from a study in memory that holds these trials."""
    import optuna

    distributions = {name: _distribution([point[name] for point in points]) for name in points[0]}
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce every study
    try:
        study = optuna.create_study()
        for point, value in zip(points, values, strict=True):
            params = {
                name: repr(given) if isinstance(distributions[name], optuna.distributions.CategoricalDistribution)
                else given
                for name, given in point.items()
            }  # fmt: skip
            trial = optuna.trial.create_trial(params=params, distributions=distributions, value=float(value))
            study.add_trial(trial)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
        return evaluator.evaluate(study)  # get_param_importances would make the shares sum to one
    finally:
        optuna.logging.set_verbosity(level)


def _rank_test(given: list[Any], scores: np.ndarray) -> float:
    """Kruskal and Wallis's p that the scores of all groups come from one distribution."""
    series = pd.Series(given) if numeric(given) else pd.Series([repr(value) for value in given])
    if numeric(given) and series.nunique() > 4:
        parts = min(4, len(series) // _GROUP)
        series = pd.qcut(series, parts, labels=False, duplicates="drop") if parts > 1 else series
    groups = [scores[(series == level).to_numpy()] for level in series.unique()]
    groups = [group for group in groups if len(group) >= _GROUP]
    return float(kruskal(*groups).pvalue) if len(groups) > 1 else np.nan


def _distribution(values: list[Any]) -> Any:
    """The range of what was tried; its scale does not matter to a forest, which only cuts."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not numeric(values):
        return CategoricalDistribution(sorted({repr(value) for value in values}))
    if all(isinstance(value, int) for value in values):
        return IntDistribution(min(values), max(values))
    return FloatDistribution(float(min(values)), float(max(values)))
