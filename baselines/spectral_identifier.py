"""The spectral likelihood in the place of IN: blurry images in, γ out."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepblur.baselines.agreement import agreement_db, halves
from deepblur.baselines.estimate import READ_PX, DivergedError, Estimate, richest
from deepblur.baselines.spectral import LEAST_SIDE, check_search, likeliest, spectral
from deepblur.baselines.spectrum_model import window_px
from deepblur.baselines.spectrum_reader import SpectrumReader
from deepblur.operators import ZernikeBlur

_FEW_STARTS = 16
"""For half an image: three of four are chosen by the reader, where there is one."""


class SpectralIdentifier(nn.Module):
    """y → γ̂ by `spectral`, image by image: the spectrum of the whole, and the sparsity of the part that is richest.

    Args:
        operator: the family that γ belongs to; it is not part of the configuration, a model has it already.
        eta_waves: the largest coefficient that is searched, in waves.
        starts: γ to start each search from.
        reader: the keyword arguments of a `SpectrumReader`, whose weights are then this network's; None: nothing is
            trained.
    Raises:
        ValueError: eta_waves or starts out of range.
    """

    def __init__(
        self,
        operator: ZernikeBlur,
        *,
        eta_waves: float = 0.15,
        starts: int = 48,
        reader: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        check_search(eta_waves, starts)
        self.reader = None if reader is None else SpectrumReader(**reader)
        self.operator, self.eta_waves, self.starts = operator, eta_waves, starts
        self.num_parameters = operator.num_parameters
        self.min_size = max(LEAST_SIDE, operator.psf_size)

    def estimate(self, y: Tensor) -> Estimate:
        """What the method says of one image (H, W); its errors are those of `spectral`."""
        with torch.inference_mode(False):  # the search differentiates, whatever its caller does
            return spectral(
                richest(y, READ_PX).clone(),
                self.operator,
                eta_waves=self.eta_waves,
                starts=self.starts,
                reader=self.reader,
                whole=y,
            )

    def agreement_db(self, y: Tensor) -> float | None:
        """How like the PSFs of two halves of an image (H, W) are, in dB; None where it is too small to be halved."""
        with torch.inference_mode(False):
            parts = halves(y, window_px(self.operator.cutoff))
            if parts is None:
                return None
            first, second = (
                likeliest(
                    part,
                    self.operator,
                    eta_waves=self.eta_waves,
                    starts=min(self.starts, _FEW_STARTS),
                    reader=self.reader,
                )
                for part in parts
            )
            return agreement_db(first, second)

    def forward(self, y: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, K).

        Raises:
            ValueError: y is not a batch of one-channel images, or an image says nothing of its blur.
        """
        if y.ndim != 4 or y.shape[1] != 1:
            raise ValueError(f"an identifier takes grey images (B, 1, H, W); got {tuple(y.shape)}; average channels")
        try:
            found = [self.estimate(image).gamma for image in y[:, 0]]
        except DivergedError as error:
            raise ValueError(f"the blur of an image cannot be told ({error}); give gamma") from None
        return torch.stack([gamma for gamma in found if gamma is not None])
