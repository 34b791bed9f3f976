"""What a tuning study hands over: the tuned settings beside the defaults, method by method and noise by noise."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from deepblur.platform.evaluation.levels import NoiseLevel
from deepblur.platform.experiment.result import Result
from deepblur.platform.report.answer import Answer, answer, answers_text
from deepblur.platform.tracking.names import of_arm, subset

FILE = "tuned.json"
DRAWS = "gains_db"
"""Key of a trial: (position of the image, gain) of every draw."""


@dataclass(frozen=True)
class Tuned:
    """The outcome of one search."""

    method: str
    noise: NoiseLevel
    default: dict[str, Any]
    """Trial 0: settings, psnr_gain_db, psf_snr_db, failed, seconds_per_image."""
    best: dict[str, Any]
    trials: list[dict[str, Any]]
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class TuningResult(Result):
    """A finished tuning study."""

    searches: tuple[Tuned, ...]


def as_json(result: TuningResult) -> str:
    """The file that a comparison reads, with the default's score beside the tuned one."""
    methods: dict[str, list[dict[str, Any]]] = {}
    for search in result.searches:
        default, tuned = ({k: v for k, v in one.items() if k != DRAWS} for one in (search.default, search.best))
        entry = {"noise": asdict(search.noise), "default": default, "tuned": tuned}
        methods.setdefault(search.method, []).append(entry | {"trials": len(search.trials)})
    head = {"study": result.name, "preset": result.preset}
    facts = {name: text for name, text in result.facts.items() if name.startswith(("data", "git", "versions"))}
    return json.dumps({**head, "facts": facts, "methods": methods}, indent=1) + "\n"


def tuning_table(result: TuningResult) -> pd.DataFrame:
    """One row per search: method, noise, trials, gain of the defaults and of the best trial in dB, settings as text."""
    return pd.DataFrame(
        {
            "method": search.method,
            "noise": search.noise.name,
            "trials": len(search.trials),
            "default_gain_db": search.default["psnr_gain_db"],
            "tuned_gain_db": search.best["psnr_gain_db"],
            "failed": int(search.best["failed"]),
            "seconds": search.best["seconds_per_image"],
            "settings": ", ".join(f"{name}={_short(value)}" for name, value in search.best["settings"].items()),
        }
        for search in result.searches
    )


def contrast_answers(result: TuningResult) -> list[Answer]:
    """The contrast in the gain of the tuned methods, over all noise levels."""
    rows = [
        {"arm": s.method, "seed": s.seed, "noise": s.noise.name, "image": image, "draw": draw, "gain": gain}
        for s in result.searches for draw, (image, gain) in enumerate(s.best.get(DRAWS, ()))
    ]  # fmt: skip
    if result.contrast is None or not rows:
        return []
    words = {"label": "Tuned PSNR gain on the validation images", "unit": "dB"}
    one = answer(pd.DataFrame(rows), result.contrast, "gain", draw=("noise", "image", "draw"), cluster="image", **words)
    return [] if one is None else [one]


def contrast_sentences(result: TuningResult) -> list[str]:
    """The question that the study asks, with its answer."""
    if result.contrast is None:
        return []
    return answers_text(result.contrast, contrast_answers(result), [search.method for search in result.searches])


def tuning_metrics(result: TuningResult) -> dict[str, float]:
    contrast = {key: value for one in contrast_answers(result) for key, value in one.metrics("gain_db").items()}
    return contrast | {
        f"{subset(of_arm(row.method, 'val'), 'noise', row.noise)}/{name}": float(getattr(row, name))
        for row in tuning_table(result).itertuples()
        for name in ("default_gain_db", "tuned_gain_db")
    }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
