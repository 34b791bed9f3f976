"""Poisson–Gaussian noise: Var y = gain·signal + read_std²."""

from dataclasses import dataclass

import torch
from torch import Tensor


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
        """
        white = torch.randn(signal.shape, generator=rng, dtype=signal.dtype, device=signal.device)
        return signal + self.variance(signal).sqrt() * white


def _per_sample(value: float | Tensor, signal: Tensor) -> Tensor:
    tensor = torch.as_tensor(value, dtype=signal.dtype, device=signal.device)
    return tensor.reshape(-1, *[1] * (signal.ndim - 1))
