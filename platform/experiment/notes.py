"""The descriptions that MLflow's UI shows above a run, in Markdown: what was asked, what came out, where to go on."""

from collections.abc import Mapping, Sequence

from deepblur.platform.arms.methods import text as comparison_text
from deepblur.platform.arms.methods.result import MEASURES, MethodsResult
from deepblur.platform.arms.trained.result import StudyResult, paired_table, summary_table
from deepblur.platform.arms.trained.text import contrast_sentences
from deepblur.platform.experiment.result import LAYOUTS, Result
from deepblur.platform.experiment.study import Plan
from deepblur.platform.report.numbers import bracketed, signed
from deepblur.platform.system.printable import markdown

LONGEST = 3000
"""Characters of an outcome that has no table of its own; MLflow takes 5000 for the whole description."""
COLUMNS = {  # column of a study's summary → heading, decimals
    "psnr_gain_db": ("PSNR gain (dB)", 2),
    "ssim_gain": ("SSIM gain", 3),
    "psf_gain_db": ("PSF SNR over the mean PSF (dB)", 1),
}


def study_note(plan: Plan, result: Result, links: Mapping[str, str]) -> str:
    """Of the study's run: links (label → address), question, claim, outcome and the command.

    The links come first because the UI folds the rest away and covers all but the first line of what it shows.
    """
    claim = plan.study.abstract.get("Claim", "")
    again = f"Run it again:\n\n{_block(plan.command)}"
    parts = [_links(links), f"**{plan.study.title}**", claim, _outcome(result), again]
    return "\n\n".join(part for part in parts if part)


def part_note(name: str, about: str, plan: Plan, links: Mapping[str, str]) -> str:
    """Of an arm's, a training's or a trial's run, in one line; `about` is what it is made of."""
    return " · ".join(
        part for part in (markdown(name), markdown(about), f"of *{plan.study.title}*", _links(links)) if part
    )


def experiment_note(plan: Plan, links: Mapping[str, str]) -> str:
    """Of the experiment, which holds the runs of one study file at every size."""
    fields = [f"**{name}:** {text}" for name, text in plan.study.abstract.items() if name in ("Claim", "Measure")]
    return "\n\n".join(part for part in (f"**{plan.study.title}**", *fields, _links(links)) if part)


def _links(links: Mapping[str, str]) -> str:
    return " · ".join(f"[{label}]({address})" for label, address in links.items() if address)


def _outcome(result: Result) -> str:
    if isinstance(result, StudyResult):
        rows = summary_table(result)
        table = _table(rows[rows["group"] == "all"].to_dict("records"), COLUMNS)
        sentences = contrast_sentences(result, paired_table(result))
        return "\n\n".join([table, "\n".join(f"- {markdown(sentence)}" for sentence in sentences)])
    if isinstance(result, MethodsResult):
        shown = [name for name in ("psf_snr_db", "psnr_gain_db", "ssim_gain") if result.gives(name)] or ["whiteness"]
        columns = {name: (MEASURES[name].axis, MEASURES[name].decimals) for name in shown}
        table = _table(result.summary[result.summary["group"] == "all"].to_dict("records"), columns)
        said = "\n".join(f"- {markdown(sentence)}" for sentence in comparison_text.contrast_sentences(result))
        return "\n\n".join(filter(None, [table, said]))
    text = LAYOUTS[type(result)].text(result)
    return _block(text if len(text) <= LONGEST else text[:LONGEST].rpartition("\n")[0] + "\n…")


def _table(rows: Sequence[Mapping], columns: Mapping[str, tuple[str, int]]) -> str:
    """Means with their 95 % intervals, a row an arm; MLflow sets the cells of a row without any space between them."""
    lines = [["arm", *(heading for heading, _ in columns.values())], ["---", *("---" for _ in columns)]]
    for row in rows:
        cells = (
            f"{signed(row[name], decimals)} {bracketed(row[f'{name}_low'], row[f'{name}_high'], decimals)}&emsp;"
            for name, (_, decimals) in columns.items()
        )
        lines.append([markdown(str(row["arm"])) + "&emsp;", *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _block(text: str) -> str:
    return f"```\n{text}\n```"
