"""Strips of pictures: what every method made of the same observation; each takes the result and returns a Figure.

Images are shown on [0, 1] without further gamma. A PSF lies in the corner of its image as
(h / max h)^0.5, each on its own scale.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepblur.platform.arms.methods.result import MethodPicture, MethodsResult
from deepblur.platform.report.style import INK, WIDTH_IN, styled

COLUMNS = 6
_GAMMA = 0.5
_INSET = 0.3  # share of the image's side
_TITLE_CHARACTERS = 22


@styled
def examples(result: MethodsResult, *, at_most: int = 3) -> Figure | None:
    """Blurry, restored by each method, sharp, with PSFs (the paper's Figs. 3 and 6 to 8); simulated draws only."""
    pictures = [picture for picture in result.pictures if picture.sharp is not None][:at_most]
    return strips(pictures, result.arms) if pictures else None


@styled
def real_images(result: MethodsResult, *, at_most: int = 3) -> Figure | None:
    """Real images side by side (the paper's Fig. 9): restorations, and below them what the re-blurred restoration
    leaves of the data, on one scale per image."""
    pictures = [picture for picture in result.pictures if picture.sharp is None][:at_most]
    blocks = []
    for picture in pictures:
        blocks.append((picture.title, _panels(picture, result.arms)))
        residuals = {arm: picture.residuals.get(arm) for arm in result.arms}
        known = {arm: residual for arm, residual in residuals.items() if residual is not None}
        if known:
            scale = 3 * float(np.median([residual.std() for residual in known.values()])) or 1.0
            panels = [
                _Panel(arm, residual / (2 * scale) + 0.5, None, f"σ = {residual.std():.3f}")
                for arm, residual in known.items()
            ]
            blocks.append((f"re-blur residuals, black to white: ±{scale:.2g}", panels))
    return _strips(blocks) if blocks else None


@styled
def strips(pictures: Sequence[MethodPicture], arms: list[str]) -> Figure:
    """One strip for each picture: blurry, restored by each arm, sharp."""
    return _strips([(picture.title, _panels(picture, arms)) for picture in pictures])


class _Panel:
    """One picture of a strip: its label, image, PSF and caption, each of the last three possibly absent."""

    def __init__(self, label: str, image: np.ndarray | None, psf: np.ndarray | None, note: str) -> None:
        self.label, self.image, self.psf, self.note = label, image, psf, note


def _panels(picture: MethodPicture, arms: list[str]) -> list[_Panel]:
    """Blurry first, then every arm that was tried on this draw, the truth last."""
    notes = picture.captions
    panels = [_Panel("blurry", picture.blurry, None, notes.get("blurry", ""))]
    for arm in arms:
        image, psf = picture.restored.get(arm), picture.psfs.get(arm)
        same_as_blurry = image is not None and psf is None and np.array_equal(image, picture.blurry)
        if arm in picture.restored and not same_as_blurry:
            panels.append(_Panel(arm, image, psf, notes.get(arm, "no result" if image is None and psf is None else "")))
    if picture.sharp is not None:
        panels.append(_Panel("sharp", picture.sharp, picture.psf_true, notes.get("sharp", "")))
    return panels


def _strips(blocks: list[tuple[str, list[_Panel]]]) -> Figure:
    """Blocks below each other, each a grid of panels under a title."""
    columns = min(COLUMNS, max(len(panels) for _, panels in blocks))
    rows = [-(-len(panels) // columns) for _, panels in blocks]
    shape = next(panel.image.shape for _, panels in blocks for panel in panels if panel.image is not None)
    side = WIDTH_IN / max(columns, 3)
    heights = [0.25 + n * (side * shape[0] / shape[1] + 0.34) for n in rows]
    figure = Figure(figsize=(side * columns, sum(heights)))
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, n, (title, panels) in zip(parts, rows, blocks, strict=True):
        part.suptitle(title, x=0.01, ha="left", fontweight="bold")
        grid = part.subplots(n, columns, squeeze=False)
        for i, axes in enumerate(grid.ravel()):
            axes.set_axis_off()
            if i < len(panels):
                _show(axes, panels[i], shape)
    return figure


def _show(axes: Axes, panel: _Panel, shape: tuple[int, ...]) -> None:
    label = textwrap.shorten(panel.label, _TITLE_CHARACTERS, placeholder="…") or panel.label[:_TITLE_CHARACTERS]
    axes.set_title(f"{label}\n{panel.note}" if panel.note else label, fontsize=7, pad=2)
    axes.imshow(np.ones(shape) if panel.image is None else np.clip(panel.image, 0, 1), vmin=0, vmax=1)
    if panel.image is None and panel.psf is None:
        axes.text(0.5, 0.5, "—", fontsize=14, transform=axes.transAxes, ha="center", va="center")
    if panel.psf is not None:
        whole = (0.15, 0.15, 0.7, 0.7)  # a method that only identifies shows its PSF in the image's place
        inset = axes.inset_axes((0.0, 0.0, _INSET, _INSET) if panel.image is not None else whole)
        top = max(float(panel.psf.max()), np.finfo(np.float32).tiny)
        inset.imshow(np.clip(panel.psf / top, 0, 1) ** _GAMMA, vmin=0, vmax=1, interpolation="nearest")
        inset.set(xticks=[], yticks=[], anchor="SW" if panel.image is not None else "C")
        inset.grid(visible=False)
        for spine in inset.spines.values():
            spine.set(visible=True, color="white" if panel.image is not None else INK, linewidth=0.8)
