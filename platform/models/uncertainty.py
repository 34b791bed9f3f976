"""From the spread of IN's readings to a standard deviation of γ̂, by what held-out draws showed of both.

σ_k² = floor_k² + (factor_k · spread_k)²: the floor is the error that all readings share and no spread shows. The two
numbers per coefficient are fitted by maximum likelihood, once for a single window and once for several, whose mean errs
less than their spread suggests. They travel in the model's card, as plain JSON.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SMALLEST = 1e-5
"""Waves: below this no error was ever measured, and a floor of zero would make a lucky spread of zero a certainty."""


def calibrated_std(entry: Any, spread: Tensor, windows: int) -> Tensor | None:
    """(K,) standard deviations in waves; None where the card's entry says nothing that fits.

    Args:
        entry: card["uncertainty"], as `calibration` writes it.
        spread: (K,), standard deviation of the readings, in waves.
        windows: how many windows were read; the numbers of the largest fitted count that is not above it are taken.
    """
    levels = entry.get("levels") if isinstance(entry, Mapping) else None
    if not isinstance(levels, list) or not all(_fits(level, len(spread)) for level in levels) or not levels:
        return None
    known = sorted(levels, key=lambda level: level["windows"])
    level = next((level for level in reversed(known) if level["windows"] <= windows), known[0])
    floor, factor = (torch.tensor(level[name]).to(spread) for name in ("floor_waves", "factor"))
    return (floor.square() + (factor * spread).square()).sqrt()


def fit_level(spread: np.ndarray, error: np.ndarray, windows: int) -> dict[str, Any]:
    """One level of the card's entry, from the spread and error of draws in that many windows; see fit_floor."""
    floor, factor = ([float(f"{value:.3g}") for value in values] for values in fit_floor(spread, error))
    return {"windows": windows, "floor_waves": floor, "factor": factor, "draws": len(error)}


def fit_floor(spread: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(floors, factors), each (K,), that make the errors most likely.

    Args:
        spread: (N, K), waves.
        error: (N, K), estimate less truth, towards the nearer twin, in waves.
    """
    fits = [_fit(s, e) for s, e in zip(spread.T, error.T, strict=True)]
    return np.array([floor for floor, _ in fits]), np.array([factor for _, factor in fits])


def _fit(spread: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    rms = max(math.sqrt(float(np.mean(error**2))), _SMALLEST)
    typical = max(float(np.mean(spread)), _SMALLEST)

    def surprise(parameters: np.ndarray) -> float:
        floor, factor = np.exp(parameters)
        variance = (floor * rms) ** 2 + (factor * rms / typical * spread) ** 2 + _SMALLEST**2
        return float(np.mean(np.log(variance) + error**2 / variance))

    from scipy.optimize import minimize  # a quarter of a second, which nobody need spend who restores

    found = minimize(surprise, np.log([0.7, 0.7]), method="L-BFGS-B", bounds=[(-6, 3), (-6, 3)])
    floor, factor = np.exp(found.x)
    return math.hypot(floor * rms, _SMALLEST), float(factor) * rms / typical


def _fits(level: Any, parameters: int) -> bool:
    return (
        isinstance(level, Mapping)
        and isinstance(level.get("windows"), int)
        and all(
            isinstance(level.get(name), list)
            and len(level[name]) == parameters
            and all(isinstance(value, (int, float)) and math.isfinite(value) for value in level[name])
            for name in ("floor_waves", "factor")
        )
    )
