"""What a TIFF file says about its sample: size of a pixel, distance of planes, interval, names of channels."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element

from tifffile import TiffFile, TiffPage, TiffPageSeries

MAX_PRINT_PIXEL_UM = 10.0
"""A resolution in inches or centimetres that gives larger pixels is a printer's or a screen's, not a microscope's."""

_UM = {
    "m": 1e6, "cm": 1e4, "centimeter": 1e4, "mm": 1e3, "millimeter": 1e3, "inch": 25400.0, "in": 25400.0,
    "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "a": 1e-4, "å": 1e-4, "pm": 1e-6,
}  # fmt: skip
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
_RESOLUTION_UM = {2: 25400.0, 3: 1e4}


Facts = dict[str, Any]
"""Fields of a `Recording`: those that are known."""


def about(tiff: TiffFile, series: TiffPageSeries, pixels: Element | None = None) -> Facts:
    """What is written in OME or ImageJ metadata, Zeiss' LSM, or else the resolution tags.

    Args:
        pixels: the element of OME-XML, if the file has it.
    """
    readers: dict[str, Callable[[TiffFile, TiffPage], Facts]] = {"imagej": _imagej, "lsm": _lsm}
    facts: Facts = {}
    with suppress(Exception):  # metadata are a courtesy: whatever is wrong with them, the pixels count
        facts = readers.get(series.kind, _plain)(tiff, series.keyframe) if pixels is None else _ome(pixels)
    return {key: value for key, value in facts.items() if key == "channel_names" or _is_length(value)}


def _is_length(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def print_pixel_um(pixels: float, unit_um: float) -> float | None:
    """Side of a pixel from a resolution of `pixels` per `unit_um`, if it can be a microscope's."""
    side = unit_um / pixels if pixels > 0 else math.inf
    return side if side <= MAX_PRINT_PIXEL_UM else None


def _ome(pixels: Element) -> Facts:
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    return Facts(
        channel_names=tuple(name for name in names if name) if all(names) else (),
        pixel_um=_quantity(pixels, "PhysicalSizeX", _UM, "µm"),
        pixel_height_um=_quantity(pixels, "PhysicalSizeY", _UM, "µm"),
        z_um=_quantity(pixels, "PhysicalSizeZ", _UM, "µm"),
        interval_s=_quantity(pixels, "TimeIncrement", _SECONDS, "s"),
    )


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
    return facts


def _lsm(tiff: TiffFile, page: TiffPage) -> Facts:
    known: dict[str, Any] = tiff.lsm_metadata or {}
    return Facts(
        pixel_um=float(known["VoxelSizeX"]) * 1e6,
        pixel_height_um=float(known["VoxelSizeY"]) * 1e6,
        z_um=float(known["VoxelSizeZ"]) * 1e6,
        interval_s=float(known.get("TimeIntervall", 0)),
    )


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
