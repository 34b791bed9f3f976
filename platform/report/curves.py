"""The figures of the report, drawn with matplotlib's object interface and returned as inline SVG.

Text and axes take the colour of the page (`currentColor`), so that one drawing reads on light and on dark paper; text
stays text. Nothing depends on pyplot or leaves a setting behind, and equal input gives equal bytes.
"""

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

ARM_COLOURS = ("#1b83c4", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, distinct for colour-blind readers; its blue is made lighter for dark paper."""
INK, FAINT = "#010203", "#040506"  # stand-ins, replaced by the page's own colours in `svg`
PX_PER_IN = 126  # all figures on one scale, so that their letters have one size
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "deepblur",
    "text.parse_math": False,  # an arm may be called "$x$"
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "figure.constrained_layout.use": True,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
}


@dataclass(frozen=True)
class Line:
    """What one line of a figure shows, and how."""

    data: pd.DataFrame
    colour: str = INK
    dash: str = "-"


def svg(name: str, size_in: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """One figure as an <svg> element; `name` keeps its ids apart from those of other figures on the page."""
    with mpl.rc_context(STYLE), io.StringIO() as file:
        figure = Figure(figsize=size_in)
        draw(figure)
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'width="{size_in[0] * PX_PER_IN:.0f}"', text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*sans-serif", "system-ui, sans-serif", text)
    return text.replace(INK, "currentColor").replace(FAINT, "var(--rule)")


def colour_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, the same in every figure that is given the same names."""
    return {name: ARM_COLOURS[i % len(ARM_COLOURS)] for i, name in enumerate(names)}


def psf_snr_distribution(lines: dict[str, Line], noises: list[str]) -> str:
    """Share of draws whose PSF SNR stays below a value, a panel per noise level.

    Args:
        lines: legend label → line; each line's data has the columns noise and value.
    """

    def draw(figure: Figure) -> None:
        panels = _panels(figure, 1, len(noises))[0]
        for axes, noise in zip(panels, noises, strict=True):
            for label, line in lines.items():
                values = line.data.loc[line.data["noise"] == noise, "value"]
                if len(values):
                    axes.ecdf(values, color=line.colour, linestyle=line.dash, label=label)
            axes.set(title=f"noise {noise}", xlabel="PSF SNR (dB)", ylim=(0, 1.02))
        panels[0].set_ylabel("share of draws")
        _legend(figure, panels)

    return svg("ecdf", (9, 2.9), draw)


def cells(rows: dict[str, dict[str, Line]], noises: list[str]) -> str:
    """Means with intervals over η: a row per measure, a column per noise level.

    Args:
        rows: axis label → legend label → line, whose data has the columns noise, eta_waves, mean, low and high;
            solid lines show their intervals.
    """

    def draw(figure: Figure) -> None:
        grid = _panels(figure, len(rows), len(noises), sharey="row")
        for panels, (label, lines) in zip(grid, rows.items(), strict=True):
            panels[0].set_ylabel(label)
            for axes, noise in zip(panels, noises, strict=True):
                solid = [name for name, line in lines.items() if line.dash == "-"]
                for name, line in lines.items():
                    here = line.data[line.data["noise"] == noise].sort_values("eta_waves")
                    x = here["eta_waves"]
                    if line.dash == "-":
                        step = np.diff(np.sort(x)).min(initial=0.05)
                        x = x + 0.06 * step * (solid.index(name) - (len(solid) - 1) / 2)  # bars must not hide bars
                        bars = (here["mean"] - here["low"], here["high"] - here["mean"])
                        axes.errorbar(x, here["mean"], bars, fmt="none", color=line.colour)
                    mark = "o" if line.dash == "-" else "none"
                    axes.plot(x, here["mean"], line.dash, color=line.colour, marker=mark, markersize=3, label=name)
                axes.set_xticks(sorted(next(iter(lines.values())).data["eta_waves"].unique()))
        for axes, noise in zip(grid[0], noises, strict=True):
            axes.set_title(f"noise {noise}")
        for axes in grid[-1]:
            axes.set_xlabel("η (waves)")
        _legend(figure, grid.ravel())

    return svg("cells", (9, 0.7 + 2.1 * len(rows)), draw)


def forest(rows: pd.DataFrame, label: str) -> str:
    """Differences with their intervals, one line per cell; rows has the columns where, difference, low, high."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        y = np.arange(len(rows))[::-1]
        bars = (rows["difference"] - rows["low"], rows["high"] - rows["difference"])
        axes.errorbar(rows["difference"], y, xerr=bars, fmt="o", markersize=4, color=ARM_COLOURS[0], linewidth=1.4)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(y, list(rows["where"]))
        axes.set(xlabel=label, ylim=(-0.7, len(rows) - 0.3))
        axes.grid(axis="y", visible=False)

    return svg("forest", (7, 0.7 + 0.24 * len(rows)), draw)


def learning_curves(curves: dict[str, pd.DataFrame], measure: str, baseline: str | None, label: str, name: str) -> str:
    """Training loss and one validation measure of several stages, if they have one.

    The baseline is that of the first stage: fixed draws give every stage of a kind the same.
    """

    def draw(figure: Figure) -> None:
        losses, values = _panels(figure, 1, 2, sharey=False)[0]
        values.set_visible(bool(measure))
        for stage, colour in colour_of(curves).items():
            for axes, column in ((losses, "loss"), (values, measure)) if measure else ((losses, "loss"),):
                known = curves[stage][["step", column]].dropna()
                axes.plot(known["step"], known[column], color=colour, label=stage, linewidth=1.2)
        if baseline is not None:
            known = next(iter(curves.values()))[["step", baseline]].dropna()
            axes.plot(known["step"], known[baseline], "--", color=INK, linewidth=1, label="baseline")
        known = pd.concat([table["loss"].dropna() for table in curves.values()])
        if 0 < 5 * known.min() <= known.max():
            losses.set_yscale("log")
            losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            losses.yaxis.set_major_formatter("{x:g}")  # powers of ten would need the mathematics that STYLE turns off
            losses.yaxis.set_minor_formatter(NullFormatter())
        losses.set(xlabel="step", ylabel="training loss")
        values.set(xlabel="step", ylabel=label)
        _legend(figure, (losses, values))

    return svg(name, (9, 2.9), draw)


def png(image: np.ndarray, *, side_px: int = 300) -> bytes:
    """(H, W) in [0, 1] as an 8-bit grey PNG, each pixel repeated until the longer side has `side_px`.

    Repeating keeps a browser from smoothing what was measured. What lies outside [0, 1] is cut, as a screen would.
    """
    pixels = np.rint(np.clip(np.asarray(image, dtype=float), 0, 1) * 255).astype(np.uint8)
    times = -(-side_px // max(pixels.shape))
    with io.BytesIO() as file:
        Image.fromarray(pixels.repeat(times, 0).repeat(times, 1)).save(file, format="PNG", optimize=True)
        return file.getvalue()


def _panels(figure: Figure, rows: int, columns: int, sharey: bool | str = True) -> np.ndarray:
    return figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=sharey)  # type: ignore[arg-type]


def _legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """One legend above all panels, each label once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    columns = max(1, min(len(found), 150 // (6 + max(map(len, found)))))
    figure.legend(handles=list(found.values()), labels=list(found), loc="outside upper left", ncols=columns)
