"""Paired comparison of arms: tables of mean differences, with intervals and tests from `intervals`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from deepblur.platform.evaluation.intervals import MeanInterval, crossed_p, holm, mean_interval, sign_flip_p

__all__ = [
    "MeanInterval",
    "PairedDifferences",
    "compare_to_reference",
    "crossed_p",
    "holm",
    "mean_interval",
    "paired_differences",
    "sign_flip_p",
]

DRAW = ("noise", "eta_waves", "image", "draw")
"""Columns that name one observation in a table of items."""
FIGURES = ("n_values", "n_clusters", "n_seeds", "mean_a", "mean_b", "mean", "low", "high", "p", "seed_std")
"""What is said of one comparison."""


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
        return _figures(rows, rows[cluster], rows[seed] if seed else None, rng, level)

    groups = joined.groupby(list(by), dropna=False) if by else ()
    cells = pd.DataFrame([dict(zip(by, cell, strict=True)) | figures(rows) for cell, rows in groups])
    if len(cells):
        cells["p_holm"] = holm(cells["p"])
    return PairedDifferences(contrast, metric, cells, figures(joined))


def compare_to_reference(
    items: pd.DataFrame,
    reference: str,
    metric: str,
    by: Sequence[str] = (),
    *,
    draw: Sequence[str] = DRAW,
    cluster: str = "image",
    arm: str = "arm",
    seed: str = "seed",
    level: float = 0.95,
    stream: int = 0,
) -> pd.DataFrame:
    """Every other arm minus a reference arm, on the draws where both have a finite score.

    Arms with several seeds are paired seed by seed. An arm with a single seed, such as a method that is not trained, is
    compared with every seed of the other. A method that fails on the hard draws looks better on the rest: read
    `n_dropped` beside the difference.

    Args:
        items: one row per score, with the columns named below; NaN or infinity where a method has none.
        reference: value of the column `arm` that is subtracted.
        metric: the column to compare.
        by: columns that define a cell; none for one comparison over everything.
        draw: columns that identify, within an arm and a seed, one draw of image, operator and noise.
        cluster, arm, seed, level: as in `paired_differences`.
        stream: each row's bootstrap starts afresh from it, so that no row depends on which others are asked for.
    Returns:
        One row per arm and cell: the columns `by`, arm, then the figures of `paired_differences` with a = arm and
        b = reference, n_dropped (pairs where one side is missing or not finite) and p_holm (over the arms of a cell).
        Without any pair n_values is 0 and the figures are NaN.
    Raises:
        ValueError: a column or the reference is missing, or an arm has a draw more than once.
    """
    keys = list(dict.fromkeys([*by, *draw, cluster]))
    _require_columns(items, [arm, metric, seed, *keys])
    seeds = items.groupby(arm)[seed].nunique(dropna=False)
    right = _scores(items, reference, metric, [*keys, seed], arm).rename("b").reset_index()
    found: list[dict[str, Any]] = []
    for name in items[arm].unique():
        if name == reference:
            continue
        left = _scores(items, name, metric, [*keys, seed], arm).rename("a").reset_index()
        if seeds[name] == 1:
            both = left.drop(columns=seed).merge(right, on=keys, how="outer")
        elif seeds[reference] == 1:
            both = left.merge(right.drop(columns=seed), on=keys, how="outer")
        else:
            both = left.merge(right, on=[*keys, seed], how="outer")
        for cell, rows in both.groupby(list(by), dropna=False) if by else [((), both)]:
            pairs = rows[np.isfinite(rows["a"]) & np.isfinite(rows["b"])]
            figures = _figures(pairs, pairs[cluster], pairs[seed], np.random.default_rng(stream), level)
            lead = dict(zip(by, cell, strict=True)) | {"arm": name, "n_dropped": len(rows) - len(pairs)}
            found.append(lead | figures)
    table = pd.DataFrame(found, columns=[*by, "arm", *FIGURES, "n_dropped"])
    cells = table.groupby(list(by) if by else np.zeros(len(table)), dropna=False)
    return table.assign(p_holm=cells["p"].transform(lambda p: pd.Series(holm(p.dropna()), p.dropna().index)))


def _figures(
    pairs: pd.DataFrame, clusters: pd.Series, seeds: pd.Series | None, rng: np.random.Generator, level: float
) -> dict[str, float]:
    """FIGURES of one comparison, from the columns a and b."""
    if pairs.empty:
        return {name: 0 if name.startswith("n_") else np.nan for name in FIGURES}
    difference = pairs["a"] - pairs["b"]
    of_seed = np.zeros(len(pairs), dtype=int) if seeds is None else seeds.to_numpy()
    interval = mean_interval(difference, clusters, rng, seeds=of_seed, level=level)
    several = interval.n_seeds > 1
    return asdict(interval) | {
        "mean_a": float(pairs["a"].mean()),
        "mean_b": float(pairs["b"].mean()),
        "p": crossed_p(difference, clusters, of_seed) if several else sign_flip_p(difference, clusters, rng),
        "seed_std": float(difference.groupby(of_seed).mean().std(ddof=1)),
    }


def _pairs(table: pd.DataFrame, contrast: tuple[str, str], metric: str, keys: list[str], arm: str) -> pd.DataFrame:
    """One row per draw: its keys and the two scores, a and b."""
    _require_columns(table, [arm, metric, *keys])
    sides = [_scores(table, name, metric, keys, arm) for name in contrast]
    for i, j in ((0, 1), (1, 0)):
        alone = sides[i].index.difference(sides[j].index, sort=False)
        if len(alone):
            raise ValueError(
                f"{len(alone)} draws of arm {contrast[i]!r} have no partner in arm {contrast[j]!r}, first "
                f"{_named(keys, alone[0])}; evaluate both arms on the same draws"
            )
    return pd.DataFrame({"a": sides[0], "b": sides[1]}).reset_index()


def _scores(table: pd.DataFrame, name: str, metric: str, keys: list[str], arm: str) -> Any:
    """The scores of one arm, a series over the keys."""
    side = table.loc[table[arm] == name].set_index(keys)[metric]
    if side.empty:
        raise ValueError(f"the table has no arm {name!r}; it has {sorted(map(str, table[arm].unique()))}")
    if side.index.has_duplicates:
        twice = _named(keys, side.index[side.index.duplicated()][0])
        raise ValueError(f"arm {name!r} has the draw {twice} more than once; add the column that tells them apart")
    return side


def _require_columns(table: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"the table lacks the columns {missing}; it has {list(table.columns)}")


def _named(keys: list[str], index: Any) -> str:
    values = index if len(keys) > 1 else (index,)
    return ", ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
