"""What a finished study hands over, and the tables that follow from it.

Everything here is a function of `StudyResult.items`, one row per evaluated draw; the report only lays it out.
Decibels are averaged as decibels. Intervals are 95 % and come from the bootstrap of `evaluation.paired`,
which redraws whole images, because the draws on one photograph are not independent.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from deepblur.platform.evaluation.paired import mean_interval, paired_differences
from deepblur.platform.experiment.result import Result

KEYS = ("arm", "seed", "noise", "eta_waves", "image", "draw")
MEASURES = (
    *("psf_snr_db", "psf_snr_registered_db", "psf_ncc", "mean_psf_snr_db", "gamma_rmse_waves"),
    *("psnr_db", "ssim", "blurry_psnr_db", "blurry_ssim", "oracle_psnr_db", "oracle_ssim"),
)
CELL = ("noise", "eta_waves")
PAIR = ("seed", "noise", "eta_waves", "image", "draw")
CONTRASTED = ("psnr_db", "ssim", "psf_snr_db")
"""Metrics of the contrast; the first one carries the verdict, the others are secondary."""

GAINS = {
    "psf_snr_db": ("psf_snr_db", None),
    "psf_gain_db": ("psf_snr_db", "mean_psf_snr_db"),
    "psnr_gain_db": ("psnr_db", "blurry_psnr_db"),
    "ssim_gain": ("ssim", "blurry_ssim"),
    "oracle_psnr_gain_db": ("oracle_psnr_db", "blurry_psnr_db"),
    "oracle_ssim_gain": ("oracle_ssim", "blurry_ssim"),
}
"""Column of the summary → (measure, baseline subtracted from it)."""


def refuse_repeats(items: pd.DataFrame) -> None:
    """Raise a ValueError where a draw occurs twice for one arm and seed."""
    twice = items.duplicated(list(KEYS))
    if twice.any():
        row = items.loc[twice, list(KEYS)].iloc[0].to_dict()
        raise ValueError(f"a draw may be evaluated once per arm and seed; {row} occurs again: drop the repetition")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One held-out draw as the eye should judge it; float32 in [0, 1], but for the PSFs, which sum to 1."""

    title: str
    """Where the draw lies in the grid, such as "camera · noise low · η 0.10"."""
    blurry: np.ndarray
    """(H, W), what the networks were given."""
    sharp: np.ndarray
    """(H, W), the photograph."""
    restored: dict[str, np.ndarray]
    """Arm → (H, W)."""
    psf_true: np.ndarray
    """(h, w)."""
    psf_estimated: np.ndarray
    """(h, w)."""
    captions: dict[str, str]
    """"blurry", "psf" or an arm → a short figure such as "24.1 dB"."""

    def psf_of(self, arm: str) -> np.ndarray:
        return self.psf_estimated


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyResult(Result):
    """A finished study: every evaluated draw, the learning curves and some pictures."""

    items: pd.DataFrame
    """One row per arm × seed × noise × eta_waves × image × draw with the columns KEYS and MEASURES, all finite."""
    contrast: tuple[str, str]
    """(b, a): differences are b − a."""
    curves: dict[str, pd.DataFrame]
    """Stage label → columns step, loss, and where known lr, images_per_s and val_…; a gap is NaN."""
    pictures: tuple[Picture, ...]
    parameters: dict[str, dict[str, str]]
    """Arm → flattened hyperparameters."""

    def __post_init__(self) -> None:
        """Refuse a table that the report could only show with holes."""
        missing = [column for column in (*KEYS, *self.measures) if column not in self.items]
        if missing:
            raise ValueError(f"the items of a study need the columns KEYS and MEASURES; {', '.join(missing)} missing")
        if self.items.empty:
            raise ValueError(f"study {self.name!r} has no evaluated draw to report; evaluate at least one cell")
        for column in self.measures:
            bad = ~np.isfinite(self.items[column].to_numpy(dtype=float))
            if bad.any():
                row = self.items.loc[bad, list(KEYS)].iloc[0].to_dict()
                raise ValueError(
                    f"every measure of a draw must be finite; {column} is not in {bad.sum()} rows, first {row}: "
                    "mend the evaluation, the report will not skip draws"
                )
        refuse_repeats(self.items)

    @property
    def measures(self) -> tuple[str, ...]:
        """Columns of the items that hold a score."""
        return (*MEASURES, *(metric.name for metric in self.own_metrics))

    @property
    def gains(self) -> dict[str, tuple[str, str | None]]:
        """Column of the summary → (measure, baseline subtracted from it)."""
        return GAINS | {metric.name: (metric.name, None) for metric in self.own_metrics}

    @property
    def arms(self) -> list[str]:
        """Arms in the order of the table, so that the study file decides it."""
        return list(dict.fromkeys(self.items["arm"]))

    @property
    def noises(self) -> list[str]:
        """Noise levels in the order of the table: their names have no order of their own."""
        return list(dict.fromkeys(self.items["noise"]))

    @property
    def contrasted(self) -> bool:
        """Whether both arms of the contrast were evaluated."""
        return self.contrast[0] != self.contrast[1] and set(self.contrast) <= set(self.arms)

    @property
    def one_psf(self) -> bool:
        """Whether all arms used the very same PSF estimates, as arms that share one IN do."""
        table = self.items.pivot_table("psf_snr_db", list(PAIR), "arm", sort=False)
        return bool(table.eq(table.iloc[:, 0], axis=0).all().all())


