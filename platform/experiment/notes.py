"""The descriptions that MLflow's UI shows above a run, in Markdown: what was asked, what came out, where to go on."""

from collections.abc import Mapping

from deepblur.platform.experiment.result import Result, block
from deepblur.platform.experiment.study import Plan
from deepblur.platform.system.printable import markdown


def study_note(plan: Plan, result: Result, links: Mapping[str, str]) -> str:
    """Of the study's run: links (label → address), question, claim, outcome and the command.

    The links come first because the UI folds the rest away and covers all but the first line of what it shows.
    """
    claim = markdown(plan.study.abstract.get("Claim", ""))
    again = f"Run it again:\n\n{block(plan.command)}"
    parts = [_links(links), f"**{markdown(plan.study.title)}**", claim, result.outcome(), again]
    return "\n\n".join(part for part in parts if part)


def part_note(name: str, about: str, plan: Plan, links: Mapping[str, str]) -> str:
    """Of an arm's, a training's or a trial's run, in one line; `about` is what it is made of."""
    return " · ".join(
        part for part in (markdown(name), markdown(about), f"of *{markdown(plan.study.title)}*", _links(links)) if part
    )


def experiment_note(plan: Plan, links: Mapping[str, str]) -> str:
    """Of the experiment, which holds the runs of one study file at every size."""
    fields = [
        f"**{name}:** {markdown(text)}" for name, text in plan.study.abstract.items() if name in ("Claim", "Measure")
    ]
    return "\n\n".join(part for part in (f"**{markdown(plan.study.title)}**", *fields, _links(links)) if part)


def _links(links: Mapping[str, str]) -> str:
    return " · ".join(f"[{label}]({address})" for label, address in links.items() if address)
