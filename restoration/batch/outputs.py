"""The files that lie beside a restored image: PSF, coefficients, wavefront and pictures; `ownership` has the report."""

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import torch
from torch import Tensor

from deepblur.platform.system.printable import printable
from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.blurs import JudgedBlur, wavefront
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.formats.ome_tiff_write import write_ome_tiff
from deepblur.restoration.images.io import assembled
from deepblur.restoration.images.recording import Recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAMMA_COLUMNS = ("frame", "channel", "row", "column", "noll", "name", "waves", "std_waves", "verdict")


def write_psfs(path: Path, blurs: Iterable[JudgedBlur], pixel_um: float | None, height_um: float | None = None) -> None:
    """A float32 TIFF, one page for each blur; a blur that varies over the field has one for each of its places."""
    psfs = [found.psf.numpy().astype(np.float32) for blur in blurs for found in _founds(blur)]
    _write_tiff(path, np.stack(psfs), pixel_um, height_um)


def write_wavefronts(path: Path, blurs: Iterable[JudgedBlur]) -> None:
    """A float32 TIFF in waves over the pupil, NaN outside, one page for each blur."""
    maps = [wavefront(blur.noll, found.gamma) for blur in blurs for found in _founds(blur) if found.gamma is not None]
    _write_tiff(path, np.stack(maps), None)


def write_gamma(path: Path, blurs: Iterable[JudgedBlur]) -> None:
    """The coefficients as CSV with the columns GAMMA_COLUMNS; row and column are empty where the PSF serves all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(GAMMA_COLUMNS)
    for blur in blurs:
        everywhere: list[tuple[int | str, int | str, IdentifiedBlur]] = [("", "", blur.found)]
        places = [(place.row, place.column, place.found) for place in blur.places] or everywhere
        for row, column, found in places:
            if found.gamma is None:
                continue
            for k, (noll, name) in enumerate(zip(blur.noll, blur.names, strict=True)):
                std = "" if found.gamma_std is None else _text(found.gamma_std[k])
                waves = _text(found.gamma[k])
                frame, channel = printable(blur.frame), printable(blur.channel)
                writer.writerow([frame, channel, row, column, noll, name, waves, std, blur.verdict])
    write_bytes(path, text.getvalue().encode())


def _text(value: Tensor) -> str:
    """Empty where there is nothing to say of an empty frame."""
    return f"{float(value):.6f}" if torch.isfinite(value) else ""


def write_picture(path: Path, figure: "Figure") -> None:
    """The figure as PNG."""
    from deepblur.platform.report.style import as_png  # and with it Matplotlib

    write_bytes(path, as_png(figure))


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path, len(content)) as file:
        file.write(content)


def _founds(blur: JudgedBlur) -> list:
    return [place.found for place in blur.places] or [blur.found]


def resolution(pixel_um: float | None, height_um: float | None = None) -> dict[str, Any]:
    """Keywords of tifffile that state width and height of a pixel, if the width is known; square if that is all."""
    if not pixel_um:
        return {}
    return {"resolution": (1e4 / pixel_um, 1e4 / (height_um or pixel_um)), "resolutionunit": "CENTIMETER"}


def write_plain(path: Path, frames: np.ndarray, recording: Recording) -> None:
    """Frames (N, C, h, w) as a TIFF with a recording's axes, whatever its format, and what it knows of the optics."""
    array = assembled(frames, recording)
    if (recording.na or any(recording.emission_nm)) and set(recording.axes) <= set("ITZCYXS"):
        write_ome_tiff(path, iter(frames), replace(recording, shape=array.shape, alpha=0))
        return
    kind = "rgb" if recording.rgb else "minisblack"
    samples = "contig" if recording.axes.endswith("S") else "separate"
    with replacing(path, array.nbytes) as file:
        tifffile.imwrite(
            file,
            array,
            photometric=kind,
            planarconfig=samples if recording.rgb else None,
            metadata={"axes": recording.axes},
            **resolution(recording.pixel_um, recording.pixel_height_um),
        )


def _write_tiff(path: Path, pages: np.ndarray, pixel_um: float | None, height_um: float | None = None) -> None:
    with replacing(path, pages.nbytes + 4096) as file:
        tifffile.imwrite(file, pages, photometric="minisblack", **resolution(pixel_um, height_um))
