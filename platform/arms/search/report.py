"""The report of a search: its sections, its figures, and the tables that lie beside them."""

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure as Drawing

from deepblur.platform.arms.search import charts, space_charts
from deepblur.platform.arms.search.importance import importances
from deepblur.platform.arms.search.result import SearchResult, best_trial, compare_samplers, costs, pareto
from deepblur.platform.arms.search.text import (
    best_sentences,
    caveats,
    contrast_sentences,
    cost_sentences,
    duration,
    final_sentences,
    number,
    sampler_sentences,
    settings_table,
    value_text,
)
from deepblur.platform.report.numbers import p_text
from deepblur.platform.report.page import Block, Code, Figure, Folded, Link, Section, cost_section
from deepblur.platform.report.table import Column, Row, Table

FIGURES: dict[str, tuple[Callable[[SearchResult], Drawing | None], str, str]] = {
    "convergence": (
        charts.convergence_plot,
        "Convergence",
        "The best first objective so far, and with two objectives the share that the trials so far dominate of the box "
        "between the worst and the best value of each over all complete trials. Left by trials, right by the compute "
        "that they spent, in the order of their numbers; pruned and failed trials cost and better nothing. Thin lines "
        "are seeds.",
    ),
    "pareto": (
        charts.pareto_plot,
        "Pareto front",
        "Every complete trial; black: no other complete trial is as good in all objectives and better in one.",
    ),
    "importances": (
        charts.importance_plot,
        "Importances",
        "The share of an objective's variance that a setting explains by itself (fANOVA over the complete trials of "
        "all samplers together). Blue: a Kruskal–Wallis test between the setting's levels, corrected for the number of "
        "settings, agrees; a sampler that learns changes several settings together, so take it as a guide. "
        "*: conditional, judged on the trials that have it.",
    ),
    "slices": (
        space_charts.slices_plot,
        "Slices",
        "The first objective against each setting, the most important first; each complete trial in the colour of its "
        "number. A score worse than the middle half by three times its width is drawn there. "
        "Ticks on the lower edge: pruned and failed trials, which have no score.",
    ),
    "contour": (
        space_charts.contour_plot,
        "The two most important settings",
        "Complete trials in the colour of the first objective. Between them, where they are numerous, a local mean; "
        "blank where no trial is near.",
    ),
    "parallel": (
        space_charts.parallel_plot,
        "Parallel coordinates",
        "A line per complete trial, in the colour of the first objective; the best in black. Absent: a conditional "
        "setting that does not apply.",
    ),
    "intermediate": (
        charts.intermediate_plot,
        "Intermediate values",
        "What the pruner saw while the trials trained; × where it cut. A stage that was reused reports nothing.",
    ),
}
"""Name of the file → how it is drawn, heading, caption."""


def tables(result: SearchResult) -> dict[str, pd.DataFrame]:
    """The files NAME.csv beside the report."""
    trials = with_settings(result)
    return {
        "trials": trials,
        "intermediate": result.intermediate,
        "pareto": trials.loc[pareto(result).index],
        "importances": importances(result)[0],
        "samplers": compare_samplers(result),
    }


def with_settings(result: SearchResult) -> pd.DataFrame:
    """The trials with a column "setting NAME" for each searched setting, empty where it does not apply."""
    settings = pd.DataFrame(
        [{f"setting {name}": repr(value) for name, value in row.items()} for row in result.settings],
        index=result.trials.index,
    )
    return pd.concat([result.trials, settings], axis=1)


def sections(result: SearchResult) -> list[Section]:
    samplers = [*contrast_sentences(result), *sampler_sentences(result)]
    cannot = caveats(result)
    drawn = {name: (draw(result), heading, caption) for name, (draw, heading, caption) in FIGURES.items()}
    return [
        Section("What was found", _found(result)),
        Section("Samplers at equal budget", [samplers] if samplers else []),
        Section("What it cost, as if each sampler ran alone", _costs(result)),
        Section("What these figures cannot say", [cannot] if cannot else []),
        *(
            Section(heading, [Figure(drawing, caption, name), *([_importances(result)] * (name == "importances"))])
            for name, (drawing, heading, caption) in drawn.items()
            if drawing is not None
        ),
        Section("Every trial", [Folded(f"{len(result.trials)} trials", [_trials(result)])]),
        cost_section(result.cost, "Processor time"),
    ]


def _found(result: SearchResult) -> list[Block]:
    caption = (
        "The searched settings and the scores on the validation grid: the default beside the best trial of each "
        f"sampler; {result.objectives[0].label} decides."
    )
    said = [*best_sentences(result), *final_sentences(result)]
    blocks: list[Block] = [*([said] if said else []), settings_table(result, caption)]
    for arm, command in result.commands.items():
        blocks += [f"To run the best configuration of {arm}:", Code(command)]
    if result.final is not None:
        blocks.append(Link("The report of best against default on the test images", "final/report.html"))
    return blocks


def _costs(result: SearchResult) -> list[Block]:
    times = {
        "seconds": "compute",
        "seconds_pruned": "of it pruned",
        "seconds_failed": "of it failed",
        "seconds_naive": "had nothing been reused",
        "reuse_saved": "saved by reuse",
    }
    columns = {"arm": Column("sampler")}
    columns |= {name: Column(name, 0) for name in ("trials", "complete", "pruned", "failed")}
    columns |= {name: Column(heading, 0, form=duration) for name, heading in times.items()}
    sentences = cost_sentences(result)
    table = Table.of(costs(result), columns, "Trials, and what they trained and evaluated.")
    return [table, sentences] if sentences else [table]


def _importances(result: SearchResult) -> Table:
    labels = {objective.name: objective.label for objective in result.objectives}
    table = importances(result)[0]
    marked = [f"{row.setting}{' *' * row.conditional}" for row in table.itertuples()]
    columns = {
        "label": Column("objective", group=True),
        "marked": Column("setting"),
        "importance": Column("share of variance", 2),
        "p": Column("p", 0, form=p_text),
        "p_holm": Column("p, Holm", 0, form=p_text),
        "trials": Column("trials", 0),
    }
    return Table.of(table.assign(label=table["objective"].map(labels), marked=marked), columns)


def _trials(result: SearchResult) -> Table:
    """Every trial with its settings and scores; best first objectives in bold."""
    names = list(dict.fromkeys([*result.space, *(name for settings in result.settings for name in settings)]))
    best = {trial.name for arm in result.arms if (trial := best_trial(result, arm)) is not None}
    rows = []
    for i, trial in result.trials.iterrows():
        given = result.settings[int(str(i))]
        cells = [trial["arm"], str(trial["seed"]), str(trial["number"]), trial["state"]]
        cells += [value_text(given[name]) if name in given else "" for name in names]
        cells += [number(trial[name]) for name in result.measures]
        rows.append(Row([*cells, duration(trial["seconds"]), trial["reason"]], bold=i in best))
    columns = [Column("sampler"), Column("seed", 0), Column("number", 0), Column("state")]
    columns += [Column(heading, 0) for heading in (*names, *result.measures, "compute")]
    return Table([*columns, Column("reason", wrap=True)], rows, "In bold: the best of each sampler.")
