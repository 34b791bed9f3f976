"""What the paper printed, as data, and an honest word on how ours compares.

Source: Debarnot and Weiss, "Deep-blur: blind identification and deblurring with convolutional neural networks",
Biological Imaging, 2024. Its Table 1 lists the figures per noise level; the claims below are those that its text
states in numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from deepblur.platform.evaluation.paired import mean_interval

if TYPE_CHECKING:
    from deepblur.platform.arms.methods.result import MethodsResult

CLEAN, STRONG, ANY = (0.0, 0.0), (0.1, np.inf), (0.0, np.inf)  # ranges of the noise's standard deviation, or of η
HANDCRAFTED = ("l0", "ℓ0", "goldstein")
TRAINED_ETA = (0.15, 0.15)
_OTHER_MACHINE = "machine and image size are not the paper's"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One figure of the paper and the draws of ours that it can be held against."""

    key: str
    text: str
    where: str
    """Section, table or figure."""
    metric: str
    """Column of the items, or a gain."""
    value: float
    bound: Literal["=", "<", ">"] = "="
    """Whether the paper prints the value itself or a bound."""
    share_below: float | None = None
    """The figure is the share of draws whose metric lies below this; None: the mean (of seconds, the median)."""
    arms: tuple[str, ...] = ()
    """Parts of the names of the arms that it speaks of; empty: the reference."""
    noise_std: tuple[float, float] = ANY
    """Range of noise levels; where a study has several of them, the strongest counts."""
    eta_waves: tuple[float, float] = TRAINED_ETA
    because: str = ""
    """Why this study's figure cannot be held against it; empty where it can."""

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


@dataclass(frozen=True)
class Verdict:
    """A claim beside our figure for one arm; `ours` is NaN where there is none."""

    claim: Claim
    arm: str
    ours: float
    low: float
    high: float
    draws: int
    outcome: Literal["better", "worse", "as published", "no difference shown", "not comparable"]
    because: str = ""

    @property
    def words(self) -> str:
        return f"{self.outcome} because {self.because}" if self.because else self.outcome

    @property
    def our_figure(self) -> str:
        """Ours with its interval, or an em dash."""
        if not np.isfinite(self.ours):
            return "—"
        width = self.high - self.low  # NaN with one image, zero for seconds
        bounds = f" [{self.claim.written(self.low, self.high)}]" if width > 0 else ""
        return self.claim.written(self.ours) + self.claim.unit + bounds

    @property
    def published_figure(self) -> str:
        bound = "" if self.claim.bound == "=" else f"{self.claim.bound}\u00a0"
        return bound + self.claim.written(self.claim.value) + self.claim.unit


PAPER = (
    Claim(
        key="psf_snr_clean",
        text="deep-blur recovers the PSF without noise",
        where="section 3.1.2, Table 1",
        metric="psf_snr_db",
        value=12.9,
        noise_std=CLEAN,
    ),
    Claim(
        key="psf_snr_noisy",
        text="deep-blur recovers the PSF at the highest noise",
        where="section 3.1.2, Table 1",
        metric="psf_snr_db",
        value=7.9,
        noise_std=STRONG,
    ),
    Claim(
        key="rivals_psf_snr_clean",
        text="all other methods have a negative PSF SNR, without noise",
        where="section 3.1.2, Table 1",
        metric="psf_snr_db",
        value=0.0,
        bound="<",
        arms=HANDCRAFTED,
        noise_std=CLEAN,
    ),
    Claim(
        key="rivals_psf_snr_noisy",
        text="all other methods have a negative PSF SNR, at the highest noise",
        where="section 3.1.2, Table 1",
        metric="psf_snr_db",
        value=0.0,
        bound="<",
        arms=HANDCRAFTED,
        noise_std=STRONG,
    ),
    Claim(
        key="ssim_gain_clean",
        text="deep-blur improves SSIM without noise",
        where="section 3.1.2",
        metric="ssim_gain",
        value=0.1,
        noise_std=CLEAN,
    ),
    Claim(
        key="ssim_gain_noisy",
        text="deep-blur improves SSIM at the highest noise",
        where="section 3.1.2",
        metric="ssim_gain",
        value=0.2,
        noise_std=STRONG,
    ),
    Claim(
        key="rivals_ssim_clean",
        text="handcrafted methods lower SSIM without noise",
        where="section 3.1.2",
        metric="ssim_gain",
        value=-0.1,
        bound="<",
        arms=HANDCRAFTED,
        noise_std=CLEAN,
    ),
    Claim(
        key="rivals_ssim_noisy",
        text="handcrafted methods improve SSIM at the highest noise",
        where="section 3.1.2",
        metric="ssim_gain",
        value=0.1,
        arms=HANDCRAFTED,
        noise_std=STRONG,
    ),
    Claim(
        key="mean_error",
        text="mean relative squared error of the PSF without noise",
        where="Fig. 4",
        metric="psf_error",
        value=0.05,
        bound="<",
        noise_std=CLEAN,
    ),
    Claim(
        key="error_at_noise",
        text="share of PSFs with an error below 10 % at a noise of standard deviation 0.1",
        where="Fig. 5a",
        metric="psf_error",
        value=0.5,
        bound=">",
        share_below=0.10,
        noise_std=(0.09, 0.11),
    ),
    Claim(
        key="error_small_eta",
        text="typical error below 2 % for η < 0.1: share of PSFs below it",
        where="Fig. 5b",
        metric="psf_error",
        value=0.5,
        bound=">",
        share_below=0.02,
        noise_std=CLEAN,
        eta_waves=(0.0, 0.0999),
    ),
    Claim(
        key="error_large_eta",
        text="typical error below 15 % at η = 0.2: share of PSFs below it",
        where="Fig. 5b",
        metric="psf_error",
        value=0.5,
        bound=">",
        share_below=0.15,
        noise_std=CLEAN,
        eta_waves=(0.2, 0.2),
    ),
    Claim(
        key="seconds",
        text="deep-blur takes, for 400×400 pixels on an RTX 8000",
        where="section 3.1.2",
        metric="seconds",
        value=0.3,
        eta_waves=ANY,
        because=_OTHER_MACHINE,
    ),
    Claim(
        key="rivals_seconds",
        text="handcrafted methods take, for 400×400 pixels on a CPU (to minutes)",
        where="section 3.1.2",
        metric="seconds",
        value=5.0,
        bound=">",
        arms=HANDCRAFTED,
        eta_waves=ANY,
        because=_OTHER_MACHINE,
    ),
)
"""The typical errors of Fig. 5 are read as medians, so "typically below e" is "more than half of the draws below e"."""


