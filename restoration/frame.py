"""From one frame of an image to the restored frame and what is known about it.

A frame has channels (C, H, W). Channels share the PSF of their luminance, or have one each; a large frame is restored
in tiles; `varying` identifies and restores tile by tile, for a blur that changes over the field.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepblur.baselines.estimate import READ_PX, count_not_finite, richest
from deepblur.operators import noise_std_of, zernike_name
from deepblur.platform.data.image_file import LUMA
from deepblur.platform.models.readings import Identification
from deepblur.platform.models.trained_range import range_flags
from deepblur.platform.system.errors import InputError
from deepblur.restoration.blurs import JudgedBlur, Place, empty_blur
from deepblur.restoration.engines.engine import Engine, IdentifiedBlur
from deepblur.restoration.engines.reliability import verdict_of
from deepblur.restoration.engines.removal import Removal, Remove, in_light, on_dark_ground
from deepblur.restoration.images.scratch import MEMORY, Scratch, bands
from deepblur.restoration.memory import MAX_TILE_PX, tile_for
from deepblur.restoration.options import Options
from deepblur.restoration.scale import Scale
from deepblur.restoration.tiles import MIN_TILE_PX, Framed, restore_in_tiles

Tick = Callable[[float], None]


@dataclass(frozen=True)
class Frame:
    """A restored frame: channels (C, H, W) float32 in units of the scale, a JudgedBlur for each or one for all."""

    channels: np.ndarray
    blurs: tuple[JudgedBlur, ...]
    tiles: int


def restore_frame(
    engine: Engine,
    values: np.ndarray,
    options: Options,
    *,
    label: str = "",
    scales: Sequence[Scale] = (),
    tick: Tick | None = None,
    scratch: Scratch = MEMORY,
) -> Frame:
    """Identify and restore one frame.

    Args:
        values: (C, H, W) float32, in units of the scale: about [0, 1].
        scratch: makes the arrays of the frame's size; `values` should be one of its own.
        label: of the frame.
        scales: of each channel; none counts as unsaturated.
        tick: called with the share of the frame that was just done; the shares sum to 1.
    Raises:
        InputError: the frame is smaller than the PSF, or needs more memory than is allowed.
    """
    stack = torch.from_numpy(np.ascontiguousarray(values))
    _check(stack, engine, scratch)
    groups = _groups(stack, options, scratch)
    restored = torch.from_numpy(scratch.empty(values.shape))
    blurs, tiles, whole = [], 1, engine

    def tick_share(share: float) -> None:
        scratch.release()
        if tick is not None:
            tick(share / len(stack))

    for name, grey, members in groups:
        engine = whole if len(members) > 1 else whole.of_channel(members[0])
        if _constant(grey, scratch):
            for member in members:
                restored[member] = stack[member]
                scratch.release()
            blurs.append(empty_blur(engine, label, name, float(grey.flatten()[0]), _of(scales, members)))
            tick_share(float(len(members)))
            continue
        places: list[Place] = []
        strengths: list[dict[str, Any]] = []
        dead: list[str] = []
        found = None if options.varying else engine.identify(grey)
        for member in members:
            if _constant(stack[member], scratch):
                restored[member] = stack[member]
                dead.append(f"channel {member} is empty and was left as it is")
                tick_share(1.0)
                continue
            if found is None:
                remove = _varying(engine, grey, places)
            else:
                remove = _remover(engine, stack[member], found, on_dark_ground(grey))
                strengths.append(remove.settings)
            scratch.release()
            tile_px = (
                MIN_TILE_PX
                if found is None
                else options.tile_px or tile_for(engine, stack, options.max_memory_gib, scratch)
            )
            joined = restored[member].zero_()
            _, tiles = restore_in_tiles(stack[member], tile_px, engine.psf_size, remove, tick_share, joined)
        known = found or _mean(places)
        places = places or _places(engine, known, grey)
        seen = _grey(restored, members, options, scratch)
        blur = _judged(engine, grey, seen, known, places, label, name, _of(scales, members), psfs=len(groups))
        blurs.append(replace(blur, restored_by=tuple(strengths), remarks=tuple(dead)))
    return Frame(restored.numpy(), tuple(blurs), tiles)


def identify_frame(
    engine: Engine,
    values: np.ndarray,
    options: Options,
    *,
    label: str = "",
    scales: Sequence[Scale] = (),
    scratch: Scratch = MEMORY,
) -> tuple[JudgedBlur, ...]:
    """The blurs of a frame, one for each channel or one for all, judged by their restoration; see restore_frame.

    The restoration is that of a part of the frame, which is enough to judge by.
    """
    stack = torch.from_numpy(np.ascontiguousarray(values))
    _check(stack, engine, scratch)
    blurs, whole = [], engine
    groups = _groups(stack, options, scratch)
    for name, grey, members in groups:
        engine = whole if len(members) > 1 else whole.of_channel(members[0])
        if _constant(grey, scratch):
            blurs.append(empty_blur(engine, label, name, float(grey.flatten()[0]), _of(scales, members)))
            continue
        places: list[Place] = []
        if options.varying:
            places = _measured(engine, grey)
        found = _mean(places) if places else engine.identify(grey)
        places = places or _places(engine, found, grey)
        part = grey if engine.whole_field else richest(grey, READ_PX)
        joined = torch.from_numpy(scratch.empty(part.shape)).zero_()
        remove = _remover(engine, part, found, on_dark_ground(grey))
        restored, _ = restore_in_tiles(
            part, MAX_TILE_PX, engine.psf_size, remove, lambda share: scratch.release(), joined
        )
        scale = _of(scales, members)
        blurs.append(_judged(engine, part, restored, found, places, label, name, scale, psfs=len(groups)))
    return tuple(blurs)


def _check(stack: Tensor, engine: Engine, scratch: Scratch) -> None:
    H, W = stack.shape[-2:]
    least = max(engine.psf_size, 32)
    if min(H, W) < least:
        raise InputError(
            f"the image has {H}x{W} pixels, but {engine.name} needs at least {least}x{least}, the size of its PSF; "
            "take a larger field of view"
        )
    for i, channel in enumerate(stack):
        bad = count_not_finite(channel)
        scratch.release()
        if bad:
            raise InputError(f"{bad} pixels of channel {i} are NaN or infinite; replace them first")


def _groups(stack: Tensor, options: Options, scratch: Scratch) -> list[tuple[str, Tensor, list[int]]]:
    """(name, grey image, its channels) for every blur that is to be identified."""
    everyone = list(range(len(stack)))
    if options.shared or len(stack) == 1:
        return [("", _grey(stack, everyone, options, scratch), everyone)]
    names = options.labels or tuple(f"channel {i}" for i in everyone)
    return [(names[i], stack[i], [i]) for i in everyone]


def _constant(image: Tensor, scratch: Scratch) -> bool:
    constant = bool(image.min() == image.max())
    scratch.release()
    return constant


def _of(scales: Sequence[Scale], members: list[int]) -> Scale | None:
    """Of the channels that share a blur, which share a scale too."""
    return scales[members[0]] if scales else None


def _grey(stack: Tensor, members: list[int], options: Options, scratch: Scratch) -> Tensor:
    if len(members) == 1:
        return stack[members[0]]
    weights = torch.tensor(grey_weights(len(members), options.colour), dtype=stack.dtype)
    grey = torch.from_numpy(scratch.empty(stack.shape[1:]))
    for rows in bands(stack.shape):
        grey[rows] = torch.tensordot(weights, stack[members, rows], dims=1)
        scratch.release()
    return grey


def grey_weights(channels: int, colour: bool) -> tuple[float, ...]:
    """What each channel counts in the grey image that a shared blur is read from: luminance of colours, or the mean."""
    return LUMA if colour else (1 / channels,) * channels


def _varying(engine: Engine, grey: Tensor, places: list[Place]) -> Remove:
    """Removes from each tile its own blur, found in the grey image; `places` remembers them for the next channel."""
    if not places:
        places += _measured(engine, grey)
    known = {(place.row, place.column): place.found for place in places}
    dark = on_dark_ground(grey)
    return lambda part, place: _remover(engine, part, known[place], dark)(part, place)


def _remover(engine: Engine, y: Tensor, found: IdentifiedBlur, dark: bool) -> Removal:
    """What removes a blur from the tiles of y, an image on a dark ground or not."""
    removal = engine.prepare(y, found)
    return in_light(removal, y, found.psf) if dark and not engine.whole_field else removal


def _measured(engine: Engine, grey: Tensor) -> list[Place]:
    """The blur of each tile."""
    framed = Framed.of(grey, MIN_TILE_PX, engine.psf_size)
    found = [(framed.middle(tile), engine.identify(framed.part(tile))) for tile in framed.tiling]
    return [Place(row, column, there) for (row, column), there in found]


def _places(engine: Engine, found: IdentifiedBlur, grey: Tensor) -> list[Place]:
    size = (grey.shape[-2], grey.shape[-1])
    return [Place(row, column, there) for (row, column), there in engine.places(found, size).items()]


def _mean(places: list[Place]) -> IdentifiedBlur:
    """The mean PSF, because γ and its twin have one PSF and a mean without meaning."""
    psf = torch.stack([place.found.psf for place in places]).mean(0)
    return places[0].found if len(places) == 1 else IdentifiedBlur(psf)


def _judged(
    engine: Engine, y: Tensor, restored: Tensor, found: IdentifiedBlur, places: list[Place], label: str, channel: str,
    scale: Scale | None, psfs: int,
) -> JudgedBlur:  # fmt: skip
    noise_std = float(noise_std_of(y))
    residual = engine.residual(y, restored, found)
    known = None
    flags = () if engine.operator is not None else engine.limits(found)
    if engine.operator is not None and found.gamma is not None:
        std = torch.zeros_like(found.gamma) if found.gamma_std is None else found.gamma_std
        saturated = scale.saturated if scale is not None else 0.0
        known = Identification(gamma=found.gamma, std=std, calibrated=found.calibrated, views=1)
        flags = range_flags(engine.card, engine.operator, y[None, None], known, noise_std, saturated)
        flags += engine.limits(found)
    flags += engine.assumed(psfs)
    verdict, sentence = verdict_of(flags, residual, known)
    noll = engine.operator.noll if engine.operator is not None and found.gamma is not None else ()
    return JudgedBlur(
        frame=label,
        channel=channel,
        found=found,
        noise_std=noise_std,
        residual=residual,
        flags=flags,
        verdict=verdict,
        sentence=sentence,
        names=tuple(zernike_name(index) for index in noll),
        noll=tuple(noll),
        places=tuple(places),
        cutoff=None if engine.operator is None else engine.operator.cutoff,
        scale=scale,
    )
