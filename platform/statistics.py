"""Paired comparison of arms: mean differences with intervals and tests that respect how the numbers were drawn.

Scores of one image under many noise draws are not independent, nor are scores of one trained network on many images.
So the unit of every interval and test is the *cluster* (an image), and training seeds are a second, crossed factor.
"""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

EXACT_UP_TO_CLUSTERS = 14  # 2^14 sign patterns are cheaper than the Monte-Carlo test that replaces them


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its interval; low and high are NaN where a single cluster says nothing about others."""

    mean: float
    low: float
    high: float
    n_values: int
    n_clusters: int
    n_seeds: int


@dataclass(frozen=True)
class PairedDifferences:
    """Differences a − b of one metric.

    Attributes:
        contrast: (a, b), the names of the arms.
        metric: the column compared.
        cells: one row per cell: its columns, then n_values (pairs), n_clusters, n_seeds, mean_a, mean_b, mean (of
            a − b), low, high, p, p_holm, seed_std (standard deviation of the mean difference over training seeds, NaN
            with one seed).
        overall: the same figures over all cells, without p_holm.
    """

    contrast: tuple[str, str]
    metric: str
    cells: pd.DataFrame
    overall: dict[str, float]


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | ArrayLike,
    rng: np.random.Generator,
    *,
    seeds: Sequence[Hashable] | ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
) -> MeanInterval:
    """Mean of all values with its cluster-bootstrap interval.

    Each resample draws clusters with replacement, n − 1 of n, which makes the bootstrap variance unbiased; with `seeds`
    it draws seeds too, independently ("pigeonhole": mildly conservative). The quantiles' distances from the mean are
    widened by Student's over the normal quantile (degrees of freedom after Satterthwaite), for a percentile interval of
    few clusters is too short. With 2 or 3 seeds the interval is therefore wide where seeds disagree, as it must be;
    with one seed it speaks of these trained networks only.

    Args:
        values, clusters, seeds: (N,), one entry per score; every cluster must occur with every seed.
        rng: the source of the resamples.
        level: probability that the interval is to cover the mean; resamples: of the bootstrap.
    Raises:
        ValueError: no values, a value that is NaN or infinite, lengths differ, or a cluster lacks a seed.
    Source: Owen, Annals of Applied Statistics 1(2), 2007 (crossed bootstrap); Rao and Wu, JASA 83, 1988 (n − 1).
    """
    sums, counts = _sums_by_cluster_and_seed(values, clusters, seeds)
    n_clusters, n_seeds = counts.shape
    mean = sums.sum() / counts.sum()
    if n_clusters == 1:
        low = high = float("nan")
    else:
        weights = _resampled(n_clusters, resamples, rng).astype(float)
        seed_weights = _resampled(n_seeds, resamples, rng)
        totals = ((weights @ sums) * seed_weights).sum(1) / ((weights @ counts) * seed_weights).sum(1)
        tails = (1 - level) / 2
        widen = stats.t.isf(tails, _degrees_of_freedom(sums, counts)) / stats.norm.isf(tails)
        low, high = mean + widen * (np.quantile(totals, [tails, 1 - tails]) - mean)
    return MeanInterval(float(mean), float(low), float(high), int(counts.sum()), n_clusters, n_seeds)


def sign_flip_p(values: ArrayLike, clusters: Sequence[Hashable] | ArrayLike, rng: np.random.Generator) -> float:
    """Two-sided p value of "paired differences are symmetric about zero", flipping whole clusters.

    The statistic is the mean difference itself. Exact over all 2^n patterns up to 14 clusters, else 9,999 random ones.
    It needs no distribution, but few clusters bound it from below: n of them give at best 2^(1 − n), so fewer than 6
    cannot reach 0.05. It is conditional on the trained networks: seed spread is reported, not tested.

    Args:
        values, clusters: (N,) differences and the cluster of each.
        rng: used beyond 14 clusters.
    """
    sums = _sums_by_cluster_and_seed(values, clusters, None)[0][:, 0]
    n = len(sums)
    bar = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # patterns that tie with the observed one count, also if rounded
    if n <= EXACT_UP_TO_CLUSTERS:
        signs = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float((np.abs(signs @ sums) >= bar).mean())
    blocks = [rng.choice([-1.0, 1.0], size=(909, n)) @ sums for _ in range(11)]  # 9,999 in blocks that fit in memory
    extreme = (np.abs(np.concatenate(blocks)) >= bar).sum()
    return float((extreme + 1) / 10_000)  # the observed pattern counts as one of the draws, or p could be zero


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction of (n,) p values for n comparisons, in the given order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def paired_differences(
    table: pd.DataFrame,
    *,
    contrast: tuple[str, str],
    metric: str,
    by: Sequence[str],
    pair: Sequence[str],
    rng: np.random.Generator,
    cluster: str = "image",
    arm: str = "arm",
    seed: str | None = "seed",
    level: float = 0.95,
) -> PairedDifferences:
    """Differences between two arms on the same draws, per cell and overall.

    Args:
        table: one row per score, with the columns named below.
        contrast: (a, b), two values of the column `arm`; differences are a − b.
        metric: the column to compare.
        by: columns that define a cell (noise, η); empty for the overall figures alone.
        pair: columns that, within a cell and a seed, identify one draw of image, operator and noise.
        rng: of the bootstrap and the test.
        cluster: column of the independent unit; `seed`: column of the training seed, None if there is none.
        level: of the intervals.
    Raises:
        ValueError: a column or arm is missing, a draw occurs twice or in one arm only, or a score is not finite.
    """
    joined = _pairs(table, contrast, metric, list(dict.fromkeys([*by, *pair, cluster, *([seed] if seed else [])])), arm)

    def figures(rows: pd.DataFrame) -> dict[str, float]:
        difference = rows["a"] - rows["b"]
        seeds = rows[seed].to_numpy() if seed else np.zeros(len(rows), dtype=int)
        interval = mean_interval(difference, rows[cluster], rng, seeds=seeds, level=level)
        return asdict(interval) | {
            "mean_a": float(rows["a"].mean()),
            "mean_b": float(rows["b"].mean()),
            "p": sign_flip_p(difference, rows[cluster], rng),
            "seed_std": float(difference.groupby(seeds).mean().std(ddof=1)),
        }

    groups = joined.groupby(list(by), dropna=False) if by else ()
    cells = pd.DataFrame([dict(zip(by, cell, strict=True)) | figures(rows) for cell, rows in groups])
    if len(cells):
        cells["p_holm"] = holm(cells["p"])
    return PairedDifferences(contrast, metric, cells, figures(joined))


def _pairs(table: pd.DataFrame, contrast: tuple[str, str], metric: str, keys: list[str], arm: str) -> pd.DataFrame:
    """One row per draw: its keys and the two scores, a and b."""
    missing = [column for column in (arm, metric, *keys) if column not in table]
    if missing:
        raise ValueError(f"the table lacks the columns {missing}; it has {list(table.columns)}")
    sides: list[Any] = []
    for name in contrast:
        side = table.loc[table[arm] == name].set_index(keys)[metric]
        if side.empty:
            raise ValueError(f"the table has no arm {name!r}; it has {sorted(map(str, table[arm].unique()))}")
        if side.index.has_duplicates:
            twice = _named(keys, side.index[side.index.duplicated()][0])
            raise ValueError(f"arm {name!r} has the draw {twice} more than once; add the column that tells them apart")
        sides.append(side)
    for i, j in ((0, 1), (1, 0)):
        alone = sides[i].index.difference(sides[j].index, sort=False)
        if len(alone):
            raise ValueError(
                f"{len(alone)} draws of arm {contrast[i]!r} have no partner in arm {contrast[j]!r}, first "
                f"{_named(keys, alone[0])}; evaluate both arms on the same draws"
            )
    return pd.DataFrame({"a": sides[0], "b": sides[1]}).reset_index()


def _named(keys: list[str], index: Any) -> str:
    values = index if len(keys) > 1 else (index,)
    return ", ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))


def _sums_by_cluster_and_seed(
    values: ArrayLike, clusters: Sequence[Hashable] | ArrayLike, seeds: Sequence[Hashable] | ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums and counts of the values, each (clusters, seeds)."""
    numbers = np.asarray(values, dtype=float)
    if numbers.size == 0:
        raise ValueError("a mean needs at least one value; got none; check the filter that selected them")
    if not np.isfinite(numbers).all():
        bad = int((~np.isfinite(numbers)).sum())
        raise ValueError(f"{bad} of {numbers.size} values are NaN or infinite; a diverged result has no mean")
    rows = pd.factorize(np.asarray(clusters, dtype=object))[0]
    columns = np.zeros_like(rows) if seeds is None else pd.factorize(np.asarray(seeds, dtype=object))[0]
    if not len(numbers) == len(rows) == len(columns):
        raise ValueError(f"each value needs its cluster and seed; got {len(numbers)}, {len(rows)}, {len(columns)}")
    counts = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    sums = np.zeros(counts.shape)
    np.add.at(counts, (rows, columns), 1)
    np.add.at(sums, (rows, columns), numbers)
    if (counts == 0).any():
        raise ValueError(
            f"{int((counts == 0).sum())} of {counts.size} combinations of cluster and seed have no value; evaluate "
            "every seed on the same clusters"
        )
    return sums, counts


def _resampled(n: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(resamples, n) times that each of n units is drawn when n − 1 are; a single unit always is."""
    return rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=resamples)


def _degrees_of_freedom(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Of the mean's variance, estimated from the spread of cluster means and of seed means (Satterthwaite)."""
    parts = []
    for axis in (0, 1):
        means = sums.sum(1 - axis) / counts.sum(1 - axis)
        if len(means) > 1:
            parts.append((means.var(ddof=1) / len(means), len(means) - 1))
    total = sum(variance for variance, _ in parts)
    return np.inf if total == 0 else total**2 / sum(variance**2 / n for variance, n in parts)
