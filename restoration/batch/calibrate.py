"""`deepblur calibrate`: bead stacks in files → one optics file, its pictures and its report."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deepblur.platform.optics.calibrate import Calibration, calibrate
from deepblur.platform.optics.measure import Measured, Settings, measure
from deepblur.platform.optics.optics_file import save_optics
from deepblur.platform.optics.stack import BeadStack, check_alike, stack_of
from deepblur.platform.system.errors import InputError, OutputError
from deepblur.restoration.batch.image_files import output_folder
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.batch.outputs import write_picture
from deepblur.restoration.batch.ownership import CALIBRATED, Item, Place, claimed
from deepblur.restoration.formats.files import open_image
from deepblur.restoration.images.recording import check_fits

_DEFAULT_SETTINGS = Settings()


def calibrate_files(
    stacks: Sequence[str | Path],
    output: str | Path,
    *,
    settings: Settings = _DEFAULT_SETTINGS,
    ceiling: float | None = None,
    pixel_um: float | None = None,
    z_um: float | None = None,
    pictures: bool = True,
) -> dict[str, Any]:
    """Measure the optics of a microscope from stacks of bead images: `deepblur calibrate` from Python.

    Args:
        stacks: TIFF z-stacks of one microscope, or folders of them.
        output: the file to write, NAME.safetensors; pictures and report lie beside it.
        settings: how the calibration is made.
        ceiling: counts at which the camera clips; None: what the files say.
        pixel_um: side of a pixel in the sample; None: what the files say.
        z_um: distance of the planes; None: what the files say.
        pictures: write PNG files too.
    Returns:
        The report, as in the JSON file, and under `left_out` what lies in the folders and was not read.
    Raises:
        ValueError: a figure that is not above 0.
        InputError: a stack cannot be used, or shows too few beads.
        OutputError: the file cannot be written, or is another's.
    """
    output = Path(output)
    if output.suffix != ".safetensors":
        raise OutputError(f"{output}: the optics are a safetensors file; end the name with .safetensors")
    for name, value in (("ceiling", ceiling), ("pixel-um", pixel_um), ("z-um", z_um)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{name} must be above 0; got {value:g}")
    given = items_of(list(map(Path, stacks)))
    names = _beads_pictures(given.items) if pictures else {}
    about = {name: value for name, value in (("pixel_um", pixel_um), ("z_um", z_um)) if value is not None}
    with (
        output_folder(output.parent),
        claimed(output.parent, Item(output, output.stem), CALIBRATED, "", tuple(names.values())) as place,
    ):
        found, like = _measured(given.items, settings, ceiling, about)
        made = calibrate(found, settings, field_px=like.field_px, pixel_um=like.pixel_um)
        _write(place, made, names)
        read = {"input": [str(item.path) for item in given.items], "source": [item.source for item in given.items]}
        report = place.finish({**read, **_numbers(made)}, {"format": CALIBRATED.format, "version": 1})
    return report | {"left_out": given.as_json()}


def read_stack(path: str | os.PathLike, *, ceiling: float | None = None) -> BeadStack:
    """The z-stack in a TIFF file, with pixel size and plane distance where the file says them.

    Args:
        ceiling: counts at which the camera clips; default: the largest value of the file's bits, or a plateau at its
            largest value.
    Raises:
        InputError: not an image, several channels, one plane only, NaN, or axes in the wrong order.
    """
    recording = open_image(path)
    name = Path(path).name
    if recording.channels != 1:
        raise InputError(f"{name}: has {recording.channels} channels; save the channel of the beads alone")
    check_fits(recording, 2.0 * recording.dtype.itemsize + 16)
    planes = np.stack([frame[0] for frame in recording.frames()])
    return stack_of(
        planes,
        name=name,
        pixel_um=recording.pixel_um,
        z_um=recording.z_um,
        ceiling=ceiling,
        bits=recording.bits,
    )


def _label(item: Item) -> str:
    """A stack's name in report and pictures, with its folder where there are several."""
    return str(item.below / item.path.name)


def _beads_pictures(items: Sequence[Item]) -> dict[str, str]:
    """Label of each stack → how its picture's name ends, all of them different."""
    alike = len({item.name for item in items}) < len(items)
    numbers = (f"{k + 1}_" if alike else "" for k in range(len(items)))
    return {_label(item): f"_beads_{number}{item.name}.png" for item, number in zip(items, numbers, strict=True)}


def _measured(
    items: Sequence[Item], settings: Settings, ceiling: float | None, about: Mapping[str, Any]
) -> tuple[list[Measured], BeadStack]:
    """What each stack shows, and the first stack for what all have in common; one stack is in memory at a time."""
    found: list[Measured] = []
    headers: list[BeadStack] = []
    for item in tqdm(items, unit="stack", delay=2, file=sys.stderr, disable=None):
        stack = read_stack(item.path, ceiling=ceiling)
        stack = replace(stack, name=_label(item), **about)
        check_alike([*headers[:1], stack])
        found.append(measure(stack, settings))
        headers.append(replace(stack, planes=stack.planes[:1]))  # all but the pixels
    return found, headers[0]


def _write(place: Place, made: Calibration, pictures: Mapping[str, str]) -> None:
    """The files; the optics come last, so that they are there only with all that explains them."""
    if pictures:
        from deepblur.platform.optics.pictures import beads_picture, field_picture, optics_picture

        write_picture(place.path("optics_picture", "_optics.png"), optics_picture(made.optics))
        sharpest = int(made.optics.gammas.norm(dim=1).argmax())  # a sharp PSF has the most energy
        title = f"PSFs over the field, {made.optics.states[sharpest]}"
        picture = field_picture(made.optics, made.optics.gammas[sharpest], title)
        write_picture(place.path("field_picture", "_field.png"), picture)
        for measured in made.measured:
            picture = beads_picture(measured.name, measured.beads)
            write_picture(place.path(f"beads {measured.name}", pictures[measured.name]), picture)
    save_optics(made.optics, place.path("optics", ".safetensors"))


def _numbers(made: Calibration) -> dict[str, Any]:
    optics = made.optics
    psfs, maps = optics.shape
    low, high = optics.box
    return {
        "eigen_psfs": psfs,
        "space_maps": maps,
        "explained_psfs": [round(float(v), 5) for v in optics.explained_psfs],
        "explained_maps": [round(float(v), 5) for v in optics.explained_maps],
        "field_px": list(optics.field_px),
        "pixel_um": optics.pixel_um,
        "states": len(optics.states),
        "gamma": {
            "mean": [round(float(v), 5) for v in optics.mean],
            "std": [round(float(v), 5) for v in optics.covariance.diagonal().sqrt()],
            "least": [round(float(v), 5) for v in low],
            "greatest": [round(float(v), 5) for v in high],
        },
        **optics.notes,
    }
