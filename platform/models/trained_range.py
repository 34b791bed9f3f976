"""Whether an image lies within what a model was trained on: noise, aberrations, saturation, size."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from deepblur.operators import ZernikeBlur
from deepblur.platform.models.readings import Identification

SATURATED = 1e-3
"""Fraction of saturated pixels from which on they are worth a word: a blurred point of light covers as much of 200²."""
NOISE_MARGIN = 1.1
"""The noise of one image is known to 10 %."""


def range_flags(
    card: Mapping[str, Any],
    operator: ZernikeBlur,
    y: Tensor,
    identification: Identification,
    noise_std: float,
    saturated: float,
) -> tuple[str, ...]:
    """A plain sentence for every property of an image outside of what the model was trained on; none is best.

    Args:
        card: of the model; what it does not state is not checked, and a card without ranges is a flag itself.
        y: (1, 1, H, W), in [0, 1].
        noise_std: of y, in units of intensity.
        saturated: fraction of pixels at the largest value that they can have.
    """
    trained = _trained(card)
    flags = []
    if not trained:
        flags.append("the model's card does not say on what it was trained, so its range is unknown")
    flags += recording_flags(card, y, noise_std, saturated)
    eta = _number(trained.get("eta_waves"))
    if eta is not None:
        flags += _beyond(operator, identification, eta)
    crop = _number(trained.get("crop_px"))
    H, W = y.shape[-2:]
    if crop is not None and min(H, W) < crop:
        flags.append(f"the image has {H}x{W} pixels, fewer than the {crop:.0f}x{crop:.0f} of the training")
    return tuple(flags)


def recording_flags(card: Mapping[str, Any], y: Tensor, noise_std: float, saturated: float) -> tuple[str, ...]:
    """The sentences that need no identification; arguments as `range_flags`."""
    flags = []
    most = largest_noise(card, y)
    if most is not None and noise_std > most:
        seen = most / NOISE_MARGIN
        flags.append(f"the noise, {noise_std:.3g} of the full scale, is above the {seen:.3g} that the model has seen")
    if saturated > SATURATED:
        flags.append(f"{100 * saturated:.2g} % of the pixels are saturated, where no blur model holds")
    return tuple(flags)


def largest_noise(card: Mapping[str, Any], y: Tensor) -> float | None:
    """A measured noise above it is stronger than any in training on images as bright as y; None where nobody says."""
    trained = _trained(card)
    highs = []
    for name in ("gain", "read_std"):
        bounds = trained.get(name)
        high = _number(bounds[1]) if isinstance(bounds, (list, tuple)) and len(bounds) == 2 else None
        highs.append(high)
    gain, read_std = highs
    if gain is None or read_std is None or min(gain, read_std) < 0:
        return None
    return NOISE_MARGIN * math.sqrt(gain * max(float(y.mean()), 0.0) + read_std**2)


def _beyond(operator: ZernikeBlur, identification: Identification, eta: float) -> list[str]:
    """The coefficients beyond the range in training.

    A weak test: a network that has never seen more seldom says more. With the deviation added, every image would be
    flagged whose coefficients are merely known no better than by their range.
    """
    rows = zip(operator.noll, identification.gamma, identification.std, strict=True)
    far = [f"Noll {n} ({float(g):+.3f} ± {float(std):.3f} waves)" for n, g, std in rows if abs(float(g)) > eta]
    if not far:
        return []
    return [f"aberrations are larger than the {eta:g} waves that the model has seen: {', '.join(far)}"]


def _trained(card: Mapping[str, Any]) -> Mapping[str, Any]:
    trained = card.get("trained")
    return trained if isinstance(trained, Mapping) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
