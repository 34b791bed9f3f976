"""The pictures of a study: as files beside its report, and in the image grid of MLflow."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepblur.platform.arms.trained.result import Picture, StudyResult
from deepblur.platform.report.numbers import cut
from deepblur.platform.report.style import DPI, WIDTH_IN, as_png, png, styled
from deepblur.platform.tracking.names import file_name

SHOWN = 4
"""Draws of a study in MLflow's image grid; the report shows them all."""


def write_pictures(result: StudyResult, folder: Path) -> None:
    """One strip a picture: blurry, restored by each arm, sharp; then the true and the estimated PSF."""
    folder.mkdir(exist_ok=True)
    taken: set[str] = set()
    for picture in result.pictures:
        images = [picture.blurry, *picture.restored.values(), picture.sharp]
        name = file_name(re.sub(r"[ ·]+", "-", picture.title.replace("η", "eta")))
        while name in taken:  # a.png and a.tif
            name += "_"
        taken.add(name)
        (folder / f"{name}.png").write_bytes(png(np.concatenate(images, axis=1), side_px=1200))
        psfs = np.concatenate([picture.psf_true, picture.psf_estimated], axis=1)
        (folder / f"{name}-psf.png").write_bytes(png((psfs / psfs.max()).clip(0) ** 0.5))


@styled
def overview(result: StudyResult) -> bytes | None:
    """Before, after, truth and both PSFs, a row for each image, as PNG; None where no picture was kept.

    Of each image the middle one of its pictures, which is neither of the weakest nor of the strongest noise.
    """
    by_image: dict[str, list[Picture]] = {}
    for picture in result.pictures:
        by_image.setdefault(picture.title.partition(" · ")[0], []).append(picture)
    if not by_image:
        return None
    figure = Figure(figsize=(WIDTH_IN, 0.2 + WIDTH_IN / 5 * 1.17 * len(by_image)), dpi=DPI)
    grid = figure.subplots(len(by_image), 5, squeeze=False)
    for i, some in enumerate(by_image.values()):
        picture = some[len(some) // 2]
        arm = result.contrast[0] if result.contrast[0] in picture.restored else next(iter(picture.restored))
        psf = picture.psf_of(arm)
        shown = {
            f"{cut(picture.title, 34)}\nblurry, {picture.captions['blurry']}": picture.blurry,
            f"restored ({cut(arm, 12)}), {picture.captions[arm]}": picture.restored[arm],
            "sharp": picture.sharp,
            f"PSF found, {picture.captions['psf']}": psf,
            "PSF, true": picture.psf_true,
        }
        top = max(picture.psf_true.max(), psf.max())
        for axes, (title, image) in zip(grid[i], shown.items(), strict=True):
            is_psf = title.startswith("PSF")
            axes.imshow((image / top).clip(0) ** 0.5 if is_psf else image, vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(title, fontsize=6.5)
            axes.set_axis_off()
    return as_png(figure)


def pictures_by_arm(pictures: Sequence[Any]) -> dict[str, dict[str, list[np.ndarray]]]:
    """What every arm was given and what it made of it, the first few draws."""
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for picture in pictures[:SHOWN]:
        for arm in picture.restored:
            psf = picture.psf_of(arm)
            images = {"blurry": picture.blurry, "restored": picture.restored[arm], "sharp": picture.sharp}
            for name, image in {**images, **_shown_psfs(picture.psf_true, psf)}.items():
                if image is not None:
                    found.setdefault(arm, {}).setdefault(name, []).append(image)
    return found


def _shown_psfs(true: np.ndarray | None, estimated: np.ndarray | None) -> dict[str, np.ndarray]:
    """PSFs on one scale, as the root of their values, large enough to be looked at."""
    psfs = {name: psf for name, psf in {"psf_true": true, "psf_estimated": estimated}.items() if psf is not None}
    top = max((float(psf.max()) for psf in psfs.values()), default=1.0)
    return {name: np.kron((psf / top).clip(0) ** 0.5, np.ones((4, 4))) for name, psf in psfs.items()}


def place_of(prefix: str, items: pd.DataFrame) -> tuple[str, str, str]:
    """Image, noise level and η of a picture's name, IMAGE|NOISE|η, whatever bars the names of both have."""
    both, _, eta = prefix.rpartition("|")
    rows = items.drop_duplicates(["image", "noise"])
    return next((row.image, row.noise, eta) for row in rows.itertuples() if f"{row.image}|{row.noise}" == both)
