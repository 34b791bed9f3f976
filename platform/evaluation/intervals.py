"""Means of scores that share images and trained networks: intervals and tests that respect both.

Scores of one image under many noise draws are not independent, nor are scores of one trained network on many images.
So the unit of every interval and test is the *cluster* (an image), and training seeds are a second, crossed factor:
what holds for these images and these trained networks need not hold for others. Two arms that differ in nothing but
their seeds differ on every image alike, and a test over images alone would call that a finding most of the time.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

EXACT_UP_TO_CLUSTERS = 14  # 2^14 sign patterns are cheaper than the Monte-Carlo test that replaces them
LEAST_P = 1e-12  # of `crossed_p`, where nothing varies


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its interval; low and high are NaN where a single cluster says nothing about others."""

    mean: float
    low: float
    high: float
    n_values: int
    n_clusters: int
    n_seeds: int


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

    Each resample draws clusters with replacement, n − 1 of n, which makes the bootstrap variance unbiased. Two or three
    seeds are too few to resample: with `seeds` each resample gets a normal deviate with the standard error of the means
    of seeds. The quantiles' distances from the mean are widened from the normal quantile to Student's, averaged over
    the two factors with the weight of their variances. With few seeds the interval is therefore wide where they
    disagree, as it must be; with one seed it speaks of these trained networks only.

    Args:
        values, clusters, seeds: (N,), one entry per score; a cluster may lack a seed.
        rng: the source of the resamples.
        level: probability that the interval is to cover the mean; resamples: of the bootstrap.
    Raises:
        ValueError: no values, a value that is NaN or infinite, or lengths differ.
    Source: Rao and Wu, JASA 83, 1988 (n − 1); Cochran and Cox, Experimental Designs, 2nd ed., 1957 (the averaged
        quantile, there for two samples of unequal variance).
    """
    sums, counts = _sums_by_cluster_and_seed(values, clusters, seeds)
    n_clusters, n_seeds = counts.shape
    mean = sums.sum() / counts.sum()
    if n_clusters == 1:
        low = high = float("nan")
    else:
        by_cluster, by_seed = _standard_errors(sums, counts)
        weights = rng.multinomial(n_clusters - 1, np.full(n_clusters, 1 / n_clusters), size=resamples)
        totals = (weights @ sums.sum(1)) / (weights @ counts.sum(1)) + by_seed * rng.standard_normal(resamples)
        tails = (1 - level) / 2
        widen = _critical(tails, counts.shape, by_cluster, by_seed) / stats.norm.isf(tails)
        low, high = mean + widen * (np.quantile(totals, [tails, 1 - tails]) - mean)
    return MeanInterval(float(mean), float(low), float(high), int(counts.sum()), n_clusters, n_seeds)


def sign_flip_p(values: ArrayLike, clusters: Sequence[Hashable] | ArrayLike, rng: np.random.Generator) -> float:
    """Two-sided p value of "paired differences are symmetric about zero", flipping whole clusters.

    The statistic is the mean difference itself. Exact over all 2^n patterns up to 14 clusters, else 9,999 random ones.
    It needs no distribution, but few clusters bound it from below: n of them give at best 2^(1 − n), so fewer than 6
    cannot reach 0.05. It is conditional on the trained networks: where there are several, take `crossed_p`.

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


def crossed_p(
    values: ArrayLike, clusters: Sequence[Hashable] | ArrayLike, seeds: Sequence[Hashable] | ArrayLike
) -> float:
    """Two-sided p value of "no difference on average over clusters and over seeds", both of them random draws.

    Student's test of the mean, whose variance is that of the clusters' means plus that of the seeds' means (their
    interaction counts twice, on the safe side), with the quantile of `mean_interval`. Two seeds say little about
    others, so with two a difference must be large beside their disagreement.

    Args:
        values, clusters, seeds: (N,) differences, and the cluster and the seed of each.
    Returns:
        p, from 1e-12 to 1; 1 where there is a single cluster.
    Source: Clark, J. Verbal Learning and Verbal Behavior 12, 1973 (two crossed random factors); Cochran and Cox, as in
        `mean_interval`, for Satterthwaite's degrees of freedom are too many where a factor has two or three levels.
    """
    sums, counts = _sums_by_cluster_and_seed(values, clusters, seeds)
    errors = _standard_errors(sums, counts)
    distance = abs(sums.sum() / counts.sum())
    if distance == 0 or len(sums) == 1:
        return 1.0

    def excess(p: float) -> float:
        return float(np.hypot(*errors) * _critical(p / 2, counts.shape, *errors) - distance)

    return LEAST_P if excess(LEAST_P) <= 0 else float(optimize.brentq(excess, LEAST_P, 1.0, xtol=LEAST_P))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction of (n,) p values for n comparisons, in the given order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


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
    rows = _codes(clusters)
    columns = np.zeros_like(rows) if seeds is None else _codes(seeds)
    if not len(numbers) == len(rows) == len(columns):
        raise ValueError(f"each value needs its cluster and seed; got {len(numbers)}, {len(rows)}, {len(columns)}")
    counts = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    sums = np.zeros(counts.shape)
    np.add.at(counts, (rows, columns), 1)
    np.add.at(sums, (rows, columns), numbers)
    return sums, counts


def _codes(labels: Sequence[Hashable] | ArrayLike) -> NDArray[np.int64]:
    """0, 1, … by first occurrence; a missing label is a label."""
    return pd.factorize(np.asarray(labels, dtype=object), use_na_sentinel=False)[0]


def _standard_errors(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Of the mean of all values, from the spread of the clusters and from that of the seeds; 0 for a single one."""
    mean, errors = sums.sum() / counts.sum(), []
    for axis in (0, 1):
        off = sums.sum(1 - axis) - mean * counts.sum(1 - axis)
        n = len(off)
        errors.append(float(np.sqrt((off**2).sum() * n / max(n - 1, 1)) / counts.sum()))
    return errors[0], errors[1]


def _critical(tail: float, shape: tuple[int, ...], by_cluster: float, by_seed: float) -> float:
    """Quantile for the mean: those of Student for clusters and for seeds, weighted by their variances."""
    variances = np.square([by_cluster, by_seed])
    if not variances.any():
        return float(stats.norm.isf(tail))
    quantiles = stats.t.isf(tail, np.maximum(np.array(shape) - 1, 1))
    return float(variances @ quantiles / variances.sum())
