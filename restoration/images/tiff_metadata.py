"""What a TIFF file says about sample and optics: size of a pixel, distance of planes, interval, channels, objective."""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element

from tifffile import TiffFile, TiffPage, TiffPageSeries

from deepblur.restoration.images.ome_xml import children
from deepblur.restoration.images.tiff_ome import Ome

MAX_PRINT_PIXEL_UM = 10.0
"""A resolution in inches or centimetres that gives larger pixels is a printer's or a screen's, not a microscope's."""

_UM = {
    "m": 1e6, "cm": 1e4, "centimeter": 1e4, "mm": 1e3, "millimeter": 1e3, "inch": 25400.0, "in": 25400.0,
    "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "a": 1e-4, "å": 1e-4, "pm": 1e-6,
}  # fmt: skip
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
_NM = {unit: 1e3 * um for unit, um in _UM.items()}
_RESOLUTION_UM = {2: 25400.0, 3: 1e4}


Facts = dict[str, Any]
"""Fields of a `Recording`: those that are known."""


def about(tiff: TiffFile, series: TiffPageSeries, ome: Ome | None, channels: int) -> Facts:
    """What is written in OME or ImageJ metadata, those of a vendor, or else in the resolution tags.

    Args:
        ome: the image by its OME-XML, if the file has it.
        channels: of a frame: what is said of each counts only where it is said of as many.
    """
    facts: Facts = {}
    with suppress(Exception):  # metadata are a courtesy: whatever is wrong with them, the pixels count
        if ome is None:
            facts = _reader(tiff, series)(tiff, series.keyframe)
        else:
            facts = ome_facts(ome.root, ome.image.element, ome.image.pixels)
    return credible(facts, channels)


def credible(facts: Facts, channels: int) -> Facts:
    """Those of the facts that a microscope can have, and those of each of the channels that are said of as many."""
    for name, (least, most) in _CREDIBLE.items():
        if not _between(facts.get(name), least, most):
            facts.pop(name, None)
    for name in ("channel_names", "emission_nm"):
        if len(facts.get(name, ())) != channels:
            facts.pop(name, None)
    if "emission_nm" in facts:
        facts["emission_nm"] = tuple(one if _between(one, *EMISSION_NM) else None for one in facts["emission_nm"])
    if facts.get("na", 0) > facts.get("index", math.inf):  # 1.0 stands for "nobody knows"
        del facts["index"]
    return facts


_LENGTH = (0.0, math.inf)
_CREDIBLE = {
    "pixel_um": _LENGTH, "pixel_height_um": _LENGTH, "z_um": _LENGTH, "interval_s": _LENGTH,
    "na": (0.0, 1.75), "index": (0.99, 2.5),
}  # fmt: skip
"""Between which, both excluded, a number of the file counts."""
EMISSION_NM = (99.0, 5000.0)
IMMERSION = {"oil": 1.518, "glycerol": 1.47, "water": 1.333, "waterdipping": 1.333, "w": 1.333, "air": 1.0}


def _between(value: float | None, least: float, most: float) -> bool:
    return value is not None and least < value < most


def _reader(tiff: TiffFile, series: TiffPageSeries) -> Callable[[TiffFile, TiffPage], Facts]:
    """What reads the metadata of this kind of file."""
    first = tiff.pages.first
    kinds = {"imagej": _imagej, "lsm": _lsm, "stk": _stk}
    vendors = (
        (first.is_metaseries, _metaseries), (first.is_micromanager, _micromanager), (first.is_svs, _svs),
        (first.is_sis, _sis),
    )  # fmt: skip
    return kinds.get(series.kind) or next((reader for applies, reader in vendors if applies), _plain)


def print_pixel_um(pixels: float, unit_um: float) -> float | None:
    """Side of a pixel from a resolution of `pixels` per `unit_um`, if it can be a microscope's."""
    side = unit_um / pixels if pixels > 0 else math.inf
    return side if side <= MAX_PRINT_PIXEL_UM else None


