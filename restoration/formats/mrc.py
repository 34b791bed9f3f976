"""MRC of electron microscopes, mapped from the disk, and what the header of its relative DeltaVision states.

Source: MRC2014; the DeltaVision header as the package `mrc` reads it.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np

from deepblur.restoration.formats.array_source import ArraySource, Index, array_recording
from deepblur.restoration.formats.kinds import reader
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.images.tiff_metadata import IMMERSION, Facts, credible

_ANGSTROM_UM = 1e-4


def open_mrc(path: Path) -> Recording:
    """The image, stack of images or volume in the file. Raises almost anything on a damaged one."""
    opened = reader("mrcfile", "mrc").mmap(path, mode="r")
    data = opened.data
    lead = ("I" if opened.is_image_stack() or opened.is_volume_stack() else "") + (
        "Z" if opened.is_volume() or opened.is_volume_stack() else ""
    )
    dtype = np.dtype(np.float32) if data.dtype.kind == "f" else data.dtype  # OME knows no floats of 16 bits

    def read(index: Index) -> np.ndarray:
        return np.asarray(data[index], dtype.newbyteorder("="))

    pieces = (*(1 for _ in lead), 1, data.shape[-1])
    source = ArraySource(read, f"{lead}YX", tuple(data.shape), dtype.itemsize, pieces)
    side = opened.voxel_size
    facts: Facts = {"pixel_um": float(side.x) * _ANGSTROM_UM, "pixel_height_um": float(side.y) * _ANGSTROM_UM}
    if lead.endswith("Z"):
        facts["z_um"] = float(side.z) * _ANGSTROM_UM
    return array_recording(path, "mrc", source, dtype, path.stat().st_size, **credible(facts, 1))


def dv_facts(path: Path, channels: int) -> Facts:
    """What the header of a DeltaVision file states, with the lens of its number in the list of makers."""
    facts: Facts = {}
    with suppress(Exception):  # metadata are a courtesy
        with reader("mrc", "dv").DVFile(path) as opened:
            header = opened.hdr
        facts = {"pixel_um": float(header.dx), "pixel_height_um": float(header.dy), "z_um": float(header.dz)}
        facts["emission_nm"] = tuple(float(getattr(header, f"wave{k + 1}")) for k in range(channels))
        lens = reader("mrc.lenses", "dv").D.get(header.lens_num, {})
        facts |= {"na": lens.get("lensNA"), "index": IMMERSION.get(str(lens.get("immersion", "")).lower())}
    return credible(facts, channels)
