"""What the paper printed, as data.

Source: Debarnot and Weiss, "Deep-blur: blind identification and deblurring with convolutional neural networks",
Biological Imaging, 2024. Its Table 1 lists the figures per noise level; the claims below are those that its text
states in numbers.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deepblur.platform.evaluation.levels import NoiseLevel

CLEAN, ANY = (0.0, 0.0), (0.0, np.inf)  # ranges of the noise's standard deviation, or of η
HIGHEST_NOISE = {
    "σ² = α² + β·s": NoiseLevel("paper's highest", gain=0.24, read_std=0.12),
    "σ² = α² + β²·s": NoiseLevel("paper's highest as standard deviations", gain=0.24**2, read_std=0.12),
    "σ² = α·s + β": NoiseLevel("paper's highest as printed", gain=0.12, read_std=0.24**0.5),
}
"""Variance of the noise on a signal s, out of the paper's α and β → its highest noise, α = 0.12 and β = 0.24.

Its text lets one read that in three ways. Section 2.3 prints the last one; section 3.1.1 calls α the standard deviation
of white noise, which leaves β to follow the signal, as a variance per unit of signal or as a standard deviation too.
"""
HANDCRAFTED = ("l0", "ℓ0", "goldstein")
TRAINED_ETA = (0.15, 0.15)
_OTHER_MACHINE = "machine and image size are not the paper's"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One figure of the paper and the draws of ours that it can be held against."""

    key: str
    """Its name, by which a study asks for it."""
    text: str
    """What the paper says, in words."""
    where: str
    """Section, table or figure."""
    metric: str
    """Column of the items, or a gain."""
    value: float
    """In the metric's unit; shares and squared errors as fractions."""
    bound: Literal["=", "<", ">"] = "="
    """Whether the paper prints the value itself or a bound."""
    share_below: float | None = None
    """The figure is the share of draws whose metric lies below this; None: the mean (of seconds, the median)."""
    arms: tuple[str, ...] = ()
    """Parts of the names of the arms that it speaks of; empty: the reference."""
    noise_std: tuple[float, float] = ANY
    """Range of noise levels; where a study has several of them, the strongest counts."""
    reading: str | None = None
    """Of the highest noise, a key of `HIGHEST_NOISE`; "" stands for each that a study has. None: `noise_std` counts."""
    eta_waves: tuple[float, float] = TRAINED_ETA
    """Range of PSF complexities, in waves."""
    because: str = ""
    """Why this study's figure cannot be held against it; empty where it can."""

    @property
    def said(self) -> str:
        """The claim in words, with the reading of the paper that it is held against."""
        return f"{self.text}, read as {self.reading}" if self.reading else self.text

    @property
    def higher_is_better(self) -> bool:
        return self.share_below is not None or self.metric not in ("psf_error", "seconds")

    def written(self, *values: float) -> str:
        """Numbers in the claim's unit, without it: shares and squared errors in per cent."""
        decimals = 2 if "ssim" in self.metric else 1
        texts = (f"{100 * v:.3g}" if self.unit == "\u00a0%" else f"{v:.{decimals}f}" for v in values)
        return ", ".join(texts).replace("-", "−")

    @property
    def unit(self) -> str:
        """With the no-break space before it; empty where the metric has none."""
        if self.share_below is not None or self.metric == "psf_error":
            return "\u00a0%"
        return "\u00a0s" if self.metric == "seconds" else "\u00a0dB" if self.metric.endswith("_db") else ""


PAPER = (
    Claim(key="psf_snr_clean", text="deep-blur recovers the PSF without noise", where="section 3.1.2, Table 1",
          metric="psf_snr_db", value=12.9, noise_std=CLEAN),
    Claim(key="psf_snr_noisy", text="deep-blur recovers the PSF at the highest noise", where="section 3.1.2, Table 1",
          metric="psf_snr_db", value=7.9, reading=""),
    Claim(key="rivals_psf_snr_clean", text="all other methods have a negative PSF SNR, without noise",
          where="section 3.1.2, Table 1", metric="psf_snr_db", value=0.0, bound="<", arms=HANDCRAFTED, noise_std=CLEAN),
    Claim(key="rivals_psf_snr_noisy", text="all other methods have a negative PSF SNR, at the highest noise",
          where="section 3.1.2, Table 1", metric="psf_snr_db", value=0.0, bound="<", arms=HANDCRAFTED, reading=""),
    Claim(key="ssim_gain_clean", text="deep-blur improves SSIM without noise", where="section 3.1.2",
          metric="ssim_gain", value=0.1, noise_std=CLEAN),
    Claim(key="ssim_gain_noisy", text="deep-blur improves SSIM at the highest noise", where="section 3.1.2",
          metric="ssim_gain", value=0.2, reading=""),
    Claim(key="rivals_ssim_clean", text="handcrafted methods lower SSIM without noise", where="section 3.1.2",
          metric="ssim_gain", value=-0.1, bound="<", arms=HANDCRAFTED, noise_std=CLEAN),
    Claim(key="rivals_ssim_noisy", text="handcrafted methods improve SSIM at the highest noise", where="section 3.1.2",
          metric="ssim_gain", value=0.1, arms=HANDCRAFTED, reading=""),
    Claim(key="mean_error", text="mean relative squared error of the PSF without noise", where="Fig. 4",
          metric="psf_error", value=0.05, bound="<", noise_std=CLEAN),
    Claim(key="error_at_noise", text="share of PSFs with an error below 10 % at a noise of standard deviation 0.1",
          where="Fig. 5a", metric="psf_error", value=0.5, bound=">", share_below=0.10, noise_std=(0.09, 0.11)),
    Claim(key="error_small_eta", text="typical error below 2 % for η < 0.1: share of PSFs below it", where="Fig. 5b",
          metric="psf_error", value=0.5, bound=">", share_below=0.02, noise_std=CLEAN, eta_waves=(0.0, 0.0999)),
    Claim(key="error_large_eta", text="typical error below 15 % at η = 0.2: share of PSFs below it", where="Fig. 5b",
          metric="psf_error", value=0.5, bound=">", share_below=0.15, noise_std=CLEAN, eta_waves=(0.2, 0.2)),
    Claim(key="seconds", text="deep-blur takes, for 400×400 pixels on an RTX 8000", where="section 3.1.2",
          metric="seconds", value=0.3, eta_waves=ANY, because=_OTHER_MACHINE),
    Claim(key="rivals_seconds", text="handcrafted methods take, for 400×400 pixels on a CPU (to minutes)",
          where="section 3.1.2", metric="seconds", value=5.0, bound=">", arms=HANDCRAFTED, eta_waves=ANY,
          because=_OTHER_MACHINE),
)  # fmt: skip
"""The typical errors of Fig. 5 are read as medians, so "typically below e" is "more than half of the draws below e"."""


def paper_claims(*keys: str, because: str = "") -> tuple[Claim, ...]:
    """Claims of the paper, for a study's `published`.

    Args:
        keys: of the claims; none stands for all.
        because: why a study's figures cannot be held against them (other data, number of coefficients, training
            budget); empty where they can.
    Raises:
        ValueError: a key that no claim has.
    """
    unknown = sorted(set(keys) - {claim.key for claim in PAPER})
    if unknown:
        raise ValueError(f"no claim has the keys {unknown}; there are {[claim.key for claim in PAPER]}")
    return tuple(replace(claim, because=because or claim.because) for claim in PAPER if not keys or claim.key in keys)
