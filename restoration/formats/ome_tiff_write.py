"""What microscopes' own files become: an OME-TIFF with the sizes, channels, times and optics that the file stated."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from tifffile import TiffWriter

from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.images.recording import Recording

_BIG_BYTES = 2**32 - 2**25
_SPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_TYPES = {"float32": "float", "float64": "double"}


def write_ome_tiff(path: Path, frames: Iterator[np.ndarray], like: Recording) -> None:
    """See `write_recording`. Planes are not compressed, those of a frame's channels one after another."""
    height, width = like.size
    samples = like.shape[like.axes.index("S")] if "S" in like.axes else 1
    pages = like.length * (like.channels + like.alpha) // samples
    block = (height, width) if samples == 1 else (height, width, samples)
    raw = math.prod(block) * pages * like.dtype.itemsize
    options: dict[str, Any] = {"photometric": "minisblack" if samples == 1 else "rgb", "planarconfig": None}
    if samples > 1:
        options["planarconfig"] = "contig"
    if like.alpha:
        options["extrasamples"] = ["unassalpha"]
    if like.pixel_um:
        options["resolution"] = (1e4 / like.pixel_um, 1e4 / (like.pixel_height_um or like.pixel_um))
        options["resolutionunit"] = "CENTIMETER"
    with (
        replacing(path, raw) as file,
        TiffWriter(file, bigtiff=raw > _BIG_BYTES, ome=False, shaped=False) as writer,
    ):
        writer.write(
            _blocks(frames, like, samples),
            shape=(pages, *block),
            dtype=like.dtype,
            description=_description(like, samples),
            metadata=None,
            software=False,
            maxworkers=1,
            **options,
        )
        for _ in frames:  # more than fit are an error of whoever made them
            pass


def _blocks(frames: Iterator[np.ndarray], like: Recording, samples: int) -> Iterator[np.ndarray]:
    for index, frame in enumerate(frames):
        planes = np.concatenate([frame, like.kept(index)]) if like.alpha else frame
        for first in range(0, len(planes), samples):
            yield planes[first] if samples == 1 else np.ascontiguousarray(np.moveaxis(planes[first:][:samples], 0, -1))
        like.scratch.release()


def _description(like: Recording, samples: int) -> bytes:
    """OME-XML of one image, its planes in a row, channels the fastest."""
    axes = like.axes.replace("I", "T")  # pages of unknown meaning are times: OME knows no others
    sizes = {axis: like.shape[axes.index(axis)] if axis in axes else 1 for axis in "TZC"}
    lead = [axis for axis in axes if axis in "TZ"]
    order = "XYC" + "".join(reversed(lead)) + "".join(axis for axis in "ZT" if axis not in lead)
    root = Element("OME", {"xmlns": _SPACE, "Creator": "deepblur"})
    if like.na or like.index:
        lens = SubElement(SubElement(root, "Instrument", {"ID": "Instrument:0"}), "Objective", {"ID": "Objective:0"})
        if like.na:
            lens.set("LensNA", repr(like.na))
    image = SubElement(root, "Image", {"ID": "Image:0", "Name": like.path.name})
    if like.na or like.index:
        SubElement(image, "InstrumentRef", {"ID": "Instrument:0"})
        settings = SubElement(image, "ObjectiveSettings", {"ID": "Objective:0"})
        if like.index:
            settings.set("RefractiveIndex", repr(like.index))
    height, width = like.size
    pixels = SubElement(
        image,
        "Pixels",
        {
            "ID": "Pixels:0",
            "DimensionOrder": order,
            "Type": _TYPES.get(like.dtype.name, like.dtype.name),
            "SizeX": str(width),
            "SizeY": str(height),
            "SizeZ": str(sizes["Z"]),
            "SizeC": str(sizes["C"] * samples),
            "SizeT": str(sizes["T"]),
        },
    )
    lengths = {"X": like.pixel_um, "Y": like.pixel_height_um or like.pixel_um, "Z": like.z_um}
    for axis, um in lengths.items():
        if um:
            pixels.attrib |= {f"PhysicalSize{axis}": repr(um), f"PhysicalSize{axis}Unit": "µm"}
    if like.interval_s:
        pixels.attrib |= {"TimeIncrement": repr(like.interval_s), "TimeIncrementUnit": "s"}
    for k in range(sizes["C"]):
        channel = SubElement(pixels, "Channel", {"ID": f"Channel:0:{k}", "SamplesPerPixel": str(samples)})
        if like.channel_names:
            channel.set("Name", like.channel_names[k])
        wave = like.emission_nm[k] if like.emission_nm else None
        if wave:
            channel.attrib |= {"EmissionWavelength": repr(wave), "EmissionWavelengthUnit": "nm"}
    SubElement(pixels, "TiffData", {"IFD": "0", "PlaneCount": str(like.length * sizes["C"])})
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
