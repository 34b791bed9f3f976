"""What runs, tags and metrics are called in MLflow: the one place; docs/dashboards.md has the table for people.

MLflow's UI puts metrics into one section of charts that share what stands before their last slash, so what belongs on
one screen shares it, and what two runs must be compared by has the same name in both. No name needs quoting in a search
string beyond the backticks that slashes demand.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from deepblur.platform.training.specification import NETWORKS

NOTE_TAG = "mlflow.note.content"
"""What the UI shows as a run's or an experiment's description, in Markdown."""
HELD_OUT = ("val", "grid")
"""First words of the columns of a curve that were measured on held-out draws; the others are of the training itself."""
GROUPS = {"noise": "noise", "eta_waves": "eta"}
"""Column of the items that a mean is taken over one value of → the word for it."""
COSTS = ("latency_ms", "gmacs", "parameters", "training_s")
"""Measures of a network that say what it costs, not how well it does."""


def file_name(text: str) -> str:
    """As a file or folder may be called on any disk: the text itself, or what is left of it and a hash of it."""
    plain = re.sub(r"[^\w.,+=() -]+", "-", text, flags=re.ASCII).strip(" .-")[:80]
    return text if text and plain == text else f"{plain}-{_hash(text)}".lstrip("-")


def searchable(value: str) -> str:
    """A tag's value as a search string may quote it: itself, or its hash where it holds what would end the string."""
    return value if value.isprintable() and not set("'\"`\\;") & set(value) else _hash(value)


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