def ome_facts(root: Element, image: Element, pixels: Element) -> Facts:
    """What OME-XML says of one of its images."""
    channels = children(pixels, "Channel")
    names = [channel.get("Name") for channel in channels]
    return _objective(root, image) | Facts(
        channel_names=tuple(name for name in names if name) if all(names) else (),
        emission_nm=tuple(_quantity(channel, "EmissionWavelength", _NM, "nm") for channel in channels),
        pixel_um=_quantity(pixels, "PhysicalSizeX", _UM, "µm"),
        pixel_height_um=_quantity(pixels, "PhysicalSizeY", _UM, "µm"),
        z_um=_quantity(pixels, "PhysicalSizeZ", _UM, "µm"),
        interval_s=_quantity(pixels, "TimeIncrement", _SECONDS, "s"),
    )


def _objective(root: Element, image: Element) -> Facts:
    """NA and immersion of the objective that the image names, or of the only one that there is."""
    settings = (*children(image, "ObjectiveSettings"), None)[0]
    objectives = [lens for device in children(root, "Instrument") for lens in children(device, "Objective")]
    if settings is not None:
        objectives = [lens for lens in objectives if lens.get("ID") == settings.get("ID")]
    if len(objectives) != 1:
        return {}
    stated = None if settings is None else settings.get("RefractiveIndex")
    medium = objectives[0].get("Immersion") or (None if settings is None else settings.get("Medium")) or ""
    facts = {"index": float(stated) if stated else IMMERSION.get(medium.lower())}
    aperture = objectives[0].get("LensNA")
    return facts | {"na": None if aperture is None else float(aperture)}


def _quantity(pixels: Element, name: str, units: dict[str, float], default: str) -> float | None:
    value = pixels.get(name)
    unit = units.get(pixels.get(f"{name}Unit", default).lower())
    return None if value is None or unit is None else float(value) * unit


def _imagej(tiff: TiffFile, page: TiffPage) -> Facts:
    known: dict[str, Any] = tiff.imagej_metadata or {}
    unit = _UM.get(str(known.get("unit", "")).strip().lower())
    first = tiff.pages.first
    facts = _plain(tiff, first)
    if unit is not None:
        facts = {"pixel_um": _pixel_side(first, unit), "pixel_height_um": _pixel_side(first, unit, 283)}
        if (spacing := known.get("spacing")) is not None:
            facts["z_um"] = abs(float(spacing)) * unit
    if (interval := known.get("finterval")) is not None:
        facts["interval_s"] = float(interval) * _SECONDS.get(str(known.get("tunit", "s")), 1.0)
    return facts | _info(str(known.get("Info", "")))


def _info(text: str) -> Facts:
    """From ImageJ's "Info", where Bio-Formats leaves what a vendor's file said: lines such as "…|LensNA #1 = 1.4"."""
    apertures: set[float] = set()
    waves: dict[int, float] = {}
    for name, number, value in _INFO.findall(text):
        if name.lower().startswith("emission"):
            waves.setdefault(int(number or 1), float(value))
        else:
            apertures.add(float(value))
    facts: Facts = {"emission_nm": tuple(waves[k] for k in sorted(waves))}
    return facts | ({"na": apertures.pop()} if len(apertures) == 1 else {})


_INFO = re.compile(
    r"^(?:.*[|\s])?(LensNA|Numerical ?Aperture|ObjectiveNA|dObjectiveNA|EmissionWavelength)(?: #?(\d+))? *= *"
    r"(\d+\.?\d*)\s*$",
    re.IGNORECASE | re.MULTILINE,
)


def _lsm(tiff: TiffFile, page: TiffPage) -> Facts:
    known: dict[str, Any] = tiff.lsm_metadata or {}
    return engraved(str(known.get("ScanInformation", {}).get("Objective", ""))) | Facts(
        pixel_um=float(known["VoxelSizeX"]) * 1e6,
        pixel_height_um=float(known["VoxelSizeY"]) * 1e6,
        z_um=float(known["VoxelSizeZ"]) * 1e6,
        interval_s=float(known.get("TimeIntervall", 0)),
    )


