"""How every figure looks: one style, one look per method, one way into a file.

For print: white paper, 8 points at the width of a two-column page. A method is told apart by colour,
marker, fill and dash together, so that a grey print and a colour-blind reader lose nothing.
"""

import functools
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

P = ParamSpec("P")
T = TypeVar("T")

WIDTH_IN = 7.2
ARM_COLOURS = ("#1b83c4", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, distinct for colour-blind readers, its blue made lighter."""
INK, RULE = "#1a1a1a", "#d4d4d4"
STYLE: Any = {
    "svg.fonttype": "path",  # another machine's letters would not fit the room made for them
    "svg.hashsalt": "deepblur",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a method may be called "$x$"
    "font.size": 8,
    **dict.fromkeys(("axes.titlesize", "axes.labelsize", "legend.fontsize", "figure.titlesize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 7.5),
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 0.9,
    "image.cmap": "gray",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.06,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
}
DPI = 220
FILES: dict[str, dict[str, Any]] = {  # no dates and versions: they would make equal figures differ
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""Kinds of file that a figure becomes, and what is not said in them."""
_MARKERS = ("s", "^", "v", "D", "P", "X", "<", ">", "p", "h", "*", "d")
_DASHES: tuple[Any, ...] = ((0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (2, 1)), (0, (6, 2, 1, 1, 1, 1)))


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a function under STYLE and leave no setting behind."""

    @functools.wraps(draw)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return within


def looks(arms: Sequence[str], reference: str) -> dict[str, dict[str, Any]]:
    """Keywords of a line for each method, the same in every figure; the reference is the one in solid black."""
    found: dict[str, dict[str, Any]] = {}
    for i, arm in enumerate(arm for arm in arms if arm != reference):
        colour = ARM_COLOURS[i % len(ARM_COLOURS)]
        hollow = (i // 6 + i // len(_MARKERS)) % 2  # marker and fill alone tell 24 methods apart
        found[arm] = {
            "color": colour,
            "marker": _MARKERS[i % len(_MARKERS)],
            "markerfacecolor": "white" if hollow else colour,
            "linestyle": _DASHES[i % len(_DASHES)],
            "zorder": 2.5,
        }
    top = {"color": INK, "marker": "o", "markerfacecolor": INK, "linestyle": "-", "linewidth": 1.8, "zorder": 3}
    return {arm: top if arm == reference else found[arm] for arm in arms}


def legend(figure: Figure, panels: Iterable[Axes], order: Sequence[str]) -> None:
    """One legend below all panels, each label once: those of `order` first."""
    known: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    known = {label: known[label] for label in [*(name for name in order if name in known), *known]}
    if known:
        columns = max(1, min(len(known), 118 // (9 + max(map(len, known)))))
        figure.legend(list(known.values()), list(known), loc="outside lower center", ncols=columns)


@styled
def rendered(figure: Figure, kinds: Iterable[str] = tuple(FILES)) -> dict[str, bytes]:
    """The figure as each of these kinds of file; equal figures give equal bytes."""
    FigureCanvasAgg(figure)
    figure.set_dpi(DPI)  # letters are as wide as their pixels let them be, so the room is measured at the final size
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, and the same in every file
    return {kind: _file(figure, kind) for kind in kinds}


def _file(figure: Figure, kind: str) -> bytes:
    with io.BytesIO() as file:
        figure.savefig(file, format=kind, dpi=DPI, facecolor="white", metadata=FILES[kind])
        return file.getvalue()


def as_png(figure: Figure) -> bytes:
    """The figure as PNG, at the resolution that it was made for."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png", metadata=FILES["png"])
        return file.getvalue()


def png(image: np.ndarray, *, side_px: int = 300) -> bytes:
    """(H, W) in [0, 1] as an 8-bit grey PNG, each pixel repeated until the longer side has `side_px`.

    Repeating keeps a browser from smoothing what was measured. What lies outside [0, 1] is cut, as a screen would.
    """
    pixels = np.rint(np.clip(np.asarray(image, dtype=float), 0, 1) * 255).astype(np.uint8)
    times = -(-side_px // max(pixels.shape))
    with io.BytesIO() as file:
        Image.fromarray(pixels.repeat(times, 0).repeat(times, 1)).save(file, format="PNG", optimize=True)
        return file.getvalue()
