"""What is known of the optics of a recording: what the user said, and where that is nothing, what its file says.

What neither says is read from the image, where its spectrum ends clearly enough.

Channel by channel: each wavelength has its own cutoff, NA / wavelength * pixel size.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from deepblur.baselines.spectrum_end import spectrum_end
from deepblur.operators.pupil import psf_px
from deepblur.platform.models.trained_range import SATURATED
from deepblur.platform.system.errors import InputError
from deepblur.restoration.areas import Part
from deepblur.restoration.channels import Channels, grey_image
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.engines.optics import ChannelOptics, Quantity
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.options import LEAST_CUTOFF, MOST_CUTOFF, OPTIONS, EngineChoice
from deepblur.restoration.scale import Scale

_WORDS = {"na": "NA", "wavelength_nm": "the wavelength", "pixel_nm": "the pixel size"}


def told_optics(choice: EngineChoice) -> tuple[ChannelOptics, ...]:
    """What the user said, whatever the files: for all channels, or for each; unknown where that gives no cutoff."""
    if choice.cutoff is not None:
        cutoffs = choice.cutoff if isinstance(choice.cutoff, tuple) else (choice.cutoff,)
        return tuple(ChannelOptics(cutoff=Quantity(cutoff, "told")) for cutoff in cutoffs)
    lens = {name: tuple(Quantity(value, "told") for value in values) for name, values in choice.lens.items()}
    na, pixel_nm, index = (lens[name][0] if name in lens else None for name in ("na", "pixel_nm", "index"))
    return tuple(
        ChannelOptics.of_lens(na=na, wavelength_nm=wavelength_nm, pixel_nm=pixel_nm, index=index)
        for wavelength_nm in lens.get("wavelength_nm", (None,))
    )


def told_lens(choice: EngineChoice) -> ChannelOptics:
    """What the user said of a lens that belongs to no image.

    Raises:
        ValueError: it gives no cutoff.
    """
    (optics,) = told_optics(choice)
    if optics.cutoff is None and choice.lens:
        raise ValueError(_lacking(optics, choice, "you did not say"))
    if optics.cutoff is None:
        raise ValueError("a PSF has the cutoff of its lens: say --cutoff, or --na, --wavelength-nm and --pixel-nm")
    return optics


def optics_of(choice: EngineChoice, recording: Recording, channels: Channels) -> tuple[ChannelOptics, ...]:
    """What is known of a recording's optics: one for all channels, or one for each that has a PSF of its own.

    Raises:
        InputError: the user said a part of the lens, and the file does not say the rest; an NA above the index.
    """
    told = told_optics(choice)
    if all(one.cutoff is not None for one in told):
        return told
    waves = _wavelengths(recording, channels)
    if choice.wavelength_nm is None and len(waves) > 1:
        told = told * len(waves)
    found = []
    for one, wavelength_nm in zip(told, waves if len(waves) == len(told) else (None,) * len(told), strict=True):
        na, index = one.na or _from_file(recording.na), one.index or _from_file(recording.index)
        if na is not None and index is not None and na.value > index.value:
            raise InputError(
                f"{recording.path}: NA {na.value:g} ({na.words}) exceeds the index {index.value:g} ({index.words}) of "
                "the immersion medium, which cannot be; say --na and --index"
            )
        pixel_nm = one.pixel_nm or _from_file(None if recording.pixel_um is None else 1000 * recording.pixel_um)
        wavelength_nm = one.wavelength_nm or wavelength_nm
        found.append(ChannelOptics.of_lens(na=na, wavelength_nm=wavelength_nm, pixel_nm=pixel_nm, index=index))
        if choice.lens and found[-1].cutoff is None:
            raise InputError(f"{recording.path}: {_lacking(found[-1], choice)}")
    return tuple(found)


def fitted(engine: Engine, choice: EngineChoice, recording: Recording, channels: Channels) -> Engine:
    """The engine of this choice with the optics of a recording; itself where it knows its PSFs, or takes any.

    Raises:
        InputError: what `optics_of` refuses; the file says optics that no camera can sample.
        ModelError: the engine is for other optics than the user says.
    """
    if engine.adapted is None:
        return engine
    optics = optics_of(choice, recording, channels)
    if engine.takes_cutoff:
        _check_sampled(recording.path, optics)
    return engine.adapted(optics)


def with_cutoffs_read(
    engine: Engine, frame: Tensor, channels: Channels, scales: Sequence[Scale], region: Part
) -> Engine:
    """The engine with the cutoffs where the spectra of a frame end; itself where all are known, or none can be read.

    Args:
        frame: (C, H, W), without its outliers.
        scales: of each channel; one that is saturated is not read, for clipping adds power beyond the end.
        region: where the blur is identified.
    """
    groups = [members for _, members in channels.groups(len(frame))]
    known = [(engine.of_channel(members[0]) if len(groups) > 1 else engine).known for members in groups]
    if engine.adapted is None or not engine.takes_cutoff or all(one.cutoff is not None for one in known):
        return engine
    read = []
    for one, members in zip(known, groups, strict=True):
        if one.cutoff is None and all(scales[k].saturated <= SATURATED for k in members):
            one = _with_cutoff_read(one, [frame[k][region] for k in members], channels.colour)
        read.append(one)
    return engine if all(one.cutoff is None for one in read) else engine.adapted(tuple(read))


def _with_cutoff_read(known: ChannelOptics, images: Sequence[Tensor], colour: bool) -> ChannelOptics:
    """With the cutoff by the grey image of images (H, W)."""
    end = spectrum_end(grey_image(images, colour))
    if end is None or end.read is None:
        return known
    cutoff, std = end.read
    if min(images[0].shape) < psf_px(cutoff):
        return known  # and its PSF would not fit
    return replace(known, cutoff=Quantity(cutoff, "image", std))


def _check_sampled(path: Path, optics: Sequence[ChannelOptics]) -> None:
    for one in optics:
        cutoff = one.cutoff
        if cutoff is not None and cutoff.origin == "file" and not LEAST_CUTOFF <= cutoff.value <= MOST_CUTOFF:
            raise InputError(
                f"{path}: {one.words} lies outside of {LEAST_CUTOFF:g} to {MOST_CUTOFF:g} cycles per pixel, what a "
                "camera can sample; if one of the numbers is wrong, say it with --na, --wavelength-nm or --pixel-nm, "
                "else take smaller pixels or --method l0"
            )


def _from_file(value: float | None) -> Quantity | None:
    return None if value is None else Quantity(value, "file")


def _wavelengths(recording: Recording, channels: Channels) -> list[Quantity | None]:
    """By the file, of each channel that has a PSF of its own; of channels that share one, their mean."""
    found: list[Quantity | None] = []
    for _, members in channels.groups(recording.channels):
        waves = [recording.emission_nm[i] for i in members] if recording.emission_nm else []
        known = [wave for wave in waves if wave is not None]
        found.append(_from_file(sum(known) / len(known) if known and len(known) == len(waves) else None))
    return found


def _lacking(optics: ChannelOptics, choice: EngineChoice, nobody: str = "neither you nor the file says") -> str:
    """Which numbers are missing, and what to do."""
    missing = [name for name in _WORDS if getattr(optics, name) is None]
    said = ", ".join(f"{option} {choice.said[option]}" for option in OPTIONS.values() if option in choice.said)
    words = " or ".join(_WORDS[name] for name in missing)
    options = " and ".join(OPTIONS[name] for name in missing)
    return (
        f"the cutoff is NA / wavelength * pixel size; {said} was told, but {nobody} {words}; say {options} too, or "
        "--cutoff alone"
    )
