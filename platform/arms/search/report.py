"""The report of a search: one HTML file that needs no network and no script, its tables and figures.

`write_search` writes everything into one folder; `search_text` tells the job log the same.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from deepblur.platform.arms.search import charts as search_plots
from deepblur.platform.arms.search import space_charts as search_space_plots
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
    search_metrics,
    search_text,
    settings_table,
    value_text,
)
from deepblur.platform.arms.trained.report import write_report
from deepblur.platform.report import markup
from deepblur.platform.report.markup import cost_section
from deepblur.platform.report.numbers import p_text
from deepblur.platform.report.style import rendered
from deepblur.platform.system.whole_files import replace_file

REM_PER_PT = 0.11
__all__ = ["search_metrics", "search_text", "write_search"]

FIGURES: dict[str, tuple[Callable[[SearchResult], Figure | None], str, str]] = {
    "convergence": (
        search_plots.convergence_plot,
        "Convergence",
        "The best first objective so far, and with two objectives the share that the trials so far dominate of the box "
        "between the worst and the best value of each over all complete trials. Left by trials, right by the compute "
        "that they spent, in the order of their numbers; pruned and failed trials cost and better nothing. Thin lines "
        "are seeds.",
    ),
    "pareto": (
        search_plots.pareto_plot,
        "Pareto front",
        "Every complete trial; black: no other complete trial is as good in all objectives and better in one.",
    ),
    "importances": (
        search_plots.importance_plot,
        "Importances",
        "The share of an objective's variance that a setting explains by itself (fANOVA over the complete trials of "
        "all samplers together). Blue: a Kruskal–Wallis test between the setting's levels, corrected for the number of "
        "settings, agrees; a sampler that learns changes several settings together, so take it as a guide. "
        "*: conditional, judged on the trials that have it.",
    ),
    "slices": (
        search_space_plots.slices_plot,
        "Slices",
        "The first objective against each setting, the most important first; each complete trial in the colour of its "
        "number. A score worse than the middle half by three times its width is drawn there. "
        "Ticks on the lower edge: pruned and failed trials, which have no score.",
    ),
    "contour": (
        search_space_plots.contour_plot,
        "The two most important settings",
        "Complete trials in the colour of the first objective. Between them, where they are numerous, a local mean; "
        "blank where no trial is near.",
    ),
    "parallel": (
        search_space_plots.parallel_plot,
        "Parallel coordinates",
        "A line per complete trial, in the colour of the first objective; the best in black. Absent: a conditional "
        "setting that does not apply.",
    ),
    "intermediate": (
        search_plots.intermediate_plot,
        "Intermediate values",
        "What the pruner saw while the trials trained; × where it cut. A stage that was reused reports nothing.",
    ),
}
"""Name of the file → how it is drawn, heading, caption."""


def write_search(result: SearchResult, folder: Path) -> Path:
    """Write the report into `folder` and return the path of report.html.

    Beside it: trials.csv (with the settings), intermediate.csv, pareto.csv, importances.csv, samplers.csv, each figure
    as figures/NAME.svg, .pdf and .png, and final/ with the report of best against default on the test images, where
    that was run. A file is written under another name and renamed.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    trials = with_settings(result)
    tables = {
        "trials": trials,
        "intermediate": result.intermediate,
        "pareto": trials.loc[pareto(result).index],
        "importances": importances(result)[0],
        "samplers": compare_samplers(result),
    }
    for name, table in tables.items():
        replace_file(folder / f"{name}.csv", table.to_csv(index=False).encode())
    drawn = {name: figure for name, (draw, *_) in FIGURES.items() if (figure := draw(result)) is not None}
    figures = {name: rendered(figure) for name, figure in drawn.items()}
    for name, files in figures.items():
        for kind, content in files.items():
            replace_file(folder / "figures" / f"{name}.{kind}", content)
    if result.final is not None:
        write_report(result.final, folder / "final")
    return replace_file(folder / "report.html", search_page(result, figures).encode())


def with_settings(result: SearchResult) -> pd.DataFrame:
    """The trials with a column "setting NAME" for each searched setting, empty where it does not apply."""
    settings = pd.DataFrame(
        [{f"setting {name}": repr(value) for name, value in row.items()} for row in result.settings],
        index=result.trials.index,
    )
    return pd.concat([result.trials, settings], axis=1)