def paper_claims(*keys: str, because: str = "") -> tuple[Claim, ...]:
    """The named claims of the paper, all without names; `because` says why a study's figures cannot be held against
    them (other data, number of coefficients, training budget), and is empty where they can.

    Raises:
        ValueError: a key that no claim has.
    """
    unknown = sorted(set(keys) - {claim.key for claim in PAPER})
    if unknown:
        raise ValueError(f"no claim has the keys {unknown}; there are {[claim.key for claim in PAPER]}")
    return tuple(replace(claim, because=because or claim.because) for claim in PAPER if not keys or claim.key in keys)


def verdicts(result: "MethodsResult", claims: Iterable[Claim]) -> list[Verdict]:
    """Each claim held against each arm that it speaks of; better or worse only where the 95 % interval says so.

    Where the paper prints a bound and our whole interval keeps to it, the verdict is "as published".
    A claim cannot be compared where the study says so, where it has no draw under the claim's condition, or where
    nothing bounds the figure (one image).
    """
    found = []
    for claim in claims:
        arms = [arm for arm in result.arms if _speaks_of(claim, arm, result.reference)]
        if not arms:
            absent = "the study has no such method"
            found.append(Verdict(claim, "—", np.nan, np.nan, np.nan, 0, "not comparable", absent))
        found += [_verdict(result, claim, arm) for arm in arms]
    return found


def _speaks_of(claim: Claim, arm: str, reference: str) -> bool:
    return any(part in arm.lower() for part in claim.arms) if claim.arms else arm == reference


def _verdict(result: "MethodsResult", claim: Claim, arm: str) -> Verdict:
    rows, missing = _under_condition(result, claim, arm)
    if missing:
        return Verdict(claim, arm, np.nan, np.nan, np.nan, 0, "not comparable", missing)
    ours, low, high = _figure(rows, claim)
    because = claim.because
    if not because and not np.isfinite([low, high]).all():
        because = "one image gives no interval"
    if because:
        return Verdict(claim, arm, ours, low, high, len(rows), "not comparable", because)
    return Verdict(claim, arm, ours, low, high, len(rows), _outcome(claim, low, high))


def _outcome(
    claim: Claim, low: float, high: float
) -> Literal["better", "worse", "as published", "no difference shown"]:
    if low <= claim.value <= high:
        return "no difference shown"
    above = low > claim.value
    if claim.bound == (">" if above else "<"):
        return "as published"
    return "better" if above == claim.higher_is_better else "worse"


def _under_condition(result: "MethodsResult", claim: Claim, arm: str) -> tuple[pd.DataFrame, str]:
    """The arm's scores under the claim's condition, or why there are none."""
    rows = result.scored[result.scored["arm"] == arm]
    rows = rows[rows[claim.metric].notna()]
    if rows.empty:
        return rows, f"{arm} has no such figure"
    low, high = claim.eta_waves
    if claim.eta_waves != ANY:
        there = rows[rows["eta_waves"].between(low - 1e-6, high + 1e-6)]
        if there.empty and claim.because:  # shown for what it is: the study says why it does not compare
            there = rows[rows["eta_waves"] == rows["eta_waves"].max()]
        rows = there
        if rows.empty:
            return rows, f"no draw has η = {low:g}" if low == high else f"no draw has η from {low:g} to {high:.2g}"
    low, high = claim.noise_std
    if claim.noise_std == ANY:
        return rows, ""
    there = rows[rows["noise_std"].between(low, high)]
    if claim.noise_std == CLEAN:
        there = there[there["gain"] == 0]
    if there.empty and claim.because:
        there = rows
    rows = there
    if rows.empty:
        clean = claim.noise_std == CLEAN
        return rows, "no draw is free of noise" if clean else f"no draw has a noise of standard deviation {low:g} or so"
    return rows[rows["noise"] == rows.loc[rows["noise_std"].idxmax(), "noise"]], ""


def _figure(rows: pd.DataFrame, claim: Claim) -> tuple[float, float, float]:
    """Our figure with its 95 % interval; the median of seconds has no width, for it is this machine's."""
    values: Sequence[float] | pd.Series = rows[claim.metric]
    if claim.metric == "seconds":
        median = float(np.median(values))
        return median, median, median
    if claim.share_below is not None:
        values = (rows[claim.metric] < claim.share_below).astype(float)
    found = mean_interval(values, rows["image"], np.random.default_rng(0), seeds=rows["seed"])
    floor = 0.0 if claim.unit.endswith("%") else -np.inf  # an interval may reach beyond what a share or an error can be
    ceiling = 1.0 if claim.share_below is not None else np.inf
    low, high = np.clip([found.low, found.high], floor, ceiling)
    return found.mean, float(low), float(high)