def engraved(objective: str) -> Facts:
    """NA and immersion of an objective as it is engraved, such as "Plan-Apochromat 63x/1.40 Oil DIC"."""
    aperture = re.search(r"\d+ ?x ?/ ?(\d[.,]\d+) ?([A-Za-z]*)", objective)
    if aperture is None:
        return {}
    medium = aperture[2].lower() or ("air" if float(aperture[1].replace(",", ".")) < 1 else "")
    return {"na": float(aperture[1].replace(",", ".")), "index": IMMERSION.get(medium)}


def _stk(tiff: TiffFile, page: TiffPage) -> Facts:
    """MetaMorph: calibrations of stages that were never set are 1 without a unit."""
    known: dict[str, Any] = tiff.stk_metadata or {}
    unit = _UM.get(str(known.get("CalibrationUnits", "")).strip().lower())
    sides = [_scaled(known.get(name), unit) for name in ("XCalibration", "YCalibration")]
    waves = {float(wave) for wave in known.get("Wavelengths", ())}
    return {"pixel_um": sides[0], "pixel_height_um": sides[1], "emission_nm": tuple(waves) if len(waves) == 1 else ()}


def _metaseries(tiff: TiffFile, page: TiffPage) -> Facts:
    """MetaMorph and MetaXpress of one plane a file."""
    known: dict[str, Any] = (tiff.metaseries_metadata or {}).get("PlaneInfo", {})
    calibrated = bool(known.get("spatial-calibration-state", True))
    unit = _UM.get(str(known.get("spatial-calibration-units", "")).strip().lower()) if calibrated else None
    return Facts(
        pixel_um=_scaled(known.get("spatial-calibration-x"), unit),
        pixel_height_um=_scaled(known.get("spatial-calibration-y"), unit),
        na=_scaled(known.get("_MagNA_"), 1.0),
        index=_scaled(known.get("_MagRI_"), 1.0),
        emission_nm=(_scaled(known.get("wavelength"), 1.0),),
    )


def _micromanager(tiff: TiffFile, page: TiffPage) -> Facts:
    known: dict[str, Any] = tiff.pages.first.tags[51123].value
    return _plain(tiff, page) | {"pixel_um": _scaled(known.get("PixelSizeUm"), 1.0)}


def _svs(tiff: TiffFile, page: TiffPage) -> Facts:
    """Aperio's microns per pixel."""
    stated = re.search(r"MPP = (\d+\.?\d*)", page.description)
    return _plain(tiff, page) if stated is None else {"pixel_um": float(stated[1])}


def _sis(tiff: TiffFile, page: TiffPage) -> Facts:
    """Olympus: metres."""
    known: dict[str, Any] = tiff.sis_metadata or {}
    return {"pixel_um": _scaled(known.get("pixelsizex"), 1e6), "pixel_height_um": _scaled(known.get("pixelsizey"), 1e6)}


def _scaled(value: Any, unit: float | None) -> float | None:
    return None if value is None or unit is None else float(value) * unit


def _plain(tiff: TiffFile, page: TiffPage) -> Facts:
    unit = page.tags.get(296)
    unit_um = _RESOLUTION_UM.get(2 if unit is None else int(unit.value))
    if unit_um is None:
        return {}
    width, height = _pixel_side(page, unit_um), _pixel_side(page, unit_um, 283)
    credible = width is not None and width <= MAX_PRINT_PIXEL_UM
    return {"pixel_um": width, "pixel_height_um": height} if credible else {}


def _pixel_side(page: TiffPage, unit_um: float, code: int = 282) -> float | None:
    """From XResolution, or YResolution (283)."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    pixels, per = tag.value
    return unit_um * per / pixels if pixels and per else None
