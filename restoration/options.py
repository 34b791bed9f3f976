"""What people ask for, whatever the image: which engine, and how images are treated.

Nothing heavy is imported: the options of the commands are made of it.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepblur.restoration.engines.names import Restorer

if TYPE_CHECKING:
    import numpy as np

    from deepblur.restoration.pixels.masks import Mask

DEFAULT_RULE = "percentile:0.1,99.9"
CHANNELS = ("auto", "shared", "each")
MIN_TILE_PX = 256
LARGEST_PSF = 1023
LARGEST_ETA = 10
LEAST_CUTOFF, MOST_CUTOFF = 0.001, 0.5


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """Which engine identifies and restores: a model, a calibrated microscope, or a method without training.

    Raises:
        ValueError: a figure that no microscope has, whatever the images.
    """

    method: str = "auto"
    """auto: the model where one is named or the registry has a champion, else the one that ships with deepblur."""
    model: str | Path | None = None
    """A registry URI, runs:/ID, a folder or the name of a shipped model; None: the champion."""
    restorer: Restorer | Literal["auto"] = "auto"
    """auto: DN with a model, TV without."""
    optics: str | Path | None = None
    """A calibrated microscope, whose networks then are the model."""
    tracking_uri: str | None = None
    """Of the registry; None: MLFLOW_TRACKING_URI, else the database in the runs folder."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    psf_size: int | None = None
    """Side of the PSF in pixels, odd, 3 to 1023. This and what follows is for what identifies by the spectral
    likelihood, the size for l0 and goldstein-fattal too; None: what follows from a given cutoff, else what its
    model was made for, `OPTICS` without one."""
    eta_waves: float | None = None
    """Largest aberration to expect, in waves, above 0 and at most 10."""
    cutoff: float | tuple[float, ...] | None = None
    """Pupil radius in cycles per pixel, at most 0.5, or one for each channel, in their order. A network knows the
    cutoff of its training alone; given here, it is no longer an assumption."""
    na: float | None = None
    """Numerical aperture. With what follows it gives the cutoff, NA / wavelength * pixel size; what is not said is
    taken from the file."""
    wavelength_nm: float | tuple[float, ...] | None = None
    """Of the light in vacuum, nanometres, or one for each channel, in their order."""
    pixel_nm: float | None = None
    """Side of a pixel in the sample, nanometres."""
    index: float | None = None
    """Refractive index of the immersion medium, which NA cannot exceed."""

    psf: "str | Path | np.ndarray | None" = None
    """A PSF that is known, a file or an array: nothing is identified, and `restorer`, by default TV, removes it.
    Of a model that is named the network alone counts, and `psf_size` cuts it."""

    def __post_init__(self) -> None:
        size, eta = self.psf_size, self.eta_waves
        if size is not None and not (3 <= size <= LARGEST_PSF and size % 2):
            raise ValueError(f"the side of a PSF is an odd number of pixels from 3 to {LARGEST_PSF}; got {size}")
        if eta is not None and not 0 < eta <= LARGEST_ETA:
            raise ValueError(
                f"eta, the largest aberration to expect, is above 0 and at most {LARGEST_ETA} waves; got {eta:g}"
            )
        for cutoff in _several(self.cutoff):
            if not LEAST_CUTOFF <= cutoff < math.inf:
                raise ValueError(f"a cutoff is at least {LEAST_CUTOFF} cycles per pixel; got {cutoff:g}")
        _check_lens(self)

    @property
    def lens(self) -> dict[str, tuple[float, ...]]:
        """What was said of `LENS`; a wavelength for all channels, or one for each."""
        return {name: value for name in LENS if (value := _several(getattr(self, name)))}

    @property
    def each_channel(self) -> tuple[str, int]:
        """The option that says a number for each channel, and how many it says; 0 where none does."""
        named = {"--cutoff": self.cutoff, OPTIONS["wavelength_nm"]: self.wavelength_nm}
        several = ((option, len(value)) for option, value in named.items() if isinstance(value, tuple))
        return next(several, ("--cutoff", 0))

    @property
    def said(self) -> dict[str, str]:
        """What was said of the optics: option of the command line → its value."""
        named = {"psf_size": "--psf-size", "eta_waves": "--eta", "cutoff": "--cutoff", **OPTIONS}
        values = {option: _several(getattr(self, name)) for name, option in named.items()}
        return {option: ",".join(f"{one:g}" for one in value) for option, value in values.items() if value}


LENS = {"na": (0.001, 2.0), "wavelength_nm": (10.0, 50_000.0), "pixel_nm": (0.1, 100_000.0), "index": (1.0, 4.0)}
"""What can be said of a lens instead of its cutoff, and between what each lies."""
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in LENS}
"""Field → option of the command line."""


def _check_lens(choice: EngineChoice) -> None:
    """Raises ValueError for numbers that no lens has, or that are said twice."""
    lens, said = choice.lens, choice.said
    for name, (low, high) in LENS.items():
        for value in lens.get(name, ()):
            if not low <= value <= high:
                unit = _UNITS.get(name, "")
                raise ValueError(f"{OPTIONS[name]} lies between {low:g} and {high:g}; got {value:g}{unit}")
    if choice.cutoff is not None and lens:
        words = ", ".join(f"{option} {said[option]}" for option in OPTIONS.values() if option in said)
        raise ValueError(
            f"--cutoff {said['--cutoff']} is NA / wavelength * pixel size already; leave out --cutoff, or {words}"
        )
    if "na" in lens and "index" in lens and lens["na"] > lens["index"]:
        raise ValueError(
            f"NA = n sin θ cannot exceed the index n of the immersion medium; got --na {said['--na']} --index "
            f"{said['--index']}; correct one of them"
        )


