"""The model card: what a model was trained on and for, how good it was measured to be, where it fails, who may use it.

It is the `card` in model.json, for programs, and README.md beside it and the version's description, for people.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deepblur.platform.data.sources import Coco, DeadLeaves, Folder, Photos, Source
from deepblur.platform.system.printable import markdown

if TYPE_CHECKING:
    import pandas as pd

    from deepblur.operators import ZernikeBlur
    from deepblur.platform.data.observations import Degradation

MEASURES = ("psf_snr_db", "mean_psf_snr_db", "psnr_db", "blurry_psnr_db", "ssim", "blurry_ssim")
VALIDATED_TAG = "validated_psnr_db"
"""Tag of a version: PSNR of its last validation, by which the best arm of a study is chosen."""
LONGEST_DESCRIPTION = 5000
"""Characters that the tables of MLflow hold."""
LICENCE = "BSD-3-Clause, code and weights"
DATA_LICENCES = {
    Photos: "photographs that scikit-image, scikit-learn and Matplotlib ship, under the licences that they name",
    DeadLeaves: "generated pictures, no rights of others",
    Coco: "MS COCO: annotations CC BY 4.0, images under their owners' Flickr terms",
    Folder: "images of the person who trained the model, under that person's terms",
}


def make_card(
    origin: Mapping[str, str],
    degradation: "Degradation",
    train: tuple[Source, ...],
    items: "pd.DataFrame",
    *,
    parameters: Mapping[str, str],
    images: int,
    fingerprint: str,
    validated: Mapping[str, float],
) -> dict[str, Any]:
    """The card of a trained arm, JSON values only.

    Args:
        origin: study, preset, arm, seed, commit, run.
        degradation, train: what the networks were trained for, and on.
        items: one row per observation of the study's test grid, with the columns MEASURES, image, noise, eta_waves.
        parameters: everything that the arm was made with, flattened.
        images: how many images it was trained on; fingerprint: of their pixels.
        validated: the last validation of the networks, by measure.
    """
    means, intervals = _measured(items)
    return {
        **origin,
        "trained": trained_for(degradation, " + ".join(map(str, train)), images, fingerprint),
        "parameters": dict(parameters),
        "validated": dict(validated),
        "test_means": means,
        "test_intervals": intervals,
        "test_grid": {
            "images": int(items["image"].nunique()),
            "observations": len(items),
            "noise": sorted(map(str, items["noise"].unique())),
            "eta_waves": sorted(map(float, items["eta_waves"].unique())),
        },
        "limits": limits(degradation.zernike, degradation.eta_waves),
        "licence": LICENCE,
        "data_licences": licences(train),
    }


def trained_for(degradation: "Degradation", data: str, images: int, fingerprint: str) -> dict[str, Any]:
    """The card's entry "trained": which blurs and noise, on what."""
    return {
        "noll": list(degradation.zernike.noll),
        "eta_waves": degradation.eta_waves,
        "gain": list(degradation.noise.gain),
        "read_std": list(degradation.noise.read_std),
        "crop_px": degradation.crop_px,
        "data": data,
        "images": images,
        "fingerprint": fingerprint,
    }


def limits(operator: "ZernikeBlur", eta_waves: float) -> list[str]:
    """What the model cannot do, one sentence each."""
    said = [
        f"It knows blur by the Zernike modes Noll {', '.join(map(str, operator.noll))} up to {eta_waves:g} waves each, "
        f"at a cutoff of {operator.cutoff:g} cycles per pixel; of other blur it gives an answer that is wrong.",
        "It takes a single plane in or near focus, blurred alike everywhere: no depth, no motion, no blur that changes "
        "across the image.",
        "It takes linear intensities in [0, 1]: gamma-corrected, saturated or clipped images break its assumptions.",
        "It can invent detail, most of all in noise that is stronger than it was trained for: check the residual, and "
        "measure nothing on the restored image that cannot be measured on the recorded one.",
    ]
    if any(operator.even):
        said.insert(
            1,
            "Two aberrations that differ in the sign of all even modes (defocus, astigmatism, spherical) blur alike: "
            "of the two it names one, so the PSF can be right where the signs of these coefficients are not.",
        )
    return said


def render(card: Mapping[str, Any], title: str = "deepblur model") -> str:
    """The card as Markdown; what it lacks is left out, for cards of earlier models have fewer entries."""
    try:
        return _render(card, title)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):  # anybody may have written it
        return f"# {title}\n\nThe card in model.json is not as deepblur writes it, so nothing of it is shown.\n"


