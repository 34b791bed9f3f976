"""What a calibration looks like: eigen-PSFs over spatial maps, the beads that were kept, PSFs all over the field."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepblur.platform.optics.beads import REASONS, Beads
from deepblur.platform.optics.field_maps import pixel_places
from deepblur.platform.optics.optics_file import Optics
from deepblur.platform.report.style import styled
from deepblur.platform.system.printable import printable

GRID = 7
"""PSFs in a row of the field's picture."""
_MARKS = {"truncated": "#8c959f", "saturated": "#b42318", "dim": "#54aeff", "overlapping": "#bf8700",
          "unlike": "#8250df"}  # fmt: skip


@styled
def optics_picture(optics: Optics) -> Figure:
    """Eigen-PSFs on top, spatial maps below, explained energies at the right, as in the paper's Figure 2."""
    psfs, maps = optics.shape
    columns = max(psfs, maps, 3)
    figure = Figure(figsize=(1.7 * columns + 3.2, 4.2), dpi=110)
    panels = figure.subplots(2, columns + 1, width_ratios=[1] * columns + [1.6], squeeze=False)
    for row, images, name, explained in (
        (0, optics.eigen_psfs, "eigen-PSF", optics.explained_psfs),
        (1, optics.space_maps, "map", optics.explained_maps),
    ):
        for k in range(columns):
            if k < len(images):
                _signed(panels[row, k], images[k].numpy(), f"{name} {k + 1}")
            else:
                panels[row, k].axis("off")
        _explained(panels[row, columns], explained.numpy(), len(images))
    return figure


@styled
def beads_picture(name: str, beads: Beads) -> Figure:
    """The brightest of all planes; circles are beads that are kept, crosses those that are not, by reason."""
    figure = Figure(figsize=(7.0, 7.4), dpi=110)
    axes = figure.subplots()
    low, high = np.percentile(beads.projection, [1, 99.8])
    axes.imshow(beads.projection, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
    if len(beads):
        axes.plot(beads.centres[:, 1], beads.centres[:, 0], "o", ms=9, mfc="none", mec="#2da44e",
                  label=f"{len(beads)} kept")  # fmt: skip
    for reason in REASONS:
        lost = beads.rejected[reason]
        if len(lost):
            axes.plot(lost[:, 1], lost[:, 0], "x", ms=6, color=_MARKS[reason], label=f"{len(lost)} {reason}")
    axes.set(title=printable(name), xticks=[], yticks=[])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False, fontsize=9)
    return figure


@styled
def field_picture(optics: Optics, gamma: torch.Tensor, title: str) -> Figure:
    """The local PSFs of one γ (K,) at 7 × 7 places of the field."""
    at = pixel_places(GRID)
    psfs = optics.local_psfs(gamma[None], torch.cartesian_prod(at, at))[0]
    figure = Figure(figsize=(6.4, 6.8), dpi=110)
    draw_psf_grid(figure.subplots(), psfs.numpy(), title)
    return figure


def draw_psf_grid(axes: Axes, psfs: np.ndarray, title: str) -> None:
    """PSFs (n², h, w) of an n × n grid of places as one mosaic; colours follow the square root, negative is black."""
    side = round(len(psfs) ** 0.5)
    h, w = psfs.shape[-2:]
    mosaic = np.ones((side * (h + 1) - 1, side * (w + 1) - 1)) * np.nan
    for k, psf in enumerate(psfs):
        r, c = divmod(k, side)
        mosaic[r * (h + 1) : r * (h + 1) + h, c * (w + 1) : c * (w + 1) + w] = np.sqrt(psf.clip(0))
    axes.imshow(mosaic, cmap="inferno", interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])


def _signed(axes: Axes, image: np.ndarray, name: str) -> None:
    most = float(np.abs(image).max()) or 1.0
    axes.imshow(image, cmap="RdBu_r", vmin=-most, vmax=most)
    axes.set(title=name, xticks=[], yticks=[])


def _explained(axes: Axes, explained: np.ndarray, chosen: int) -> None:
    axes.semilogy(np.arange(1, len(explained) + 1), np.clip(1 - explained, 1e-5, None), ".-", color="#0969da")
    axes.axvline(chosen, color="#cf222e", lw=1)
    axes.set(title="energy not explained", xlabel="dimensions")
