"""What Leica's LIF says in its XML of sample and optics of one of its images."""

from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element

from deepblur.restoration.images.tiff_metadata import Facts, credible


def lif_facts(opened: Any, position: int, channels: int) -> Facts:
    """Fields of a `Recording`, from bioio's reader of the file."""
    facts: Facts = {}
    with suppress(Exception):  # metadata are a courtesy
        sides = opened.physical_pixel_sizes
        facts = {"pixel_um": sides.X, "pixel_height_um": sides.Y, "z_um": sides.Z}
        facts["channel_names"] = tuple(map(str, opened.channel_names or ()))
    with suppress(Exception):
        images = [one for one in opened.metadata.iter("Element") if one.find("./Data/Image") is not None]
        if len(images) == len(opened.scenes):
            image = images[position]
            facts |= {"na": _first(image, "NumericalAperture"), "index": _first(image, "RefractionIndex")}
            filters = [one for one in image.iter() if one.tag.endswith("ChannelInfo") and one.get("EmissionWavelength")]
            facts["emission_nm"] = tuple(float(str(one.get("EmissionWavelength"))) for one in filters)
    return credible(facts, channels)


def _first(image: Element, name: str) -> float | None:
    return next((float(str(one.get(name))) for one in image.iter() if one.get(name)), None)
