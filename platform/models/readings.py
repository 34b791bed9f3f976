"""γ̂ of one image of any size, with an uncertainty: IN sees every window from all eight sides of the square.

Turning an image turns the aberrations in a known way, so eight readings of one window should agree; by how much they do
not, and how much windows differ, is the spread. What the model's card says about spread and error on held-out draws
turns it into a standard deviation.

In focus, γ and its twin give the same PSF, and IN says one or the other: with a turned image in half of the cases. All
readings are brought to one twin before they are averaged; without that, their mean would be no aberration at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepblur.nets.identifier import half_overlapping_starts
from deepblur.operators import Symmetry, ZernikeBlur, symmetries_of
from deepblur.platform.models.model import BlindModel
from deepblur.platform.models.uncertainty import calibrated_std
from deepblur.platform.system.errors import InputError, ModelError

WINDOWS = 36
"""Windows that are read of an image, at most; more would repeat what these say."""
WHOLE_PX = 256
"""Side of the windows where neither the card nor the network says what it was trained on."""
_AT_ONCE = 32
"""Windows per call of IN, which bounds the memory: 32 crops of 256 px take about 0.5 GB in a ResNet-18."""


@dataclass(frozen=True)
class Identification:
    """What IN says about one image, or one window, and how sure that is."""

    gamma: Tensor
    """(K,), in waves: the mean of all readings, of the two twins the one that IN gave of most windows as they are."""
    std: Tensor
    """(K,), in waves: one standard deviation where `calibrated`, else the mere spread of the readings."""
    calibrated: bool
    views: int
    """Readings: windows times symmetries."""


@dataclass(frozen=True)
class Readings:
    """IN's reading of every window from every side, turned back and brought to one twin."""

    gamma: Tensor
    """(windows, symmetries, K), in waves, on the CPU."""
    corners: tuple[tuple[int, int], ...]
    """(row, column) of each window's first pixel."""
    size: tuple[int, int]
    """(height, width) of the windows, in pixels."""

    @property
    def mean(self) -> Tensor:
        """(K,)."""
        return self.gamma.mean((0, 1))

    @property
    def spread(self) -> Tensor:
        """(K,): the readings' standard deviation about their mean."""
        return self.gamma.flatten(0, 1).std(0, correction=0)

    def windows(self) -> list["Readings"]:
        """The readings of each window for themselves."""
        return [Readings(g[None], (at,), self.size) for g, at in zip(self.gamma, self.corners, strict=True)]


def identify(model: BlindModel, y: Tensor, *, windows: int = WINDOWS) -> Identification:
    """γ̂ of one image, in bounded memory whatever its size.

    Args:
        model: with an identification network.
        y: (1, 1, H, W), linear intensity in [0, 1].
        windows: most windows to read; they lie evenly over the image.
    Raises:
        ModelError: the model has no identification network.
        InputError: the image is smaller than what the network takes, or not one grey image.
    """
    return conclude(model, read(model, y, windows=windows))


def conclude(model: BlindModel, found: Readings) -> Identification:
    """What readings say together. For a blur that varies over the image, ask it of each of `found.windows()`."""
    windows, sides, _ = found.gamma.shape
    std = calibrated_std(model.card.get("uncertainty"), found.spread, windows)
    return Identification(found.mean, found.spread if std is None else std, std is not None, windows * sides)


@torch.inference_mode()
def read(model: BlindModel, y: Tensor, *, windows: int = WINDOWS) -> Readings:
    """All readings of one image; arguments and errors are those of `identify`."""
    if model.identifier is None:
        raise ModelError("this model has no identification network; choose one that has, or give gamma")
    if y.ndim != 4 or y.shape[:2] != (1, 1):
        raise InputError(f"one grey image (1, 1, H, W) is identified at a time; got {tuple(y.shape)}")
    least, (H, W) = getattr(model.identifier, "min_size", 1), (y.shape[-2], y.shape[-1])
    if min(H, W) < least:
        raise InputError(
            f"this model needs images of at least {least}x{least} pixels; got {H}x{W}; give a larger part of the image"
        )
    side = window_px(model)
    size = (min(H, side), min(W, side))
    corners = window_corners((H, W), side, windows)
    sides = [_from_one_side(model, y, corners, size, symmetry) for symmetry in symmetries_of(model.operator)]
    return Readings(one_twin(model.operator, torch.stack(sides, dim=1)).cpu(), tuple(corners), size)


def window_px(model: BlindModel) -> int:
    """Side of the windows that IN reads: that of its training crops, as the card or the network says."""
    told = model.card.get("trained")
    crop = told.get("crop_px") if isinstance(told, dict) else None
    if not isinstance(crop, int) or crop < 1:
        crop = getattr(model.identifier, "window_px", None) or WHOLE_PX
    return max(crop, getattr(model.identifier, "min_size", 1))


def one_twin(operator: ZernikeBlur, gamma: Tensor) -> Tensor:
    """Readings (windows, symmetries, K), each replaced by its twin where that is nearer to the others.

    The twins differ in the sign of the even orders: the common axis is the leading singular vector of the even parts,
    then their mean. Of the two results the one that agrees with most readings of the unturned image (symmetry 0).
    """
    even = torch.tensor(operator.even, device=gamma.device)
    if operator.z_px or not even.any():
        return gamma
    parts = gamma.flatten(0, 1)[:, even]
    axis = torch.linalg.svd(parts.double(), full_matrices=False).Vh[0].to(parts)
    for _ in range(3):
        sign = 1 - 2 * (parts @ axis < 0).to(parts)
        axis = (sign[:, None] * parts).mean(0)
    sign = sign.unflatten(0, gamma.shape[:2])
    if sign[:, 0].sum() < 0:
        sign = -sign
    return torch.where(even & (sign < 0)[..., None], -gamma, gamma)


def _from_one_side(
    model: BlindModel, y: Tensor, corners: Sequence[tuple[int, int]], size: tuple[int, int], symmetry: Symmetry
) -> Tensor:
    """(windows, K), turned back."""
    assert model.identifier is not None
    outputs = []
    for first in range(0, len(corners), _AT_ONCE):
        cut = [y[..., r : r + size[0], c : c + size[1]] for r, c in corners[first : first + _AT_ONCE]]
        outputs.append(model.identifier(symmetry.image(torch.cat(cut))).float())
    return symmetry.inverse.gamma(model.operator, torch.cat(outputs))


def window_corners(shape: tuple[int, int], side: int, most: int) -> list[tuple[int, int]]:
    """First pixels of windows that lie evenly over an image: half overlapping where at most `most` of them do.

    Args:
        shape: (rows, columns) of the image.
        side: of the windows, in pixels; a shorter side of the image has one window.
    """
    rows, columns = (half_overlapping_starts(length, side) for length in shape)
    while len(rows) * len(columns) > max(1, most):
        if len(rows) >= len(columns):
            rows = _evenly(shape[0] - side, len(rows) - 1)
        else:
            columns = _evenly(shape[1] - side, len(columns) - 1)
    return [(r, c) for r in rows for c in columns]


def _evenly(spare: int, count: int) -> list[int]:
    """`count` positions from 0 to spare; one is the middle."""
    return [round(i * spare / (count - 1)) for i in range(count)] if count > 1 else [spare // 2]
