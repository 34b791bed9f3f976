"""What a study of uncertainties hands over: every error beside the deviation that each answer stated for it.

Everything is a function of `UncertaintyResult.items`. A good answer makes the −log likelihood of the errors small,
covers what it says it covers, and is large where the error is large; no single figure shows all three.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm, spearmanr

from deepblur.platform.arms.uncertainty.answers import draws_of, fitted
from deepblur.platform.arms.uncertainty.uncertainty import Uncertainty
from deepblur.platform.evaluation.intervals import mean_interval
from deepblur.platform.experiment.result import Result
from deepblur.platform.models.readings import Identification
from deepblur.platform.models.trained_range import range_flags
from deepblur.platform.report.answer import Answer, answer, answers_text
from deepblur.platform.tracking.names import of_arm, word

COVERAGES = (0.50, 0.68, 0.90, 0.95)
LEVELS = np.linspace(0.05, 0.95, 19)
"""Nominal coverages of the diagram and of the expected calibration error."""
PLACES = {"inside": "within the trained range", "beyond": "beyond it"}
DRAW = ["seed", "noise", "eta_waves", "image", "draw"]


@dataclass(frozen=True, kw_only=True, eq=False)
class UncertaintyResult(Result):
    """A finished study of uncertainties."""

    items: pd.DataFrame
    """One row per arm, seed, test draw and coefficient: place ("inside" or "beyond" the trained range), noise,
    eta_waves, image, draw, noll, error and std (waves), flagged (by deepblur.platform.models.trained_range)."""
    reference: str
    """The arm that the others are compared with."""

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(self.items["arm"]))


def rows_of(arm: Uncertainty, tables: Sequence[pd.DataFrame], crop_px: int) -> pd.DataFrame:
    """The rows of one arm and seed, from what its members read.

    The answer's numbers are fitted on every second validation draw, its temperature on the others; test draws have part
    in neither.
    """
    operator, table = arm.degradation.zernike, tables[0]
    draws = draws_of(tables, operator, arm.degradation.eta_waves)
    held, even = (table["part"] == "validation").to_numpy(), (table["draw"] % 2 == 0).to_numpy()
    if not (held & even).any() or not (held & ~even).any():
        raise ValueError("fitting and scaling need two draws per image at least; raise --draws")
    std = fitted(arm.answer, draws[held & even], draws[held & ~even], draws[~held])
    asked, told = table[~held], draws[~held]
    flagged = _flagged(arm, asked, told.estimate, std, crop_px)
    K = len(operator.noll)
    keys = asked[["noise", "eta_waves", "image", "draw"]].loc[asked.index.repeat(K)].reset_index(drop=True)
    place = np.where(asked["inside"], *PLACES).repeat(K)
    return keys.assign(
        place=place, noll=np.tile(operator.noll, len(asked)), error=told.error.ravel(), std=np.ravel(std),
        flagged=flagged.repeat(K),
    )  # fmt: skip


def _flagged(arm: Uncertainty, table: pd.DataFrame, estimate: np.ndarray, std: np.ndarray, crop_px: int) -> np.ndarray:
    """(N,): whether an image has any flag."""
    import torch

    known = arm.degradation
    trained = {"eta_waves": known.eta_waves, "gain": list(known.noise.gain), "read_std": list(known.noise.read_std)}
    found = []
    for row, gamma, deviation in zip(table.itertuples(), estimate, std, strict=True):
        said = Identification(torch.from_numpy(gamma), torch.from_numpy(np.array(deviation)), True, 1)
        y = torch.full((1, 1, crop_px, crop_px), float(row.brightness))
        found.append(bool(range_flags({"trained": trained}, known.zernike, y, said, float(row.noise_std), 0.0)))
    return np.array(found)


def coverage(errors: np.ndarray, stds: np.ndarray, levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """Share of errors within the central interval of each nominal level."""
    z = np.abs(errors) / stds
    return np.array([float(np.mean(z <= norm.ppf(0.5 + level / 2))) for level in levels])


def surprise(errors: np.ndarray, stds: np.ndarray) -> np.ndarray:
    """−log likelihood of each error under N(0, σ²), in nats, errors in units of 0.01 waves."""
    return np.log(100 * stds) + 0.5 * (errors / stds) ** 2 + 0.5 * np.log(2 * np.pi)


def risk_curve(errors: np.ndarray, stds: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Root mean square error of the share of draws with the smallest stated deviation; errors, stds (N, K)."""
    stated = np.mean(stds**2, axis=1)
    if np.ptp(stated) < 1e-12:  # which draws are kept is then chance
        return np.full(len(keep), np.sqrt(np.mean(errors**2)))
    order = np.argsort(stated, kind="stable")
    risk = np.sqrt(np.cumsum(np.mean(errors**2, axis=1)[order]) / np.arange(1, len(order) + 1))
    return risk[np.maximum(1, np.round(keep * len(order))).astype(int) - 1]


