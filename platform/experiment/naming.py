"""What a study, its runs and its parts are called, from its plan; `tracking/names` has what metrics are called."""

import re

from deepblur.platform.data.sources import Source
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.experiment.study import Plan
from deepblur.platform.tracking.names import word

LONGEST_NAME = 100
"""Signs of the name of a study, an arm, a preset or a noise level."""
SHOWN_SETTINGS = 3
"""At most so many settings of the command line stand in the name of a run."""


def check(plan: Plan) -> None:
    """Refuse what a study cannot call its parts, before anything is computed: names go into files, tables and MLflow.

    Raises:
        ValueError: names the name and what is wrong with it.
    """
    study = plan.study.name
    if not re.fullmatch(r"\w[\w .,+=()-]*", study) or len(study) > LONGEST_NAME or study != study.strip():
        raise ValueError(
            f"a study is called by letters, digits and . , + = ( ) - _ or blanks, at most {LONGEST_NAME}, for folders "
            f"are named after it; got {study!r}; choose another name"
        )
    grid = plan.grid
    levels = [level.name for level in grid.noise] if isinstance(grid, Grid) else []
    etas = [f"{eta:g}" for eta in grid.eta_waves] if isinstance(grid, Grid) else []
    for kind, names in {"arm": list(plan.arms), "noise level": levels, "η": etas, "preset": [plan.preset]}.items():
        taken: dict[str, str] = {}
        for name in names:
            if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST_NAME or name[0] == "_":
                raise ValueError(
                    f"the name of an {kind} begins with a sign that is neither blank nor _ and has no line breaks or "
                    f"other control characters, and {LONGEST_NAME} signs at most; got {name!r}; choose another name"
                )
            if (other := taken.setdefault(word(name), name)) != name or names.count(name) > 1:
                raise ValueError(
                    f"{kind} {name!r} and {kind} {other!r} would both be called {word(name)!r} in MLflow and share "
                    "their figures; rename one"
                )


def study_name(plan: Plan) -> str:
    """Of the study's run: what was run, at which size, and what the command line changed."""
    return f"{plan.study.name} {plan.preset}{_changed(plan)}"


def part_name(plan: Plan, part: str) -> str:
    """Of an arm's, a training's or a trial's run: what differs from its neighbours in a list comes first."""
    return f"{part} ({plan.preset}{_changed(plan)})"


def _changed(plan: Plan) -> str:
    preset = plan.study.presets.get(plan.preset)
    if preset is None:  # put together by a search, whose settings are many
        return ""
    given = [f"{name}={value}" for name, value in plan.settings.items()
             if name not in preset.settings or preset.settings[name] != value]  # fmt: skip
    shown = given if len(given) <= SHOWN_SETTINGS else [*given[:SHOWN_SETTINGS], "…"]
    return "".join(f", {text}" if len(text) <= 40 else f", {text[:39]}…" for text in shown)


def shared_tags(plan: Plan, *, commit: str, device: str) -> dict[str, str]:
    """Tags of every run of a study; search strings find them as tags.preset = 'quick'."""
    return {
        "study": plan.study.name,
        "preset": plan.preset,
        "data": _sources(plan.data.train),
        "test": _sources(plan.data.test),
        "device": device,
        "commit": commit,
        "mlflow.source.git.commit": commit,
    }


def _sources(sources: tuple[Source, ...]) -> str:
    """As the command line names them: photos, dead-leaves, coco:ROOT, folder:ROOT."""
    words = []
    for source in sources:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(source).__name__).lower()
        root = getattr(source, "root", None)
        words.append(kind if root is None else f"{kind}:{root}")
    return " + ".join(dict.fromkeys(words))
