"""What runs, tags and metrics are called in MLflow: the one place; docs/dashboards.md has the table for people.

MLflow's UI puts metrics into one section of charts that share what stands before their last slash, so what belongs on
one screen shares it, and what two runs must be compared by has the same name in both. No name needs quoting in a search
string beyond the backticks that slashes demand.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deepblur.platform.arms.methods.method import Method
from deepblur.platform.arms.tuning.tuning import Tuning
from deepblur.platform.arms.uncertainty.uncertainty import Doubt
from deepblur.platform.evaluation.levels import Grid

if TYPE_CHECKING:
    from deepblur.platform.data.sources import Source
    from deepblur.platform.experiment.study import Plan

NOTE_TAG = "mlflow.note.content"
"""What the UI shows as a run's or an experiment's description, in Markdown."""
NETWORKS = {"identify": "IN", "deblur": "DN", "joint": "joint", "restore": "NAFNet"}
"""Kind of a training → what people call its network."""
HELD_OUT = ("val", "grid")
"""First words of the columns of a curve that were measured on held-out draws; the others are of the training itself."""
GROUPS = {"noise": "noise", "eta_waves": "eta"}
"""Column of the items that a mean is taken over one value of → the word for it."""
COSTS = ("latency_ms", "gmacs", "parameters", "training_s")
"""Measures of a network that say what it costs, not how well it does."""
LONGEST_NAME = 100
"""Signs of the name of a study, an arm, a preset or a noise level."""
SHOWN_SETTINGS = 3
"""At most so many settings of the command line stand in the name of a run."""


def check(plan: "Plan") -> None:
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


def file_name(text: str) -> str:
    """As a file or folder may be called on any disk: the text itself, or what is left of it and a hash of it."""
    plain = re.sub(r"[^\w.,+=() -]+", "-", text, flags=re.ASCII).strip(" .-")[:80]
    return text if text and plain == text else f"{plain}-{_hash(text)}".lstrip("-")


def searchable(value: str) -> str:
    """A tag's value as a search string may quote it: itself, or its hash where it holds what would end the string."""
    return value if value.isprintable() and not set("'\"`\\;") & set(value) else _hash(value)


def markdown(text: str) -> str:
    """A name within Markdown, in a cell of a table too."""
    return re.sub(r"([|<`*])", r"\\\1", " ".join(text.split()))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def word(text: str) -> str:
    """A name as one part of a metric's: what a search string would have to quote becomes a dash."""
    return re.sub(r"[^\w.]+", "-", text).strip("-") or "-"


def curve(kind: str, row: Mapping[str, float]) -> dict[str, float]:
    """A row of a training's curve: train/DN/loss, val/DN/psnr_db, grid/DN/psnr_db; `step` stays what it is."""
    network = NETWORKS.get(kind, kind)
    named = {}
    for column, value in row.items():
        place, _, measure = column.partition("_")
        group, measure = (place, measure) if place in HELD_OUT else ("train", column)
        named[column if column == "step" else f"{group}/{network}/{measure}"] = value
    return named


def measured(place: str, values: Mapping[str, float]) -> dict[str, float]:
    """Means on the test images (place "test") or on a search's grid ("grid"); what they cost is cost/… everywhere."""
    return {f"{'cost' if name in COSTS else place}/{name}": value for name, value in values.items()}


def subset(place: str, group: str, level: Any) -> str:
    """Where means over one noise level or one η stand: test/noise_low, test/eta_0.1."""
    return f"{place}/{GROUPS[group]}_{word(f'{level:g}' if isinstance(level, float) else str(level))}"


def of_arm(arm: str, measure: str) -> str:
    """A measure of one arm, in the run of the study: arm/estimated/psnr_gain_db."""
    return f"arm/{word(arm)}/{measure}"


def study_name(plan: "Plan") -> str:
    """Of the study's run: what was run, at which size, and what the command line changed."""
    return f"{plan.study.name} {plan.preset}{_changed(plan)}"


def part_name(plan: "Plan", part: str) -> str:
    """Of an arm's, a training's or a trial's run: what differs from its neighbours in a list comes first."""
    return f"{part} ({plan.preset}{_changed(plan)})"


def _changed(plan: "Plan") -> str:
    preset = plan.study.presets.get(plan.preset)
    if preset is None:  # put together by a search, whose settings are many
        return ""
    given = [f"{name}={value}" for name, value in plan.settings.items()
             if name not in preset.settings or preset.settings[name] != value]  # fmt: skip
    shown = given if len(given) <= SHOWN_SETTINGS else [*given[:SHOWN_SETTINGS], "…"]
    return "".join(f", {text}" if len(text) <= 40 else f", {text[:39]}…" for text in shown)


def shared_tags(plan: "Plan", *, commit: str, device: str) -> dict[str, str]:
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


def _sources(sources: "tuple[Source, ...]") -> str:
    """As the command line names them: photos, dead-leaves, coco:ROOT, folder:ROOT."""
    words = []
    for source in sources:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(source).__name__).lower()
        root = getattr(source, "root", None)
        words.append(kind if root is None else f"{kind}:{root}")
    return " + ".join(dict.fromkeys(words))


def method_of(arm: Any) -> str:
    """The tag `method` of an arm: what identifies and what restores."""
    if isinstance(arm, Tuning):
        return f"{method_of(arm.method)}, tuned"
    if isinstance(arm, Doubt):
        return f"IN, {arm.answer}"
    if isinstance(arm, Method):
        psf = NETWORKS.get(arm.psf, arm.psf)
        image = NETWORKS.get(arm.image, arm.image)
        return psf if image in ("own", "none") else image if psf == "none" else f"{psf} + {image}"
    return "IN + DN"
