"""From one frame of an image to the restored frame and what is known about it.

A frame has channels (C, H, W). Channels share the PSF of their luminance, or have one each; a large frame is restored
in tiles; `varying` identifies and restores tile by tile, for a blur that changes over the field.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepblur.baselines.estimate import READ_PX, count_not_finite, richest
from deepblur.operators import noise_std_of
from deepblur.platform.models.light import Removal, Remove, in_light, on_dark_ground
from deepblur.platform.models.readings import Identification
from deepblur.platform.models.reliability import judge
from deepblur.platform.system.errors import InputError
from deepblur.restoration.areas import Part, cut_of, part_of
from deepblur.restoration.blurs import EMPTY, JudgedBlur, LocalBlur
from deepblur.restoration.channels import Channels, grey_image
from deepblur.restoration.engines.engine import Engine, IdentifiedBlur
from deepblur.restoration.images.scratch import MEMORY, Scratch, bands
from deepblur.restoration.memory import MAX_TILE_PX, tile_for
from deepblur.restoration.options import MIN_TILE_PX, Options
from deepblur.restoration.scale import Scale
from deepblur.restoration.tiles import Framed, restore_in_tiles, restore_part

Tick = Callable[[float], None]
TOGETHER = Channels()


@dataclass(frozen=True)
class Frame:
    """A restored frame, or a region of one: (C, H, W) float32 in units of the scale, a blur for each or one for all."""

    channels: np.ndarray
    blurs: tuple[JudgedBlur, ...]
    tiles: int


def restore_frame(
    engine: Engine,
    values: np.ndarray,
    options: Options,
    *,
    channels: Channels = TOGETHER,
    label: str = "",
    scales: Sequence[Scale] = (),
    tick: Tick | None = None,
    scratch: Scratch = MEMORY,
) -> Frame:
    """Identify and restore one frame.

    Args:
        values: (C, H, W) float32, in units of the scale: about [0, 1].
        channels: which of them share a PSF.
        label: of the frame.
        scales: of each channel; none counts as unsaturated.
        tick: called with the share of the frame that was just done; the shares sum to 1.
        scratch: makes the arrays of the frame's size; `values` should be one of its own.
    Raises:
        InputError: the frame is smaller than the PSF, or needs more memory than is allowed.
    """
    stack = torch.from_numpy(np.ascontiguousarray(values))
    cut = cut_of(options, values.shape[-2:])
    restored = torch.from_numpy(scratch.empty(stack[:, *cut].shape))
    blurs, tiles = [], 1

    def done(share: float) -> None:
        scratch.release()
        if tick is not None:
            tick(share / len(stack))

    for group in _groups(engine, stack, options, channels, label, scales, scratch):
        if _constant(group.grey, scratch):
            for member in group.members:
                restored[member] = stack[member][cut]
                done(1.0)
            blurs.append(group.empty())
            continue
        found, places = group.identified(options.varying)
        dark = on_dark_ground(group.grey)
        strengths: list[dict[str, Any]] = []
        dead: list[str] = []
        for member in group.members:
            y = stack[member]
            if _constant(y, scratch):
                restored[member] = y[cut]
                dead.append(f"channel {member} is empty and was left as it is")
                done(1.0)
                continue
            if options.varying:
                remove, tile_px = _varying(group.engine, places, dark), MIN_TILE_PX
            else:
                remove = _remover(group.engine, y, found, dark)
                strengths.append(remove.settings)
                scratch.release()
                tile_px = options.tile_px or tile_for(group.engine, stack, options, scratch)
            tiles = restore_part(y, cut, tile_px, group.engine.psf_size, remove, done, restored[member])
        seen = _grey(restored, group.members, channels, scratch)
        more = {"restored_by": tuple(strengths), "remarks": tuple(dead)}
        blurs.append(group.judged(group.grey[cut], seen, found, places, **more))
    return Frame(restored.numpy(), tuple(blurs), tiles)


def identify_frame(
    engine: Engine,
    values: np.ndarray,
    options: Options,
    *,
    channels: Channels = TOGETHER,
    label: str = "",
    scales: Sequence[Scale] = (),
    scratch: Scratch = MEMORY,
) -> tuple[JudgedBlur, ...]:
    """The blurs of a frame, one for each channel or one for all, judged by their restoration; see restore_frame.

    The restoration is that of a part of the frame, which is enough to judge by.
    """
    stack = torch.from_numpy(np.ascontiguousarray(values))
    blurs = []
    for group in _groups(engine, stack, options, channels, label, scales, scratch):
        if _constant(group.grey, scratch):
            blurs.append(group.empty())
            continue
        found, places = group.identified(options.varying)
        part = group.grey if group.engine.whole_field else richest(group.grey[group.region], READ_PX)
        joined = torch.from_numpy(scratch.empty(part.shape)).zero_()
        remove = _remover(group.engine, part, found, on_dark_ground(group.grey))
        restored, _ = restore_in_tiles(
            part, MAX_TILE_PX, group.engine.psf_size, remove, lambda share: scratch.release(), joined
        )
        blurs.append(group.judged(part, restored, found, places))
    return tuple(blurs)


@dataclass(frozen=True)
class _Group:
    """Channels of a frame that share a blur."""

    engine: Engine
    frame: str
    """Its label."""
    channel: str
    """Its name; "" where all share the blur."""
    members: list[int]
    grey: Tensor
    """(H, W), what the blur is read from."""
    scale: Scale | None
    psfs: int
    """Of the whole frame."""
    region: Part
    """Where the blur is read."""

    def identified(self, varying: bool) -> tuple[IdentifiedBlur, list[LocalBlur]]:
        """The blur, and that at places of the field where it varies."""
        engine, grey = self.engine, self.grey
        if grey[self.region].min() == grey[self.region].max():
            raise InputError("every pixel of the region has the same value, so it tells of no blur; choose another one")
        if varying:
            framed = Framed.of(grey, MIN_TILE_PX, engine.psf_size)
            places = [LocalBlur(*framed.middle(tile), engine.identify(framed.part(tile))) for tile in framed.tiling]
            # the mean PSF, because γ and its twin have one PSF and a mean without meaning
            psf = torch.stack([place.found.psf for place in places]).mean(0)
            return (places[0].found if len(places) == 1 else IdentifiedBlur(psf)), places
        found = engine.identify(grey[self.region])
        there = engine.places(found, (grey.shape[-2], grey.shape[-1]))
        return found, [LocalBlur(row, column, blur) for (row, column), blur in there.items()]

    def judged(
        self, y: Tensor, restored: Tensor, found: IdentifiedBlur, places: list[LocalBlur], **more: Any
    ) -> JudgedBlur:
        """How far it can be trusted, by what it and the restored image leave unexplained of y (H, W)."""
        engine, operator, noise_std = self.engine, self.engine.operator, float(noise_std_of(y))
        residual = engine.residual(y, restored, found)
        known = None
        if operator is not None and found.gamma is not None:
            std = torch.zeros_like(found.gamma) if found.gamma_std is None else found.gamma_std
            known = Identification(gamma=found.gamma, std=std, calibrated=found.calibrated, views=1)
        saturated = 0.0 if self.scale is None else self.scale.saturated
        doubts = engine.limits(found) + engine.assumed(self.psfs) + engine.aliased()
        doubts += engine.contradicted(self.grey[self.region])
        flags, verdict, sentence = judge(
            y, residual, known, operator, card=engine.card, noise_std=noise_std, saturated=saturated, doubts=doubts
        )
        more |= {"places": tuple(places), "cutoff": None if operator is None else operator.cutoff}
        return self._blur(
            found, noise_std=noise_std, residual=residual, flags=flags, verdict=verdict, sentence=sentence, **more
        )

    def empty(self) -> JudgedBlur:
        """Without structure; its numbers are NaN, so that those of the others keep their places."""
        value, operator, size = float(self.grey[0, 0]), self.engine.operator, self.engine.psf_size
        if self.scale is not None:
            value = self.scale.black + value * (self.scale.white - self.scale.black)
        nothing = None if operator is None else torch.full((operator.num_parameters,), torch.nan)
        found = IdentifiedBlur(torch.full((size, size), torch.nan), nothing, nothing)
        sentence = f"every pixel has the value {value:g}, so it was left as it is"
        more: dict[str, Any] = {"sentence": sentence, "remarks": (sentence,)}
        return self._blur(found, noise_std=0.0, residual=None, flags=(), verdict=EMPTY, **more)

    def _blur(self, found: IdentifiedBlur, **judged: Any) -> JudgedBlur:
        operator = self.engine.operator
        noll = () if operator is None or found.gamma is None else operator.noll
        return JudgedBlur(frame=self.frame, channel=self.channel, found=found, noll=noll, scale=self.scale, **judged)


def _groups(
    engine: Engine,
    stack: Tensor,
    options: Options,
    channels: Channels,
    label: str,
    scales: Sequence[Scale],
    scratch: Scratch,
) -> list[_Group]:
    """What shares a blur in a frame (C, H, W).

    Raises:
        InputError: the frame or its region is smaller than the PSF, the region is not in it, or a pixel not finite.
    """
    region = part_of(options.region, stack.shape[-2:])
    (H, W), what = stack[0][region].shape, "image" if options.region is None else "region"
    least = max(engine.psf_size, 32)
    if min(H, W) < least:
        raise InputError(
            f"the {what} has {H}x{W} pixels, but {engine.name} needs at least {least}x{least}, the size of its PSF; "
            "take a larger field of view"
        )
    for i, channel in enumerate(stack):
        bad = count_not_finite(channel)
        scratch.release()
        if bad:
            raise InputError(f"{bad} pixels of channel {i} are NaN or infinite; replace them first")
    groups = channels.groups(len(stack))
    return [
        _Group(
            engine=engine if len(members) > 1 else engine.of_channel(members[0]),
            frame=label,
            channel=name,
            members=members,
            grey=_grey(stack, members, channels, scratch),
            scale=scales[members[0]] if scales else None,  # channels that share a blur share a scale too
            psfs=len(groups),
            region=region,
        )
        for name, members in groups
    ]


def _constant(image: Tensor, scratch: Scratch) -> bool:
    constant = bool(image.min() == image.max())
    scratch.release()
    return constant


def _grey(stack: Tensor, members: list[int], channels: Channels, scratch: Scratch) -> Tensor:
    if len(members) == 1:
        return stack[members[0]]
    grey = torch.from_numpy(scratch.empty(stack.shape[1:]))
    for rows in bands(stack.shape):
        grey[rows] = grey_image([stack[k, rows] for k in members], channels.colour)
        scratch.release()
    return grey


def _varying(engine: Engine, places: list[LocalBlur], dark: bool) -> Remove:
    """What removes from each tile its own blur."""
    known = {(place.row, place.column): place.found for place in places}
    return lambda part, place: _remover(engine, part, known[place], dark)(part, place)


def _remover(engine: Engine, y: Tensor, found: IdentifiedBlur, dark: bool) -> Removal:
    """What removes a blur from the tiles of y, an image on a dark ground or not."""
    removal = engine.prepare(y, found)
    return in_light(removal, y, found.psf) if dark and not engine.whole_field else removal
