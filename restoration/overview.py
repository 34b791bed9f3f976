"""One picture that tells a person what was done to an image: before, after, the PSF, the wavefront, and the verdict."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from deepblur.platform.optics.pictures import draw_psf_grid
from deepblur.platform.report.style import INK, styled
from deepblur.platform.system.printable import printable
from deepblur.restoration.blurs import JudgedBlur, wavefront
from deepblur.restoration.channels import residual_image
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.report import Report

DETAIL_PX = 128
"""Side of the part that is shown enlarged."""
SHOWN_PX = 700
"""Larger images are shown by every n-th pixel."""
COLOURS = {"good": "#1a7f37", "doubtful": "#9a6700", "poor": "#b42318"}


@styled
def overview(title: str, before: np.ndarray, after: np.ndarray, report: Report) -> Figure:
    """The figure.

    Args:
        title: the name of the image.
        before, after: (C, H, W) in units of the scale, a frame of the image and what became of it.
    """
    blur = report.judged[0]
    figure = Figure(figsize=(11.0, 6.0), dpi=110)
    panels = figure.subplots(2, 4, width_ratios=(1, 1, 1, 0.9))
    region = None if report.options.get("crop") else report.options.get("region")
    low, high = np.percentile(before, [0.2, 99.8])
    colour = before.shape[0] == 3 and report.axes.endswith("S")
    row, column, side = _detail(before)
    for axes, image, name in ((panels[0, 0], before, "image"), (panels[0, 1], after, "restored")):
        _image(axes, image, low, high, colour, name)
        axes.add_patch(_frame(row, column, side, image.shape[1:]))
    if region is not None:
        _outline(panels[0, 0], *region)
    window = (slice(None), slice(row, row + side), slice(column, column + side))
    _image(panels[1, 0], before[window], low, high, colour, "image, enlarged")
    _image(panels[1, 1], after[window], low, high, colour, "restored, enlarged")
    _psf(panels[0, 2], blur)
    _residual(panels[1, 2], before, after, blur, colour)
    _gamma(panels[0, 3], blur)
    _wavefront(panels[1, 3], blur)
    words = f"{report.verdict}: {report.sentence}"
    head = " · ".join(part for part in (printable(title), report.method, report.restorer, report.cutoff) if part)
    figure.suptitle(f"{head}\n" + "\n".join(textwrap.wrap(words, 150)),
                    color=COLOURS[report.verdict], fontsize=9)  # fmt: skip
    return figure


@styled
def psf_picture(report: Report) -> Figure:
    """PSF, wavefront and coefficients of the first blur, larger than in the overview; its PSFs where it varies."""
    blur = report.judged[0]
    if len(blur.places) > 1:
        return _psf_field(blur)
    head = " · ".join(part for part in (report.method, report.cutoff, blur.verdict) if part)
    return _psf_panels(blur, head, COLOURS[blur.verdict])


@styled
def computed_psf_picture(title: str, psf: Tensor, noll: tuple[int, ...], gamma: Tensor) -> Figure:
    """The same of a PSF (h, w) that nobody identified: modes `noll` with the coefficients gamma (K,), in waves."""
    found = IdentifiedBlur(psf, gamma, calibrated=True, given=True)
    blur = JudgedBlur("", "", found, noise_std=0.0, residual=None, flags=(), verdict="", sentence="", noll=noll)
    return _psf_panels(blur, printable(title), INK)


@styled
def findings_picture(blur: JudgedBlur) -> Figure:
    """PSF, wavefront and coefficients of one blur, one below the other, for a narrow window."""
    figure = Figure(figsize=(3.0, 7.0), dpi=100)
    parts = np.asarray(figure.subfigures(3, 1))
    for part, draw in zip(parts, (_psf, _wavefront, _gamma), strict=True):
        draw(part.subplots(), blur)  # figures of their own: axes in one would all be as narrow as those with labels
    return figure


def _psf_panels(blur: JudgedBlur, head: str, colour: str) -> Figure:
    figure = Figure(figsize=(9.0, 3.2), dpi=110)
    panels = figure.subplots(1, 3)
    _psf(panels[0], blur)
    _wavefront(panels[1], blur)
    _gamma(panels[2], blur)
    figure.suptitle(head, color=colour, fontsize=9)
    return figure


@styled
def series_picture(title: str, report: Report, interval_s: float | None) -> Figure:
    """The coefficients of every frame of a series, a line per mode, of the first channel.

    Args:
        interval_s: between two frames; None counts frames.
    """
    blurs = [blur for blur in report.blurs if blur.channel == report.blurs[0].channel and blur.found.gamma is not None]
    times = np.arange(len(blurs)) * (interval_s or 1)
    figure = Figure(figsize=(8.0, 4.0), dpi=110)
    axes = figure.subplots()
    waves = np.stack([blur.found.gamma.numpy() for blur in blurs if blur.found.gamma is not None])
    for k, (noll, name) in enumerate(zip(blurs[0].noll, blurs[0].names, strict=True)):
        (line,) = axes.plot(times, waves[:, k], marker=".", label=f"{name} ({noll})")
        stds = [blur.found.gamma_std for blur in blurs]
        if all(std is not None for std in stds):
            std = np.array([float(std[k]) for std in stds if std is not None])
            axes.fill_between(times, waves[:, k] - std, waves[:, k] + std, color=line.get_color(), alpha=0.15, lw=0)
    axes.axhline(0, color="#1a1a1a", linewidth=0.6)
    axes.set_xlabel("time in s" if interval_s else "frame")
    axes.set_ylabel("coefficient in waves")
    axes.set_title(" · ".join(part for part in (printable(title), report.cutoff) if part))
    figure.legend(loc="outside right upper")
    return figure


def _psf_field(blur: JudgedBlur) -> Figure:
    rows = sorted({place.row for place in blur.places})
    columns = sorted({place.column for place in blur.places})
    figure = Figure(figsize=(1.3 * len(columns) + 0.4, 1.3 * len(rows) + 0.6), dpi=110)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    top = max(float(place.found.psf.max()) for place in blur.places)
    for place in blur.places:
        axes = panels[rows.index(place.row), columns.index(place.column)]
        axes.imshow((place.found.psf.numpy().clip(0) / top) ** 0.5, vmin=0, vmax=1)
        axes.set_title(f"{place.row}, {place.column}", fontsize=6)
        _bare(axes)
    figure.suptitle("PSF at (row, column)")
    return figure


def _image(axes: Axes, image: np.ndarray, low: float, high: float, colour: bool, name: str) -> None:
    step = max(1, max(image.shape[1:]) // SHOWN_PX)
    shown = np.clip((_flat(image, colour)[::step, ::step] - low) / max(high - low, 1e-9), 0, 1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, extent=(0, image.shape[2], image.shape[1], 0))
    axes.set_title(name)
    _bare(axes)


def _flat(image: np.ndarray, colour: bool) -> np.ndarray:
    """(H, W), or (H, W, 3) where it has colours."""
    return np.moveaxis(image, 0, -1) if colour else image.mean(0)


def _frame(row: int, column: int, side: int, size: tuple[int, ...]) -> Rectangle:
    return Rectangle((column, row), min(side, size[1]), min(side, size[0]), fill=False, color="#f2c14e", linewidth=1)


def _outline(axes: Axes, row: int, column: int, height: int, width: int) -> None:
    """Where the blur was identified."""
    axes.add_patch(Rectangle((column, row), width, height, fill=False, color="#1b83c4", linewidth=1, linestyle="--"))


def _detail(image: np.ndarray) -> tuple[int, int, int]:
    """(row, column, side) of the part with the most detail: where pixels a few apart differ most."""
    grey = image.mean(0)
    side = min(DETAIL_PX, *grey.shape)
    change = np.abs(grey[3:, 3:] - grey[:-3, :-3])
    total = np.pad(change.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (max(1, n - side) for n in change.shape)
    rows, columns = np.arange(0, height, 8), np.arange(0, width, 8)
    span = side - 3
    below, right = np.minimum(rows + span, change.shape[0]), np.minimum(columns + span, change.shape[1])
    sums = total[np.ix_(below, right)] - total[np.ix_(rows, right)] - total[np.ix_(below, columns)]
    sums += total[np.ix_(rows, columns)]
    best = np.unravel_index(np.argmax(sums), sums.shape)
    return int(rows[best[0]]), int(columns[best[1]]), side


def _psf(axes: Axes, blur: JudgedBlur) -> None:
    psf = blur.found.psf.numpy()
    axes.imshow((psf.clip(0) / psf.max()) ** 0.5, cmap="inferno", vmin=0, vmax=1)
    name = "PSF" if blur.found.given else "estimated PSF"
    if len(blur.places) > 1:
        name = "mean PSF" if blur.found.gamma is None else "PSF in the middle"
    axes.set_title(f"{name}, {psf.shape[0]} px, square root")
    _bare(axes)


def _residual(axes: Axes, before: np.ndarray, after: np.ndarray, blur: JudgedBlur, colour: bool) -> None:
    residual = residual_image(before, after, blur.found.psf, colour)
    step = max(1, max(residual.shape) // SHOWN_PX)
    bound = max(3 * float(np.std(residual)), 1e-9)
    axes.imshow(residual[::step, ::step], cmap="gray", vmin=-bound, vmax=bound)
    name = "image − blurred restoration" if len(blur.places) < 2 else "the same with this one PSF"
    axes.set_title(f"{name}, ±{bound:.2g}")
    _bare(axes)


def _gamma(axes: Axes, blur: JudgedBlur) -> None:
    gamma, std = blur.found.gamma, blur.found.gamma_std
    if gamma is not None and blur.places:
        draw_psf_grid(axes, np.stack([place.found.psf.numpy() for place in blur.places]), "PSF over the field")
        return
    if gamma is None or not blur.noll:
        axes.axis("off")
        words = "nothing was\nidentified" if blur.found.given else "this method knows\nno aberrations"
        axes.text(0.5, 0.5, words, ha="center", va="center")
        return
    places = np.arange(len(gamma))
    axes.barh(places, gamma.numpy(), xerr=None if std is None else std.numpy(), color="#1b83c4", height=0.6)
    axes.set_yticks(places, [f"{name} ({noll})" for name, noll in zip(blur.names, blur.noll, strict=True)], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(0, color="#1a1a1a", linewidth=0.6)
    axes.set_title("aberrations in waves" + ("" if std is None or blur.found.calibrated else ", spread"))


def _wavefront(axes: Axes, blur: JudgedBlur) -> None:
    if blur.found.gamma is None or not blur.noll:
        axes.axis("off")
        return
    waves = wavefront(blur.noll, blur.found.gamma)
    bound = max(float(np.nanmax(np.abs(waves))), 1e-3)
    shown = axes.imshow(waves, cmap="RdBu_r", vmin=-bound, vmax=bound)
    axes.figure.colorbar(shown, ax=axes, shrink=0.8)
    axes.set_title(f"wavefront in waves, rms {np.sqrt(np.nanmean(waves**2)):.3f}")
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