def groups(result: StudyResult) -> Iterator[tuple[str, str, pd.Series]]:
    """(group, level, mask of the items) for all draws, each noise level and each η."""
    yield "all", "all draws", pd.Series(True, index=result.items.index)
    for noise in result.noises:
        yield "noise", f"noise {noise}", result.items["noise"] == noise
    for eta in sorted(result.items["eta_waves"].unique()):
        yield "eta_waves", f"η {eta:g}", result.items["eta_waves"] == eta


def interval(items: pd.DataFrame, measure: str, baseline: str | None) -> tuple[float, float, float]:
    """(mean, low, high) of a measure, or of what it gains over a baseline on the same draw; NaN bounds with one image.

    The stream is fresh each time, so that a figure does not depend on which others were computed before it.
    """
    values = items[measure] - (0 if baseline is None else items[baseline])
    found = mean_interval(values, items["image"], np.random.default_rng(0), seeds=items["seed"])
    return found.mean, found.low, found.high


def summary_table(result: StudyResult) -> pd.DataFrame:
    """Each arm against its baselines, over all draws, per noise level and per η.

    Returns:
        Columns arm, group ("all", "noise" or "eta_waves"), level, draws, images, seeds, and for each name of `gains`
        the mean and its 95 % interval: name, name_low, name_high (decibels; SSIM has no unit).
    """
    rows = []
    for arm in result.arms:
        for group, level, mask in groups(result):
            items = result.items[mask & (result.items["arm"] == arm)]
            if items.empty:
                continue
            row: dict[str, object] = {"arm": arm, "group": group, "level": level, "draws": len(items)}
            row |= {"images": items["image"].nunique(), "seeds": items["seed"].nunique()}
            for name, (measure, baseline) in result.gains.items():
                row[name], row[f"{name}_low"], row[f"{name}_high"] = interval(items, measure, baseline)
            rows.append(row)
    return pd.DataFrame(rows)


def paired_table(result: StudyResult) -> pd.DataFrame:
    """The contrast, first arm minus second on the same draws, overall and per cell; empty without both arms.

    Returns:
        Columns metric, where, noise, eta_waves ("all" in the overall row), draws, images, seeds, first, second (means
        of the arms), difference, low, high, p, p_holm (over the cells of one metric; NaN overall), seed_std.
        PSF SNR is left out when the arms share their estimates, for there is nothing to compare.
    """
    lead = ["metric", "where", *CELL, "draws", "images", "seeds", "first", "second"]
    columns = [*lead, "difference", "low", "high", "p", "p_holm", "seed_std"]
    if not result.contrasted:
        return pd.DataFrame(columns=columns)
    rows = []
    for metric in (*CONTRASTED, *(metric.name for metric in result.own_metrics)):
        if metric == "psf_snr_db" and result.one_psf:
            continue
        found = paired_differences(
            result.items,
            contrast=result.contrast,
            metric=metric,
            by=CELL,
            pair=PAIR,
            rng=np.random.default_rng(0),
        )
        overall = {"metric": metric, "where": "all cells", "noise": "all", "eta_waves": "all", "p_holm": np.nan}
        rows.append(overall | found.overall)
        order = {noise: i for i, noise in enumerate(result.noises)}
        cells = sorted(found.cells.to_dict("records"), key=lambda cell: (order[cell["noise"]], cell["eta_waves"]))
        rows += [{"metric": metric, "where": f"noise {c['noise']} · η {c['eta_waves']:g}", **c} for c in cells]
    names = {"n_values": "draws", "n_clusters": "images", "n_seeds": "seeds", "mean": "difference"}
    return pd.DataFrame(rows).rename(columns=names | {"mean_a": "first", "mean_b": "second"})[columns]


def seed_table(result: StudyResult) -> pd.DataFrame:
    """Means of each arm's training seeds and their standard deviation: measure, arm, one column per seed, seed_std."""
    gains = pd.DataFrame(
        {
            name: result.items[measure] - (0 if baseline is None else result.items[baseline])
            for name, (measure, baseline) in result.gains.items()
            if not name.startswith("oracle")
        }
    )
    keys = [result.items["arm"], result.items["seed"]]
    rows = []
    for name in gains:
        means = gains[name].groupby(keys, sort=False).mean().unstack("seed").loc[result.arms]
        means.columns = [f"seed {seed}" for seed in means]
        rows.append(means.assign(seed_std=means.std(axis=1, ddof=1)).reset_index().assign(measure=name))
    table = pd.concat(rows, ignore_index=True)
    return table[["measure", *table.columns.drop("measure")]]
