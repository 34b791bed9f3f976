"""A search in words, and as plain text for the job log: what it found, whether the sampler mattered, what it cost.

No sampler is called better on one seed, and none on several unless a rank test agrees.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from deepblur.platform.arms.search.importance import importances
from deepblur.platform.arms.search.result import (
    Objective,
    SearchResult,
    best_trial,
    compare_samplers,
    costs,
    pareto,
    plain,
)
from deepblur.platform.arms.trained.result import paired_table, summary_table
from deepblur.platform.arms.trained.text import contrast_sentences as final_contrast
from deepblur.platform.report.answer import Answer, answer, answers_text
from deepblur.platform.report.numbers import DASH, SIGNIFICANT, WIDTH, cut
from deepblur.platform.report.table import Column, Row, Table
from deepblur.platform.tracking.names import of_arm, word


def search_text(result: SearchResult) -> str:
    """The search as plain text, at most 110 columns wide but for the command lines."""
    lines = [f"{result.title} (preset {result.preset})", "", settings_table(result).text()]
    for heading, sentences in (
        ("Found", [*best_sentences(result), *final_sentences(result)]),
        ("Samplers at equal budget", [*contrast_sentences(result), *sampler_sentences(result)]),
        ("What matters", importance_sentences(result)),
        ("Cost, as if each sampler ran alone", cost_sentences(result)),
        ("What these figures cannot say", caveats(result)),
    ):
        lines += ["", f"{heading}:"] if sentences else []
        for sentence in sentences:
            lines += textwrap.wrap(sentence, WIDTH, initial_indent="- ", subsequent_indent="  ")
    for arm, command in result.commands.items():
        lines += ["", f"The best configuration of {arm}:", f"  {command}"]
    return "\n".join(lines)


def search_metrics(result: SearchResult) -> dict[str, float]:
    """Flat figures for the record; what is not known is left out."""
    found: dict[str, float] = {}
    for arm in result.arms:
        best = best_trial(result, arm)
        found |= {} if best is None else {of_arm(arm, f"best/{name}"): float(best[name]) for name in result.measures}
    for row in costs(result).to_dict("records"):
        found |= {of_arm(row["arm"], f"cost/{name}"): float(value) for name, value in row.items() if name != "arm"}
    for row in compare_samplers(result).to_dict("records"):
        found[of_arm(row["arm"], f"{row['measure']}_at_equal_{row['budget']}")] = row["mean"]
    for row in importances(result)[0].to_dict("records"):
        found[f"importance/{row['objective']}/{row['setting']}"] = row["importance"]
    found |= {key: value for one in contrast_answers(result) for key, value in one.metrics("best").items()}
    found["search/pareto_trials"] = float(len(pareto(result)))
    if result.final is not None:
        table = summary_table(result.final)
        for row in table[table["group"] == "all"].to_dict("records"):
            found |= {f"final/{word(row['arm'])}/{name}": float(row[name]) for name in ("psnr_gain_db", "psf_snr_db")}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def settings_table(result: SearchResult, caption: str = "") -> Table:
    """A row per setting (its range, the default and each sampler's best), then one per measure."""
    best = {arm: best_trial(result, arm) for arm in result.arms}
    names = list(dict.fromkeys([*result.space, *(name for settings in result.settings for name in settings)]))
    given = [result.defaults, *({} if trial is None else result.settings[_row(trial)] for trial in best.values())]
    rows = [
        Row([name, result.space.get(name, ""), *(value_text(s[name]) if name in s else DASH for s in given)])
        for name in names
    ]
    default = default_trial(result)
    labels = {objective.name: objective.label for objective in result.objectives}
    for name in result.measures:
        shown = [trial[name] if trial is not None else np.nan for trial in (default, *best.values())]
        if np.isfinite(np.array(shown, dtype=float)).any():
            cells = [labels.get(name, name), "", *(number(value) for value in shown)]
            rows.append(Row(cells, rule=len(rows) == len(names)))
    columns = [Column("setting", least=14), Column("range", wrap=True, least=14)]
    columns += [Column(heading, 0, least=14) for heading in ("default", *(f"best, {arm}" for arm in best))]
    return Table(columns, rows, caption)


def default_trial(result: SearchResult) -> pd.Series | None:
    """The trial of the default configuration, the best where several runs tried it; None where none completed it."""
    rows = result.scored[result.scored.index.isin(result.default_rows)]
    lead = result.objectives[0]
    return None if rows.empty else rows.loc[(rows[lead.name] * lead.sign).idxmax()]


def best_sentences(result: SearchResult) -> list[str]:
    """The best trial of each sampler beside the default, and the size of the front."""
    lead, default = result.objectives[0], default_trial(result)
    sentences = []
    for arm in result.arms:
        best = best_trial(result, arm)
        if best is None:
            sentences.append(f"{arm}: no trial is complete, so nothing was found.")
            continue
        text = f"{arm}: {lead.label} {number(best[lead.name])} in trial {best['number']} of seed {best['seed']}"
        if default is not None:
            gain = lead.sign * (best[lead.name] - default[lead.name])
            better = f"better by {gain:.3g}" if gain > 0 else f"worse by {-gain:.3g}" if gain < 0 else "the same"
            text += f"; the default configuration has {number(default[lead.name])}: {better}"
        sentences.append(f"{text}.")
    if default is None and len(result.scored):
        sentences.append("No trial completed the default configuration, so the search cannot say what it gained.")
    if len(result.objectives) > 1:
        names = ", ".join(objective.label for objective in result.objectives)
        front = pareto(result)
        sentences.append(f"{len(front)} of {len(result.scored)} complete trials are on the Pareto front of {names}.")
    return sentences


def final_sentences(result: SearchResult) -> list[str]:
    """Best against default on the test images."""
    if result.final is None:
        return []
    found = final_contrast(result.final, paired_table(result.final))
    return [f"On the test images: {sentence}" if i == 0 else sentence for i, sentence in enumerate(found)]


def contrast_answers(result: SearchResult) -> list[Answer]:
    """The contrast in the best first objective after equally many trials; what is independent is a seed."""
    table = compare_samplers(result)
    rows = table[(table["budget"] == "trials") & (table["measure"] == "best")]
    runs = [{"arm": row["arm"], "seed": 0, "run": i, "best": value}
            for row in rows.to_dict("records") for i, value in enumerate(row["values"])]  # fmt: skip
    if result.contrast is None or not runs:
        return []
    lead = result.objectives[0]
    seeds = int(rows["seeds"].min())
    words = {"label": f"Best {lead.label} after {rows['size'].iloc[0]:.0f} trials", "decimals": 3,
             "higher_is_better": lead.sign > 0, "basis": f"{seeds} seed{'s' * (seeds > 1)}"}  # fmt: skip
    one = answer(pd.DataFrame(runs), result.contrast, "best", draw=("run",), cluster="run", **words)
    return [] if one is None else [one]


def contrast_sentences(result: SearchResult) -> list[str]:
    """The question that the study asks, with its answer."""
    return [] if result.contrast is None else answers_text(result.contrast, contrast_answers(result), result.arms)


def sampler_sentences(result: SearchResult) -> list[str]:
    """Sampler against sampler at equal trials and at equal seconds."""
    if len(result.arms) < 2:
        return []
    labels = {"best": result.objectives[0].label, "hypervolume": "dominated share of the box"}
    sentences = []
    for (budget, measure), rows in compare_samplers(result).groupby(["budget", "measure"], sort=False):
        size = rows["size"].iloc[0]
        spent = f"{size:.0f} trials" if budget == "trials" else f"{duration(size)} of compute"
        parts = [f"{row['arm']} {_mean_and_spread(row)}" for row in rows.to_dict("records")]
        verdict = _verdict(rows, result.objectives[0] if measure == "best" else None)
        sentences.append(f"After {spent}, {labels[str(measure)]}: {', '.join(parts)}. {verdict}".rstrip())
    if result.trials.groupby("arm")["seed"].nunique().min() < 2:
        sentences.append("With one seed of a sampler, a difference may be luck: no sampler can be called better.")
    return sentences


def _mean_and_spread(row: Mapping[Any, Any]) -> str:
    if not np.isfinite(row["mean"]):
        return "nothing complete" if row["seeds"] == 1 else "nothing complete in some seeds"
    spread = f" ± {number(row['std'])} ({row['seeds']} seeds)" if row["seeds"] > 1 else ""
    return number(row["mean"]) + spread


def _verdict(rows: pd.DataFrame, objective: Objective | None) -> str:
    """What the values of the seeds allow to say; an objective of None is a share, where more is better."""
    sign = 1 if objective is None else objective.sign
    values = {str(row["arm"]): sign * np.array(row["values"]) for row in rows.to_dict("records")}
    values = {arm: known for arm, known in values.items() if np.isfinite(known).all()}
    if len(values) < 2:
        return "Nothing to compare."
    if min(map(len, values.values())) < 2:
        return ""
    first = max(values, key=lambda arm: values[arm].mean())
    rivals = [arm for arm in values if arm != first]
    p = [float(mannwhitneyu(values[first], values[arm]).pvalue) * len(rivals) for arm in rivals]
    sure = [arm for arm, found in zip(rivals, p, strict=True) if found < SIGNIFICANT]
    if not sure:
        return "The ranks of the seeds do not tell the samplers apart."
    return f"{first} is better than {', '.join(sure)} (rank test over seeds, corrected for the samplers)."


def importance_sentences(result: SearchResult) -> list[str]:
    """The three most important settings of each objective, and whether the rank test agrees."""
    sentences = []
    labels = {objective.name: objective.label for objective in result.objectives}
    for objective, rows in importances(result)[0].groupby("objective", sort=False):
        parts = []
        for row in rows.head(3).to_dict("records"):
            sure = "" if row["p_holm"] < SIGNIFICANT else ", not shown"
            parts.append(f"{row['setting']} ({row['importance']:.0%}{sure})")
        sentences.append(
            f"{labels[str(objective)]} depends most on {', '.join(parts)}: shares of its variance, fANOVA."
        )
    return sentences


def cost_sentences(result: SearchResult) -> list[str]:
    """Trials and compute of each sampler, what reuse of stages saved and, as an estimate, what pruning saved."""
    sentences = []
    for row in costs(result).to_dict("records"):
        states = ", ".join(f"{row[state]} {state}" for state in ("complete", "pruned", "failed") if row[state])
        text = f"{row['arm']}: {row['trials']} trials ({states}), {duration(row['seconds'])} of compute"
        if row["reuse_saved"] > 0:
            share = row["reuse_saved"] / row["seconds_naive"]
            text += f"; reusing stages saved {duration(row['reuse_saved'])} ({share:.0%})"
        if row["seconds_failed"] > 0:
            text += f"; failures cost {duration(row['seconds_failed'])}"
        sentences.append(f"{text}.{_pruning(result, row)}")
    failed = result.trials[result.trials["state"] == "failed"]
    reasons = failed["reason"].replace("", np.nan).dropna().value_counts()
    if len(reasons):
        times = f", {reasons.iloc[0]} times" if reasons.iloc[0] > 1 else ""
        sentences.append(f"The most frequent reason of failure{times}: {cut(str(reasons.index[0]), 200)}")
    return sentences


def _pruning(result: SearchResult, row: Mapping[Any, Any]) -> str:
    """A pruned trial would have cost about what the sampler's complete trials cost."""
    trials = result.trials[(result.trials["arm"] == row["arm"]) & (result.trials["state"] == "complete")]
    if not row["pruned"] or trials.empty:
        return ""
    saved = row["pruned"] * trials["seconds"].median() - row["seconds_pruned"]
    return f" Pruning saved about {duration(saved)}, had they cost the median of complete ones." if saved > 0 else ""


def caveats(result: SearchResult) -> list[str]:
    """What the figures cannot say because the search is small, or selects."""
    sentences = []
    if len(result.scored):
        sentences.append(
            f"The best of {len(result.scored)} scores on the validation grid is partly luck; only images that the "
            "search has not seen can confirm it" + (", and none were tried." if result.final is None else ".")
        )
    why = importances(result)[1]
    if why:
        sentences.append(why)
    return sentences


def value_text(value: Any) -> str:
    """A setting's value as one would type it, floats shortened."""
    value = plain(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"({', '.join(map(value_text, value))})" if isinstance(value, tuple) else str(value)


def number(value: Any) -> str:
    """A measure with four figures; a dash where it is unknown."""
    value = float(value)
    if not np.isfinite(value):
        return DASH
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}").replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if not np.isfinite(seconds):
        return DASH
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _row(trial: pd.Series) -> int:
    assert isinstance(trial.name, int | np.integer)
    return int(trial.name)