def _render(card: Mapping[str, Any], title: str) -> str:
    parts = [
        f"# {title}",
        "Blind deblurring: from one blurry image, the aberrations that blurred it and a sharper image.",
    ]
    trained = card.get("trained", {})
    if trained:
        modes = ", ".join(map(str, trained.get("noll", ())))
        parts.append("## Trained for")
        parts.append(
            _table(
                {
                    "Zernike modes (Noll)": modes,
                    "largest coefficient η": _unit(trained.get("eta_waves"), "waves"),
                    "noise gain": _range(trained.get("gain")),
                    "read noise": _range(trained.get("read_std"), "of the full scale"),
                    "crops": _unit(trained.get("crop_px"), "pixels"),
                    "images": f"{trained.get('images', '?')}, {trained.get('data', '?')}",
                    "fingerprint of the pixels": trained.get("fingerprint"),
                }
            )
        )
    if reader := card.get("reader"):
        rows = {
            "Zernike modes (Noll)": ", ".join(map(str, reader["noll"])),
            "cutoff": _range(reader["cutoffs"], "cycles per pixel"),
            "largest coefficient η": _unit(reader["eta_waves"], "waves"),
            "images": " + ".join(map(str, reader["images"])),
            "fingerprints of the pixels": ", ".join(reader["fingerprints"]),
            "blurry images drawn": reader["draws"],
            "epochs": f"{reader['epochs']}{', from the reader before' if reader['went_on'] else ''}",
            "commit": reader["commit"],
        }
        parts += ["## The reader of spectra was trained for", _table(rows)]
    if found := card.get("found_psfs"):
        rows = {
            "images": " + ".join(map(str, found["images"])),
            "fingerprints of the pixels": ", ".join(found["fingerprints"]),
            "PSFs looked for": found["psfs"],
            "given the true PSF": f"{100 * found['true']:.0f} % of the draws",
            "steps": found["steps"],
            "commit": found["commit"],
        }
        parts += ["## The network then went on with PSFs as they are found", _table(rows)]
    if means := card.get("test_means"):
        grid = card.get("test_grid", {})
        about = f" on {grid['observations']} observations of {grid['images']} images" if grid else ""
        parts += [f"## Measured{about}", _quality(means, card.get("test_intervals", {}))]
    if card.get("limits"):
        parts += ["## Limits", "\n".join(f"- {sentence}" for sentence in card["limits"])]
    lineage = {name: card.get(name) for name in ("study", "preset", "arm", "seed", "commit", "run")}
    if any(lineage.values()):
        parts += ["## Made by", _table(lineage)]
    if card.get("licence"):
        data = "; ".join(card.get("data_licences", ()))
        parts += ["## Licence", f"{card['licence']}." + (f" Trained on {data}." if data else "")]
    return "\n\n".join(parts) + "\n"


def _measured(items: "pd.DataFrame") -> tuple[dict[str, float], dict[str, list[float]]]:
    import numpy as np

    from deepblur.platform.evaluation.paired import mean_interval

    means, intervals = {}, {}
    for name in MEASURES:
        found = mean_interval(items[name], items["image"], np.random.default_rng(0))
        means[name] = found.mean
        if found.n_clusters > 1:
            intervals[name] = [found.low, found.high]
    gain = items["psnr_db"] - items["blurry_psnr_db"]
    found = mean_interval(gain, items["image"], np.random.default_rng(0))
    means["psnr_gain_db"] = found.mean
    if found.n_clusters > 1:
        intervals["psnr_gain_db"] = [found.low, found.high]
    return means, intervals


_NAMES = {
    "psnr_gain_db": "PSNR gain over the blurry image, dB",
    "psnr_db": "PSNR, dB",
    "blurry_psnr_db": "PSNR of the blurry image, dB",
    "ssim": "SSIM",
    "blurry_ssim": "SSIM of the blurry image",
    "psf_snr_db": "SNR of the PSF, dB",
    "mean_psf_snr_db": "SNR of the mean PSF, dB",
}


def _quality(means: Mapping[str, float], intervals: Mapping[str, Any]) -> str:
    rows = ["| measure | mean | 95 % interval |", "|---|---|---|"]
    for name, text in _NAMES.items():
        if name in means:
            interval = intervals.get(name)
            rows.append(f"| {text} | {means[name]:.3f} | {_between(*interval) if interval else ''} |")
    return "\n".join(rows)


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {markdown(str(value))} |" for name, value in values.items() if value not in (None, "")]
    return "\n".join(["| | |", "|---|---|", *rows])


def _range(values: Any, unit: str = "") -> str | None:
    return None if values is None else f"{values[0]:g} to {values[1]:g} {unit}".strip()


def _between(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _unit(value: Any, unit: str) -> str | None:
    return None if value is None else f"{value:g} {unit}"


def licences(sources: tuple[Source, ...]) -> list[str]:
    """Under which terms the images of the sources are."""
    return list(dict.fromkeys(DATA_LICENCES[type(source)] for source in sources))