def per_draw(items: pd.DataFrame, column: str) -> np.ndarray:
    """(N, K) of the column, a row per draw."""
    return items.pivot_table(column, DRAW, "noll", sort=False).to_numpy()


def score_table(result: UncertaintyResult) -> pd.DataFrame:
    """One row per arm and place: draws, images, nll with its interval and its difference to the reference, coverages,
    ece, spearman (of σ with |error|, the mean over coefficients), rmse, and the share of draws with a flag."""
    rows = []
    for place in (p for p in PLACES if (result.items["place"] == p).any()):
        here = result.items[result.items["place"] == place].copy()
        here["nll"] = surprise(here["error"].to_numpy(), here["std"].to_numpy())
        alike = here[here["arm"] == result.reference].set_index([*DRAW, "noll"])["nll"]
        for arm in result.arms:
            rows.append({"arm": arm, "place": place, **_scores(here[here["arm"] == arm], alike)})
    return pd.DataFrame(rows)


def _scores(items: pd.DataFrame, reference: pd.Series) -> dict[str, float]:
    errors, stds = items["error"].to_numpy(), items["std"].to_numpy()
    found = mean_interval(items["nll"], items["image"], np.random.default_rng(0))
    gain = items.set_index([*DRAW, "noll"])["nll"] - reference
    gained = mean_interval(gain.to_numpy(), gain.index.get_level_values("image"), np.random.default_rng(0))
    row: dict[str, float] = {"draws": len(items.drop_duplicates(DRAW)), "images": items["image"].nunique()}
    row |= {"nll": found.mean, "nll_low": found.low, "nll_high": found.high}
    row |= {"gain": gained.mean, "gain_low": gained.low, "gain_high": gained.high}
    row |= {f"coverage_{100 * c:.0f}": v for c, v in zip(COVERAGES, coverage(errors, stds, COVERAGES), strict=True)}
    row["ece"] = float(np.mean(np.abs(coverage(errors, stds, LEVELS) - LEVELS)))
    row["spearman"] = float(np.mean(list(_correlations(items))))
    row["rmse_waves"] = float(np.sqrt(np.mean(errors**2)))
    row["mean_std_waves"] = float(np.mean(stds))
    row["flagged"] = float(items.drop_duplicates(DRAW)["flagged"].mean())
    return row


def _correlations(items: pd.DataFrame) -> Iterator[float]:
    for _, part in items.groupby("noll"):
        constant = part["std"].max() - part["std"].min() < 1e-12
        yield 0.0 if constant else float(spearmanr(part["std"], part["error"].abs()).statistic)


def uncertainty_metrics(result: UncertaintyResult) -> dict[str, float]:
    names = ("nll", "ece", "spearman", "coverage_68", "coverage_90", "rmse_waves", "flagged")
    contrast = {key: value for one in contrast_answers(result) for key, value in one.metrics("nll").items()}
    return contrast | {of_arm(row["arm"], f"{word(row['place'])}/{name}"): float(row[name])
            for row in score_table(result).to_dict("records") for name in names}  # fmt: skip


def contrast_answers(result: UncertaintyResult) -> list[Answer]:
    """The contrast in the surprise of the errors, within the trained range."""
    inside = result.items[result.items["place"] == "inside"]
    if result.contrast is None or inside.empty:
        return []
    scored = inside.assign(nll=surprise(inside["error"].to_numpy(), inside["std"].to_numpy()))
    words = {"label": "Surprise within the trained range", "unit": "nats", "higher_is_better": False}
    one = answer(scored, result.contrast, "nll", draw=[*DRAW[1:], "noll"], cluster="image", **words)
    return [] if one is None else [one]


def contrast_sentences(result: UncertaintyResult) -> list[str]:
    """The question that the study asks, with its answer."""
    return [] if result.contrast is None else answers_text(result.contrast, contrast_answers(result), result.arms)


def best_arm(table: pd.DataFrame) -> str:
    """The arm with the lowest −log likelihood within the trained range."""
    inside = table[table["place"] == "inside"]
    return str(inside.loc[inside["nll"].idxmin(), "arm"])
