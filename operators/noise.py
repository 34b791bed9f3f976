"""Poisson–Gaussian noise, Var y = gain·signal + read_std², and how much noise an image has."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

DB2_HIGH = (-0.1294095226, -0.2241438680, 0.8365163037, -0.4829629131)  # Daubechies' four-tap high-pass, unit norm
MEDIAN_TO_STD = 1.482602  # of |N(0, 1)|
_AT_ONCE = 2**22  # pixels: a larger image is gone through in parts, for the same median in bounded memory


@dataclass(frozen=True)
class PoissonGaussian:
    """One exposure under the Gaussian approximation of Poisson noise: y = s + b, Var b = gain·s + read_std².

    Raises:
        ValueError: gain or read_std is negative, or a tensor that is not () or (B,).
    Source: Foi et al., IEEE TIP 17(10), 2008; section 2.3 of the paper.
    """

    gain: float | Tensor
    """Variance per unit of signal, scalar or (B,), in units of intensity; 0 switches shot noise off."""
    read_std: float | Tensor
    """Standard deviation of the part that does not depend on the signal, scalar or (B,), in units of intensity."""

    def __post_init__(self) -> None:
        for name, value in (("gain", self.gain), ("read_std", self.read_std)):
            tensor = torch.as_tensor(value)
            if tensor.ndim > 1:
                raise ValueError(f"{name} is one number, or one per sample; got the shape {tuple(tensor.shape)}")
            if not (tensor >= 0).all():
                raise ValueError(f"{name} must be at least 0; got {tensor.min().item():.4g}")

    def variance(self, signal: Tensor) -> Tensor:
        """(B, C, H, W): the variance of the noise on this signal; a negative signal counts as dark."""
        gain, read_std = (_per_sample(value, signal) for value in (self.gain, self.read_std))
        return gain * signal.clamp_min(0) + read_std**2

    def __call__(self, signal: Tensor, rng: torch.Generator) -> Tensor:
        """A noisy copy of the signal (B, C, H, W), unclipped: clipping would bias the estimators downstream.

        The numbers drawn do not depend on the noise level, so that two levels can be compared on the same draw.

        Args:
            signal: (B, C, H, W), intensity in [0, 1].
            rng: the only source of randomness, on the signal's device.
        Returns:
            (B, C, H, W), in the signal's dtype.
        """
        white = torch.randn(signal.shape, generator=rng, dtype=signal.dtype, device=signal.device)
        return signal + self.variance(signal).sqrt() * white


def noise_std_of(images: Tensor) -> Tensor:
    """Standard deviation of white noise in each image.

    From the median magnitude of the finest diagonal wavelet details, which a blurry scene hardly reaches.

    Args:
        images: (..., H, W), in any unit.
    Returns:
        (...), in the images' unit.
    Raises:
        ValueError: the images have fewer than 4×4 pixels.
    Source: Donoho and Johnstone, Biometrika 81(3), 1994; here at every pixel instead of every other one.
    """
    H, W = images.shape[-2:]
    if min(H, W) < len(DB2_HIGH):
        raise ValueError(f"the noise is read from at least 4x4 pixels; got {H}x{W}; give noise_std instead")
    if H * W > _AT_ONCE and images.dtype == torch.float32:
        medians = [_median_magnitude(image) for image in images.reshape(-1, H, W)]
        return MEDIAN_TO_STD * torch.stack(medians).reshape(images.shape[:-2])
    high = torch.tensor(DB2_HIGH, dtype=images.dtype, device=images.device)
    details = conv2d(images.reshape(-1, 1, H, W), high.outer(high)[None, None])
    return MEDIAN_TO_STD * details.abs().flatten(1).median(1).values.reshape(images.shape[:-2])


def _median_magnitude(image: Tensor) -> Tensor:
    """() the median magnitude of the details of one float32 image (H, W): the lower one, as torch's, and exact.

    Positive floats have the order of their bits, so counting the upper 16 bits finds the lower ones that matter.
    """
    H, W = image.shape
    reach = len(DB2_HIGH) - 1
    step = max(1, _AT_ONCE // W)

    def bits() -> Iterator[Tensor]:
        for row in range(0, H - reach, step):
            part = image[row : min(row + step, H - reach) + reach]
            yield _high_pass(_high_pass(part, 0), 1).abs_().view(torch.int32).flatten()

    rank = ((H - reach) * (W - reach) - 1) // 2
    below = _counted((part >> 16 for part in bits()), 2**15)
    upper = int(torch.searchsorted(below, rank, right=True))
    rank -= int(below[upper - 1]) if upper else 0
    below = _counted((part[part >> 16 == upper] & 0xFFFF for part in bits()), 2**16)
    lower = int(torch.searchsorted(below, rank, right=True))
    return torch.tensor(upper << 16 | lower, dtype=torch.int32, device=image.device).view(torch.float32)


def _high_pass(part: Tensor, axis: int) -> Tensor:
    """Of an image (H, W) along one axis: a quarter of the time of a convolution with both."""
    length = part.shape[axis] - len(DB2_HIGH) + 1
    out = DB2_HIGH[0] * part.narrow(axis, 0, length)
    for place, weight in enumerate(DB2_HIGH[1:], start=1):
        out.add_(part.narrow(axis, place, length), alpha=weight)
    return out


def _counted(parts: Iterable[Tensor], values: int) -> Tensor:
    """How many of all numbers are at most 0, 1, …, values - 1."""
    return torch.stack([torch.bincount(part, minlength=values) for part in parts]).sum(0).cumsum(0)


def _per_sample(value: float | Tensor, signal: Tensor) -> Tensor:
    tensor = torch.as_tensor(value, dtype=signal.dtype, device=signal.device)
    return tensor.reshape(-1, *[1] * (signal.ndim - 1))
