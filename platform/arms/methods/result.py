"""What a comparison of many methods hands over, and the tables that follow from it.

Everything here is a function of `MethodsResult.items`, one row per method ("arm") and draw. A draw on which a method
failed has no score: it is counted beside the mean, never averaged into it, and a paired difference rests on the draws
where both methods came to an estimate. Decibels are averaged as decibels. Intervals are 95 %, by the bootstrap of
`deepblur.platform.evaluation.paired`, which redraws whole images and adds the spread of training seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from deepblur.platform.arms.methods.claims import Claim
from deepblur.platform.arms.trained.result import KEYS, refuse_repeats
from deepblur.platform.evaluation.measure import Measure
from deepblur.platform.evaluation.paired import compare_to_reference, mean_interval
from deepblur.platform.experiment.result import Result

OK, LOST = "ok", ("diverged", "failed", "timeout")
EXACT_DB = 100.0
"""PSF SNR beyond which an estimate is the truth itself, but for rounding."""


MEASURES = {
    "psf_snr_db": Measure("PSF SNR", "dB", 1),
    "psf_snr_registered_db": Measure("PSF SNR, registered", "dB", 1),
    "psf_ncc": Measure("PSF correlation", "", 3),
    "otf_error": Measure("OTF error", "", 3, higher_is_better=False),
    "wavefront_error_waves": Measure("wavefront error", "waves", 3, higher_is_better=False),
    "psnr_db": Measure("PSNR", "dB", 2),
    "psnr_gain_db": Measure("PSNR gain", "dB", 2, signed=True),
    "ssim": Measure("SSIM", "", 3),
    "ssim_gain": Measure("SSIM gain", "", 3, signed=True),
    "whiteness": Measure("residual whiteness", "", 3, higher_is_better=False),
}
"""Column of the summary → measure, in the order of the tables. Gains are over the blurry input; whiteness is that of
the re-blur residual, zero for white noise."""

COMPARED = (
    *("psf_snr_db", "psf_snr_registered_db", "psf_ncc", "otf_error", "wavefront_error_waves"),
    *("psnr_db", "ssim", "whiteness"),
)
"""Measures of the paired differences: a gain differs between methods just as the measure itself does."""

PSF_SCORES = ("psf_snr_db", "psf_snr_registered_db", "psf_ncc", "otf_error", "wavefront_error_waves", "psf_error")
COLUMNS = (
    *(*KEYS, "noise_std", "gain", "status", "reason", "seconds", "peak_mb"),
    *PSF_SCORES,
    *("psnr_db", "ssim", "blurry_psnr_db", "blurry_ssim", "whiteness"),
    *("local_std", "edge_density", "categories"),
)
_SCORES = ("psf_error", *COMPARED)


@dataclass(frozen=True, kw_only=True)
class MethodPicture:
    """One draw as every method restored it; float32 in [0, 1], but for PSFs, which sum to 1, and residuals."""

    title: str
    blurry: np.ndarray
    """(H, W), what the methods were given."""
    sharp: np.ndarray | None = None
    """(H, W), the truth; None for a real image."""
    psf_true: np.ndarray | None = None
    """(h, w)."""
    restored: dict[str, np.ndarray | None] = field(default_factory=dict)
    """Arm → (H, W); None where it restored nothing."""
    psfs: dict[str, np.ndarray | None] = field(default_factory=dict)
    """Arm → (h, w); None where it estimated none."""
    residuals: dict[str, np.ndarray | None] = field(default_factory=dict)
    """Arm → (H, W), data minus re-blurred restoration."""
    captions: dict[str, str] = field(default_factory=dict)
    """"blurry" or an arm → a short figure or reason, such as "24.1 dB" or "diverged"."""

    def psf_of(self, arm: str) -> np.ndarray | None:
        return self.psfs.get(arm)


@dataclass(frozen=True, kw_only=True, eq=False)
class MethodsResult(Result):
    """A finished comparison of methods.

    Raises:
        ValueError: a column is missing, a draw occurs twice, the reference has no draw, a status is unknown, or a
            method that gives some output lacks its score on a draw that is "ok".
    """

    items: pd.DataFrame
    """One row per arm × seed × noise × eta_waves × image × draw with the columns COLUMNS. `status` is "ok" or one of
    LOST. A score is NaN where the status is not ok, and throughout where the arm has no such output."""
    reference: str
    """The arm that the others are compared with."""
    informed: tuple[str, ...] = ()
    """Arms that were given a truth, such as an oracle: their lead over the reference is no rival's."""
    trained_eta_waves: float | None = None
    """η of the training, where it is the same for all arms."""
    trained: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Arm → what its networks were trained for: η in waves, and the largest standard deviation of the noise on a signal
    of one half."""
    curves: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Training run → columns step, loss, and where known val_…; a gap is NaN."""
    pictures: tuple[MethodPicture, ...] = ()
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    """Arm → flattened settings."""
    published: tuple[Claim, ...] = ()
    """What the paper printed of the same experiment, see `deepblur.platform.arms.methods.claims`."""

    def __post_init__(self) -> None:
        missing = [column for column in (*COLUMNS, *(m.name for m in self.own_metrics)) if column not in self.items]
        if missing:
            raise ValueError(f"a comparison's items need the columns of COLUMNS; {', '.join(missing)} missing")
        if self.reference not in self.arms:
            raise ValueError(f"the reference {self.reference!r} has no row; the items have the arms {self.arms}")
        unknown = sorted(set(self.items["status"]) - {OK, *LOST})
        if unknown:
            raise ValueError(f"a status is one of {(OK, *LOST)}; got {unknown}")
        refuse_repeats(self.items)
        self._check_scores()

    def _check_scores(self) -> None:
        for arm, rows in self.scored.groupby("arm", sort=False):
            for column in (*_SCORES, *(metric.name for metric in self.own_metrics)):
                finite = np.isfinite(rows[column].to_numpy(dtype=float))
                if (finite.any() and not finite.all()) or np.isinf(rows[column]).any():
                    raise ValueError(
                        f"an arm has a score on each draw that is ok or on none; {arm!r} lacks a finite {column} on "
                        f"{(~finite).sum()} of {len(finite)}: give those draws another status"
                    )

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """`MEASURES` with the study's own metrics."""
        return MEASURES | {metric.name: metric.measure for metric in self.own_metrics}

    @property
    def arms(self) -> list[str]:
        """Arms in the order of the table, so that the study decides it."""
        return list(dict.fromkeys(self.items["arm"]))

    @property
    def rivals(self) -> list[str]:
        return [arm for arm in self.arms if arm != self.reference]

    @cached_property
    def noises(self) -> pd.DataFrame:
        """Noise levels from weak to strong: columns noise and noise_std."""
        levels = self.items.groupby("noise", sort=False)["noise_std"].mean()
        return levels.sort_values(kind="stable").reset_index()

    @property
    def etas(self) -> list[float]:
        return sorted(float(eta) for eta in self.items["eta_waves"].dropna().unique())

    @cached_property
    def scored(self) -> pd.DataFrame:
        """The rows that are ok, with the gains over the blurry input as further columns.

        An arm that was handed the true PSF estimates none: its PSF scores are left out, rather than shown as perfect.
        """
        rows = self.items[self.items["status"] == OK].astype(dict.fromkeys(("arm", "noise", "image"), object))
        for arm in self.informed:
            here = rows["arm"] == arm
            if here.any() and (rows.loc[here, "psf_snr_db"] > EXACT_DB).all():
                rows.loc[here, list(PSF_SCORES)] = np.nan
        return rows.assign(
            psnr_gain_db=rows["psnr_db"] - rows["blurry_psnr_db"], ssim_gain=rows["ssim"] - rows["blurry_ssim"]
        )

    def gives(self, measure: str) -> list[str]:
        """The arms that have this measure at all."""
        known = set(self.scored.loc[self.scored[measure].notna(), "arm"])
        return [arm for arm in self.arms if arm in known]

    def distinct(self, measure: str) -> list[str]:
        """Those of them that are no copy of another, as the PSF scores of methods that share a PSF are."""
        keys = [key for key in KEYS if key != "arm"]
        arms = sorted(self.gives(measure), key=lambda arm: arm != self.reference)  # whose copies go, and not itself
        kept = set(self.scored.pivot_table(measure, keys, "arm", dropna=False)[arms].T.drop_duplicates().index)
        return [arm for arm in self.gives(measure) if arm in kept]

    @cached_property
    def summary(self) -> pd.DataFrame:
        return summary_table(self)

    @cached_property
    def paired(self) -> pd.DataFrame:
        return paired_table(self)