_UNITS = {"wavelength_nm": " (green light has 520 nm)", "pixel_nm": " (a micrometre has 1000 nm)"}


def _several(value: float | tuple[float, ...] | None) -> tuple[float, ...]:
    return () if value is None else value if isinstance(value, tuple) else (value,)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How images are treated, whatever the engine.

    Raises:
        ValueError: what no image can be treated with; names the option.
    """

    scale: str = DEFAULT_RULE
    """What counts as black and white: "percentile:LOW,HIGH", "bits:N" or "range:BLACK,WHITE"."""
    channels: str = "auto"
    """auto, shared (one PSF for all channels, from their luminance) or each; auto shares it among colours."""
    varying: bool = False
    """The blur changes over the field: identify and restore tile by tile."""
    region: tuple[int, int, int, int] | None = None
    """First row, first column, rows and columns of the part where the blur is identified; None: the whole frame."""
    crop: bool = False
    """Restore the region alone: the result has its size."""
    mask: "str | Path | np.ndarray | Mask | None" = None
    """Which pixels say nothing of the scene, an image file or an array (H, W), not 0 where they do not."""
    tile_px: int | None = None
    """Side of the tiles, 256 or more; None: as large as memory allows."""
    max_memory_gib: float = 2.0
    """Of the whole process; what does not fit goes over the disk."""
    shared: bool = field(default=False, repr=False)
    """The memory is a share of what there is: what would come out otherwise with all of it is put off, see `memory`."""

    def __post_init__(self) -> None:
        parse_rule(self.scale)
        if self.channels not in CHANNELS:
            raise ValueError(f"channels are {', '.join(CHANNELS)}; got {self.channels!r}")
        if self.tile_px is not None:
            check_tile(self.tile_px)
        if self.region is not None and (len(self.region) != 4 or min(self.region) < 0 or min(self.region[2:]) < 1):
            raise ValueError(
                f"a region is its first row and column, at least 0, and its rows and columns; got {self.region}"
            )
        if self.crop and self.region is None:
            raise ValueError("--crop restores a region alone; say which with --region Y,X,H,W")
        if not 0 < self.max_memory_gib < math.inf:
            raise ValueError(f"--max-memory is a number of GiB above 0; got {self.max_memory_gib:g}")


def asked(choice: EngineChoice, options: Options, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the user asked for, as plain values under the names of the command line's options."""
    plain = {
        "method": choice.method,
        "model": None if choice.model is None else str(choice.model),
        "psf": None if choice.psf is None else str(choice.psf) if isinstance(choice.psf, str | Path) else "array",
        "optics": None if choice.optics is None else str(choice.optics),
        "restorer": choice.restorer,
        "cutoff": choice.cutoff,
        **{name: getattr(choice, name) for name in LENS},
        "eta": choice.eta_waves,
        "psf_size": choice.psf_size,
        "scale": options.scale,
        "channels": options.channels,
        "varying": options.varying,
        "region": options.region,
        "crop": options.crop,
        "mask": None
        if options.mask is None
        else str(options.mask)
        if isinstance(options.mask, str | Path)
        else "array",
        "tile": options.tile_px,
        "max_memory": options.max_memory_gib,
        "device": choice.device,
    }
    return {name: value for name, value in plain.items() if name not in without}


def check_together(choice: EngineChoice, options: Options) -> None:
    """Raises ValueError for an engine and a treatment that contradict one another."""
    if choice.psf is not None and options.varying:
        raise ValueError("--psf is one PSF for the whole field; leave out --varying, or --psf")
    if options.region is not None and (options.varying or choice.optics is not None):
        other = "--varying" if options.varying else f"--optics {choice.optics}"
        raise ValueError(f"{other} looks for a blur all over the field; leave it out, or --region")


@dataclass(frozen=True)
class Rule:
    """How black and white are found."""

    kind: Literal["percentile", "bits", "range"]
    first: float
    second: float = 0.0


def parse_rule(text: str) -> Rule:
    """ "percentile:LOW,HIGH" (0 ≤ LOW < HIGH ≤ 100), "bits:N" (values 0 … 2^N − 1), or "range:BLACK,WHITE".

    Raises:
        ValueError: one sentence that names the text and what is allowed.
    """
    kind, _, rest = text.partition(":")
    try:
        numbers = [float(part) for part in rest.split(",")]
    except ValueError:
        numbers = []
    if kind == "percentile" and len(numbers) == 2 and 0 <= numbers[0] < numbers[1] <= 100:
        return Rule("percentile", *numbers)
    if kind == "range" and len(numbers) == 2 and all(map(math.isfinite, numbers)) and numbers[0] < numbers[1]:
        return Rule("range", *numbers)
    if kind == "bits" and len(numbers) == 1 and numbers[0] in range(1, 65):
        return Rule("bits", numbers[0])
    raise ValueError(
        f"the intensity scale {text!r} is none of percentile:LOW,HIGH with 0 <= LOW < HIGH <= 100, bits:N with N from "
        "1 to 64, range:BLACK,WHITE with BLACK < WHITE; write one of these"
    )


def check_tile(tile_px: int) -> None:
    """Refuse tiles that are all overlap."""
    if tile_px < MIN_TILE_PX:
        raise ValueError(
            f"tiles need at least {MIN_TILE_PX} px, twice their overlap, or little of them would be kept; got "
            f"{tile_px}; allow more memory or larger tiles"
        )
