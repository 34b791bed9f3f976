"""What Zeiss's CZI says in its XML of sample and optics. Source: ZEN's metadata, as libCZI hands them over."""

from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from deepblur.restoration.formats.kinds import reader
from deepblur.restoration.images.tiff_metadata import IMMERSION, Facts, credible


def czi_facts(metadata: Element, channels: int) -> Facts:
    """Fields of a `Recording` that the file states, as far as they are credible."""
    facts: Facts = {}
    sides = {"X": "pixel_um", "Y": "pixel_height_um", "Z": "z_um"}
    image = metadata.find("./Metadata/Information/Image")
    for distance in metadata.findall("./Metadata/Scaling/Items/Distance"):
        if (side := _number(distance, "Value")) is not None and distance.get("Id") in sides:
            facts[sides[str(distance.get("Id"))]] = side * 1e6  # metres, whatever a person sees
    if image is None:
        return credible(facts, channels)
    stated = image.findall("./Dimensions/Channels/Channel")
    names = [channel.get("Name") for channel in stated]
    facts["channel_names"] = tuple(map(str, names)) if names and all(names) else ()
    facts["emission_nm"] = tuple(_number(channel, "EmissionWavelength") for channel in stated)
    facts["interval_s"] = _number(image, "Dimensions/T/Positions/Interval/Increment")
    return credible(facts | _lens(metadata, image), channels)


def scenes_stored(path: Path) -> int:
    """How many scenes the pixels of the file belong to, whatever its metadata say."""
    shapes: list[dict[str, Any]] = reader("aicspylibczi", "czi").CziFile(str(path)).get_dims_shape()
    ends = [shape.get("S", (0, 1)) for shape in shapes]
    return max(end for _, end in ends) - min(start for start, _ in ends)


def _lens(metadata: Element, image: Element) -> Facts:
    """NA and immersion of the objective that the image names, or of the only one that there is."""
    settings, used = image.find("./ObjectiveSettings"), None
    objectives = metadata.findall("./Metadata/Information/Instrument/Objectives/Objective")
    if settings is not None:
        reference = settings.find("./ObjectiveRef")
        used = None if reference is None else reference.get("Id")
    if used is not None:
        objectives = [lens for lens in objectives if lens.get("Id") == used]
    if len(objectives) != 1:
        return {}
    index = None if settings is None else _number(settings, "RefractiveIndex")
    medium = objectives[0].findtext("./Immersion") or ""
    return {"na": _number(objectives[0], "LensNA"), "index": index or IMMERSION.get(medium.lower())}


def _number(element: Element, place: str) -> float | None:
    with suppress(TypeError, ValueError):
        return float(element.findtext(place) or "")
    return None