def search_page(result: SearchResult, figures: dict[str, dict[str, bytes]]) -> str:
    """The whole HTML text; `figures`: name in FIGURES → kind of file → content."""
    sections = {
        "What was found": _found(result),
        "Samplers at equal budget": _listed([*contrast_sentences(result), *sampler_sentences(result)]),
        "What it cost, as if each sampler ran alone": _costs(result),
        "What these figures cannot say": _listed(caveats(result)),
    }
    for name, files in figures.items():
        _, heading, caption = FIGURES[name]
        sections[heading] = _figure(files["svg"], name, caption) + (
            _importances(result) if name == "importances" else ""
        )
    sections |= {
        "Every trial": markup.folded(f"{len(result.trials)} trials", _trials(result)),
        "Processor time": cost_section(result.cost),
        "Provenance": markup.pairs({"Command": result.command, **result.facts}),
    }
    lead = f"Study {result.name}, preset {result.preset}; {len(result.trials)} trials of {', '.join(result.arms)}"
    return markup.document(result.title, lead, markup.pairs(result.abstract), sections)


def _found(result: SearchResult) -> str:
    titles, settings, scores = settings_table(result)
    head = markup.headings(*titles[:2], numeric=False) + markup.headings(*titles[2:])
    body = []
    for rows in (settings, scores):
        for i, row in enumerate(rows):
            cells = markup.words(row[0]) + markup.words(row[1], wrap=True) + markup.numbers(*row[2:])
            body.append((cells, "first" if i == 0 and rows is scores else ""))
    caption = (
        "The searched settings and the scores on the validation grid: the default beside the best trial of each "
        f"sampler; {result.objectives[0].label} decides."
    )
    html = _listed([*best_sentences(result), *final_sentences(result)]) + markup.table(head, body, caption)
    for arm, command in result.commands.items():
        html += markup.paragraph(f"To run the best configuration of {arm}:") + markup.code(command)
    if result.final is not None:
        html += '<p><a href="final/report.html">The report of best against default on the test images</a></p>\n'
    return html


def _costs(result: SearchResult) -> str:
    body = []
    for row in costs(result).to_dict("records"):
        cells = markup.words(row["arm"])
        cells += markup.numbers(*(f"{row[name]:,}" for name in ("trials", "complete", "pruned", "failed")))
        times = ("seconds", "seconds_pruned", "seconds_failed", "seconds_naive", "reuse_saved")
        body.append((cells + markup.numbers(*(duration(row[name]) for name in times)), ""))
    head = markup.headings("sampler", numeric=False) + markup.headings("trials", "complete", "pruned", "failed")
    head += markup.headings("compute", "of it pruned", "of it failed", "had nothing been reused", "saved by reuse")
    return markup.table(head, body, "Trials, and what they trained and evaluated.") + _listed(cost_sentences(result))


def _importances(result: SearchResult) -> str:
    body = []
    labels = {objective.name: objective.label for objective in result.objectives}
    table = importances(result)[0]
    for objective, rows in table.groupby("objective", sort=False):
        for i, row in enumerate(rows.to_dict("records")):
            cells = markup.words(labels[str(objective)] if i == 0 else "")
            cells += markup.words(row["setting"] + " *" * row["conditional"])
            cells += markup.numbers(f"{row['importance']:.2f}", p_text(row["p"]), p_text(row["p_holm"]))
            body.append((cells + markup.numbers(f"{row['trials']}"), "first" if i == 0 else ""))
    head = markup.headings("objective", "setting", numeric=False)
    return markup.table(head + markup.headings("share of variance", "p", "p, Holm", "trials"), body, "")


def _trials(result: SearchResult) -> str:
    """Every trial with its settings and scores; best first objectives in bold."""
    names = list(dict.fromkeys([*result.space, *(name for settings in result.settings for name in settings)]))
    best = {trial.name for arm in result.arms if (trial := best_trial(result, arm)) is not None}
    body = []
    for i, trial in result.trials.iterrows():
        row = result.settings[int(str(i))]
        cells = markup.words(trial["arm"]) + markup.numbers(str(trial["seed"]), str(trial["number"]))
        cells += markup.words(trial["state"])
        cells += markup.numbers(*(value_text(row[name]) if name in row else "" for name in names))
        cells += markup.numbers(*(number(trial[name]) for name in result.measures))
        cells += markup.numbers(duration(trial["seconds"])) + markup.words(trial["reason"], wrap=True)
        body.append((cells, "lead" if i in best else ""))
    head = markup.headings("sampler", numeric=False) + markup.headings("seed", "number")
    head += markup.headings("state", numeric=False) + markup.headings(*names, *result.measures, "compute")
    return markup.table(head + markup.headings("reason", numeric=False), body, "In bold: the best of each sampler.")


def _figure(svg: bytes, name: str, caption: str) -> str:
    """As wide as it was drawn, so that the letters of all figures have one size."""
    width = re.search(rb'width="([\d.]+)pt"', svg)
    assert width is not None
    image = markup.embedded(svg, "svg", name, f"{float(width[1]) * REM_PER_PT:.1f}rem")
    return markup.figure(image, caption)


def _listed(sentences: list[str]) -> str:
    return markup.listed(sentences) if sentences else ""
