"""A layer of napari as a recording, and what became of it as layers."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepblur.platform.system.errors import InputError
from deepblur.restoration.formats.array_source import LEADING, ArraySource, array_recording
from deepblur.restoration.formats.files import open_image
from deepblur.restoration.images.recording import Recording, check, in_one_sentence
from deepblur.restoration.options import LENS
from deepblur.restoration.viewer.work import Found

if TYPE_CHECKING:
    from napari.layers import Image

_AXES = {"t": "T", "time": "T", "z": "Z", "depth": "Z"}
_APART_PX = 8
"""Between an image and its PSF."""
_MICROMETRES = (0.001, 50.0)
"""Between what a scale without a unit is taken for micrometres."""


@dataclass(frozen=True)
class View:
    """The part of a layer that is restored."""

    frame: tuple[int, ...]
    """Along the axes before rows and columns."""
    region: tuple[int, int, int, int]
    """First row, first column, rows and columns."""


def recording_of_layer(layer: "Image", optics: Mapping[str, float], view: View | None = None) -> Recording:
    """The frames of a layer, read when they are needed; each place along the axes before rows and columns is one.

    Args:
        optics: what is known of the lens beside what the user says, as `known_optics` gives it.
        view: of this one frame alone.
    Raises:
        InputError: what `read_recording` refuses of a file.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    sizes = data.shape[: data.ndim - (3 if layer.rgb else 2)]
    axes = _letters(layer.axis_labels[: len(sizes)]) if view is None else ""

    def read(index: tuple[int | slice, ...]) -> np.ndarray:
        return np.asarray(data[index if view is None else (*view.frame, *index)])

    shape = data.shape[len(sizes) - len(axes) :]
    axes += "YXS" if layer.rgb else "YX"
    pieces = tuple(1 if axis in LEADING else size for axis, size in zip(axes, shape, strict=True))
    dtype = np.dtype(data.dtype)
    source = ArraySource(read, axes, shape, dtype.itemsize, pieces)
    stored = math.prod(shape) * dtype.itemsize
    with in_one_sentence(layer.name):
        if len(sizes) > len(LEADING):
            raise InputError(f"has {len(sizes)} axes beside rows and columns; show a part of it as a layer of its own")
        recording = array_recording(Path(layer.name), "array", source, dtype, stored)
        check(recording, stored)
    waves = optics.get("wavelength_nm")
    return replace(
        recording,
        pixel_um=optics["pixel_nm"] / 1000 if "pixel_nm" in optics else None,
        na=optics.get("na"),
        index=optics.get("index"),
        emission_nm=() if waves is None else (waves,) * recording.channels,
    )


def _letters(labels: tuple[str, ...]) -> str:
    """A letter for each axis: T and Z where its label says so, else pages."""
    known = [_AXES.get(label.lower(), "") for label in labels]
    free = iter([axis for axis in LEADING if axis not in known])
    return "".join(axis if axis and axis not in known[:i] else next(free) for i, axis in enumerate(known))


def known_optics(layer: "Image") -> dict[str, float]:
    """`na`, `wavelength_nm`, `pixel_nm` and `index` of a layer, as far as they are known.

    By these names in its metadata; else by the file that it was read from; the pixel size else by its scale.
    """
    known = _of_scale(layer) | _of_file(layer)
    told = {name: layer.metadata.get(name) for name in LENS}
    known |= {name: float(value) for name, value in told.items() if isinstance(value, (int, float))}
    return {name: value for name, value in known.items() if LENS[name][0] <= value <= LENS[name][1]}


def _of_scale(layer: "Image") -> dict[str, float]:
    unit = layer.units[-1]
    if unit.dimensionality == {"[length]": 1.0}:
        return {"pixel_nm": float((layer.scale[-1] * unit).to("nm").magnitude)}
    low, high = _MICROMETRES
    return {"pixel_nm": 1000 * float(layer.scale[-1])} if low < layer.scale[-1] < high and layer.scale[-1] != 1 else {}