def levels(result: MethodsResult) -> Iterator[tuple[str, str, dict[str, object]]]:
    """(group, level, columns that select it): all draws, each noise level, each η if there is more than one."""
    yield "all", "all draws", {}
    for noise in result.noises["noise"]:
        yield "noise", f"noise {noise}", {"noise": noise}
    if len(result.etas) > 1:
        for eta in result.etas:
            yield "eta_waves", f"η {eta:g}", {"eta_waves": eta}


def chosen(items: pd.DataFrame, where: Mapping[str, object]) -> pd.DataFrame:
    """The rows whose columns have these values."""
    for column, value in where.items():
        items = items[items[column] == value]
    return items


def interval(items: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """(mean, low, high) over the rows that have the column; NaN where there is none, NaN bounds with one image.

    The stream is fresh each time, so that a figure does not depend on which others were computed before it.
    """
    values, images, seeds = (items[name].to_numpy() for name in (column, "image", "seed"))
    known = ~np.isnan(values)
    if not known.any():
        return (np.nan,) * 3
    found = mean_interval(values[known], images[known], np.random.default_rng(0), seeds=seeds[known])
    return found.mean, found.low, found.high


def summary_table(result: MethodsResult) -> pd.DataFrame:
    """Every arm over all draws, per noise level and per η.

    Returns:
        Columns arm, group ("all", "noise" or "eta_waves"), level, draws, ok, diverged, failed, timeout (counts),
        images and seeds (behind the means), for each of its measures the mean over the draws that are ok, its 95 %
        interval and the standard deviation of the draws (name, name_low, name_high, name_std; NaN where the arm has no
        such output), seconds (median) and peak_mb (largest), both over the draws that are ok.
    """
    rows = []
    for group, level, where in levels(result):
        here, scored = chosen(result.items, where), chosen(result.scored, where)
        for arm in result.arms:
            tried, items = here[here["arm"] == arm], scored[scored["arm"] == arm]
            if tried.empty:
                continue
            row: dict[str, object] = {"arm": arm, "group": group, "level": level, "draws": len(tried)}
            row |= {status: int((tried["status"] == status).sum()) for status in (OK, *LOST)}
            row |= {"images": items["image"].nunique(), "seeds": items["seed"].nunique()}
            for name in result.measures:
                row[name], row[f"{name}_low"], row[f"{name}_high"] = interval(items, name)
                row[f"{name}_std"] = items[name].std()
            rows.append(row | {"seconds": items["seconds"].median(), "peak_mb": items["peak_mb"].max()})
    return pd.DataFrame(rows)


def paired_table(result: MethodsResult) -> pd.DataFrame:
    """Every other arm minus the reference on the draws where both came to an estimate, overall and per noise level.

    Returns:
        Columns measure, level, arm, draws (pairs), lost (pairs that one of the two lost), images, seeds, mean and
        reference (means of both sides), difference, low, high, p, p_holm (over the arms of one measure and level), and
        in_favour: the side that the interval favours, "arm", "reference" or "" where it holds zero or does not exist.
    Source: `deepblur.platform.evaluation.paired.compare_to_reference`.
    """
    names = {"n_values": "draws", "n_dropped": "lost", "n_clusters": "images", "n_seeds": "seeds"}
    names |= {"mean": "difference", "mean_a": "mean", "mean_b": "reference"}
    lead = ["measure", "level", "arm", "draws", "lost", "images", "seeds", "mean", "reference"]
    columns = [*lead, "difference", "low", "high", "p", "p_holm"]
    tables = [pd.DataFrame(columns=columns)]
    for measure in (*COMPARED, *(metric.name for metric in result.own_metrics)):
        scored = result.scored[result.scored["arm"].isin(result.gives(measure))]
        for group, level, where in levels(result):
            rows = chosen(scored, where)
            if group == "eta_waves" or result.reference not in set(rows["arm"]) or rows["arm"].nunique() < 2:
                continue
            found = compare_to_reference(rows, result.reference, measure).rename(columns=names)
            tables.append(found[found["draws"] > 0].assign(measure=measure, level=level)[columns])
    table = pd.concat(tables[1:] or tables, ignore_index=True)
    sides = np.sign(table[["low", "high"]].astype(float))
    clear = sides["low"].where(sides["low"] == sides["high"], 0)
    better = table["measure"].map(
        {name: 1 if measure.higher_is_better else -1 for name, measure in result.measures.items()}
    )
    return table.assign(in_favour=(clear * better).map({1: "arm", -1: "reference"}).fillna(""))


def rival_leads(result: MethodsResult) -> pd.DataFrame:
    """The rows of the paired table whose interval excludes zero in the other arm's favour; `informed` says whether
    that arm was given a truth."""
    table = result.paired[result.paired["in_favour"] == "arm"]
    return table.assign(informed=table["arm"].isin(result.informed)).reset_index(drop=True)
