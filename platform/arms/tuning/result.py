"""What a tuning study hands over: the tuned settings beside the defaults, method by method and noise by noise."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepblur.platform.evaluation.levels import NoiseLevel
from deepblur.platform.experiment.result import Result
from deepblur.platform.report.answer import Answer, answer, answers_text
from deepblur.platform.report.markup import (
    cost_section,
    document,
    figure,
    headings,
    listed,
    numbers,
    pairs,
    table,
    words,
)
from deepblur.platform.report.style import WIDTH_IN, legend, looks, rendered, styled
from deepblur.platform.system.whole_files import replace_file
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


def tuning_text(result: TuningResult) -> str:
    """The table as plain text: mean PSNR gain over the blurry input on validation images, defaults → tuned."""
    lines = [f"{result.title} (preset {result.preset}); mean PSNR gain on validation images, dB", ""]
    lines.append(f"{'method':22} {'noise':8} {'defaults':>9} {'tuned':>9} {'s/image':>8}  settings")
    for row in tuning_table(result).itertuples():
        lines.append(
            f"{row.method:22} {row.noise:8} {row.default_gain_db:+9.2f} {row.tuned_gain_db:+9.2f} {row.seconds:8.2f}  "
            f"{row.settings}"
        )
    lines += ["", *contrast_sentences(result)]
    return "\n".join(lines)


def write_tuning(result: TuningResult, folder: Path) -> Path:
    """report.html, tuned.json, tuning.csv, trials.csv and the convergence figure; the path of tuned.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tuning_table(result).to_csv(folder / "tuning.csv", index=False)
    trials = [
        {"method": s.method, "noise": s.noise.name, "trial": i, **t["settings"]}
        | {name: value for name, value in t.items() if name not in ("settings", DRAWS)}
        for s in result.searches
        for i, t in enumerate(s.trials)
    ]
    pd.DataFrame(trials).to_csv(folder / "trials.csv", index=False)
    (folder / "figures").mkdir(exist_ok=True)
    pictures = rendered(convergence(result))
    for kind, content in pictures.items():
        replace_file(folder / "figures" / f"convergence.{kind}", content)
    replace_file(folder / "report.html", _page(result, pictures["svg"].decode()).encode())
    return replace_file(folder / FILE, as_json(result).encode())


@styled
def convergence(result: TuningResult) -> Figure:
    """The best gain so far against the trial, one panel per noise level, one line per method."""
    noises = list(dict.fromkeys(search.noise.name for search in result.searches))
    methods = list(dict.fromkeys(search.method for search in result.searches))
    drawing = Figure(figsize=(WIDTH_IN, 2.6))
    panels = drawing.subplots(1, len(noises), squeeze=False)[0]
    style = looks(methods, methods[0])
    for axes, noise in zip(panels, noises, strict=True):
        for search in result.searches:
            if search.noise.name == noise:
                best = np.maximum.accumulate([trial["psnr_gain_db"] for trial in search.trials])
                axes.plot(range(len(best)), best, label=search.method, **style[search.method])
        axes.set(title=f"noise {noise}", xlabel="trial (0: defaults)")
    panels[0].set_ylabel("best PSNR gain so far (dB)")
    legend(drawing, panels, methods)
    return drawing


def _page(result: TuningResult, svg: str) -> str:
    rows = [
        (
            words(row.method) + words(row.noise) + numbers(str(row.trials), f"{row.default_gain_db:+.2f}",
            f"{row.tuned_gain_db:+.2f}", f"{row.seconds:.2f}") + words(row.settings, wrap=True),
            "",
        )
        for row in tuning_table(result).itertuples()
    ]  # fmt: skip
    head = headings("method", "noise", numeric=False)
    head += headings("trials", "defaults, dB", "tuned, dB", "s per image") + headings("tuned settings", numeric=False)
    caption = "Mean PSNR gain over the blurry input on validation images; trial 0 is the published defaults."
    return document(
        result.title,
        f"preset {result.preset}",
        table(head, rows, caption),
        {
            "The contrast": listed(said) if (said := contrast_sentences(result)) else "",
            "Convergence": figure(svg[svg.index("<svg") :], "Best gain so far of each search."),
            "What it cost": cost_section(result.cost),
            "Provenance": pairs({"command": result.command, **result.facts}),
        },
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