def _of_file(layer: "Image") -> dict[str, float]:
    """By its header; of several channels that of which the layer bears the name."""
    if not layer.source.path or "://" in layer.source.path:
        return {}
    with suppress(InputError):
        file = open_image(layer.source.path)
        waves: tuple[float | None, ...] = file.emission_nm
        if len(waves) > 1:
            waves = tuple(wave for wave, name in zip(waves, file.channel_names, strict=False) if name in layer.name)
        pixel_nm = None if file.pixel_um is None else 1000 * file.pixel_um
        wave = waves[0] if len(waves) == 1 else None
        found = {"na": file.na, "index": file.index, "pixel_nm": pixel_nm, "wavelength_nm": wave}
        return {name: value for name, value in found.items() if value is not None}
    return {}


def result_layers(
    found: Found, layer: "Image", recording: Recording, view: View | None = None
) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """PSF, residual and restored image, each with what napari is told of it, where it belongs in the layer's world.

    The PSF stands alone, right of the image.

    Args:
        found: what became of `recording`, of the whole layer or of what is in view.
    """
    frame = (0,) * (layer.ndim - 2) if view is None else view.frame
    first_row, first_column, _, columns = (0, 0, *recording.size) if view is None else view.region
    lead = found.sizes if view is None else (1,) * len(frame)
    name = layer.name if view is None else f"{layer.name}, preview"

    def made(what: str, frames: np.ndarray, column: int, **looks: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """A layer of frames (N, …), its first pixel on the layer's in this column."""
        about = {"name": f"{name}: {what}", "metadata": {"deepblur": found.report.as_json()}}
        place = _placed(layer, (*frame, first_row, column))
        return frames.reshape(*lead, *frames.shape[1:]), {**about, **looks, **place}

    psf = np.stack([blur.found.psf.numpy() for blur in found.report.blurs])
    beside = first_column + columns + _APART_PX
    most = float(np.nanmax(psf))
    layers = [made("PSF", psf, beside, colormap="inferno", gamma=0.5, contrast_limits=(0, most))]
    if found.restored is not None and found.residual is not None:
        bound = max(3 * float(found.residual.std()), 1e-9)
        looks = {"colormap": "gray", "contrast_limits": (-bound, bound), "visible": False}
        layers.append(made("residual", found.residual, first_column, **looks))
        if layer.rgb:
            layers.append(made("restored", np.moveaxis(found.restored, 1, -1), first_column, rgb=True))
        else:
            looks = {look: getattr(layer, look) for look in ("colormap", "contrast_limits", "gamma")}
            layers.append(made("restored", found.restored[:, 0], first_column, rgb=False, **looks))
    return layers


def _placed(layer: "Image", corner: tuple[int, ...]) -> dict[str, Any]:
    """What puts pixel 0 of a new layer onto the pixel `corner` of this one."""
    from napari.utils.transforms import Affine

    turned = {"scale": layer.scale, "rotate": layer.rotate, "shear": layer.shear}
    moved = Affine(**turned, translate=layer.translate)(np.asarray(corner, float))
    place = {**turned, "translate": np.asarray(moved), "affine": layer.affine, "units": layer.units}
    return place | {"axis_labels": layer.axis_labels, "blending": layer.blending}


def view_of(layer: "Image", point: tuple[float, ...], displayed: tuple[int, ...]) -> View:
    """What of a layer is in view.

    Args:
        point: in the world, through which it is shown.
        displayed: axes of the viewer's.
    Raises:
        InputError: it is not shown by its rows and columns; nothing of it is in view.
    """
    last = (len(point) - 2, len(point) - 1)
    if tuple(displayed) != last:
        raise InputError("a preview is of the rows and columns in view; show the image in 2-D with these two axes")
    at = np.rint(np.asarray(layer.world_to_data(point[-layer.ndim :]))).astype(int)
    data = layer.data[0] if layer.multiscale else layer.data
    frame = tuple(int(k) for k in np.clip(at[:-2], 0, np.asarray(data.shape[: layer.ndim - 2], int) - 1))
    step = layer.downsample_factors[layer.data_level] if layer.multiscale else np.ones(layer.ndim)
    low, high = np.asarray(layer.corner_pixels) * step
    sizes = np.asarray(data.shape[layer.ndim - 2 : layer.ndim])
    first = np.clip(np.floor(low[-2:]), 0, sizes).astype(int)
    end = np.clip(np.ceil(high[-2:]) + step[-2:], 0, sizes).astype(int)
    if (end <= first).any():
        raise InputError(f"nothing of {layer.name} is in view; move it there")
    return View(frame, (int(first[0]), int(first[1]), int(end[0] - first[0]), int(end[1] - first[1])))
