"""From readings to standard deviations: each answer is fitted on some draws and asked about others.

Shapes: N draws, K coefficients. Everything is a pure function of arrays.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from torch import Tensor

from deepblur.operators import ZernikeBlur
from deepblur.platform.arms.uncertainty.uncertainty import Answer
from deepblur.platform.models.calibration import signed_error
from deepblur.platform.models.readings import one_twin
from deepblur.platform.models.uncertainty import fit_floor

KEYS = ["part", "inside", "noise", "eta_waves", "image", "draw"]
SMALLEST = 1e-4
"""Waves: the least standard deviation that an answer may give."""


@dataclass(frozen=True)
class Draws:
    """Estimates with what may tell their errors."""

    estimate: np.ndarray
    """(N, K), waves."""
    error: np.ndarray
    """(N, K), estimate less truth, towards the nearer twin."""
    views: np.ndarray
    """(N, K), spread over windows, turns and flips, the mean over members."""
    members: np.ndarray
    """(N, K), spread over members; zero for one."""
    image: np.ndarray
    """(N, 2): noise σ and contrast as the image shows them."""
    eta_waves: float

    def __getitem__(self, chosen: np.ndarray) -> "Draws":
        estimate, error, views = self.estimate[chosen], self.error[chosen], self.views[chosen]
        return Draws(estimate, error, views, self.members[chosen], self.image[chosen], self.eta_waves)


def draws_of(tables: Sequence[pd.DataFrame], operator: ZernikeBlur, eta_waves: float) -> Draws:
    """The readings of one or several INs of the same draws, brought to one twin.

    Raises:
        ValueError: the tables are not of the same draws.
    """
    first = tables[0]
    for other in tables[1:]:
        if not other[KEYS].equals(first[KEYS]):
            raise ValueError("the members of an ensemble read the same draws; these tables differ in theirs")
    means = torch.stack([_columns(table, "mean", operator) for table in tables], dim=1)
    means = torch.stack([one_twin(operator, of_draw[:, None])[:, 0] for of_draw in means])
    estimate = means.mean(1)
    error = signed_error(operator, estimate, _columns(first, "true", operator))
    views = torch.stack([_columns(table, "spread", operator) for table in tables]).mean(0)
    image = first[["noise_std", "contrast"]].to_numpy(dtype=float)
    members = means.std(1, correction=0)
    return Draws(estimate.numpy(), error.numpy(), views.numpy(), members.numpy(), image, eta_waves)


def _columns(table: pd.DataFrame, name: str, operator: ZernikeBlur) -> Tensor:
    return torch.from_numpy(table[[f"{name}_{noll}" for noll in operator.noll]].to_numpy(dtype=float, copy=True))


def fitted(answer: Answer, fit: Draws, scale: Draws, ask: Draws) -> np.ndarray:
    """(N, K) standard deviations of the draws in `ask`: the answer's numbers from `fit`, one temperature from `scale`.

    The temperature, the root mean square of error/σ, comes from draws that the numbers have not seen.
    """
    std = ANSWERS[answer](fit)
    temperature = math.sqrt(float(np.mean((scale.error / std(scale)) ** 2)))
    return temperature * std(ask)


Std = Callable[[Draws], np.ndarray]


def _constant(fit: Draws) -> Std:
    rms = np.sqrt(np.mean(fit.error**2, axis=0))
    return lambda ask: np.broadcast_to(np.maximum(rms, SMALLEST), ask.error.shape)


def _views(fit: Draws) -> Std:
    return lambda ask: np.maximum(ask.views, SMALLEST)


def _ensemble(fit: Draws) -> Std:
    return lambda ask: np.maximum(ask.members, SMALLEST)


def _with_floor(spread: Callable[[Draws], np.ndarray]) -> Callable[[Draws], Std]:
    def answer(fit: Draws) -> Std:
        floor, factor = fit_floor(spread(fit), fit.error)
        return lambda ask: np.sqrt(floor**2 + (factor * spread(ask)) ** 2)

    return answer


def _head(fit: Draws) -> Std:
    """log σ_k = w_k · features, by maximum likelihood with a weak pull of all but the first weight to zero."""
    known = _features(fit)
    centre, width = known.mean(0), known.std(0) + 1e-3

    def scaled(ask: Draws) -> np.ndarray:
        features = (_features(ask) - centre) / width
        features = np.clip(features, -3, 3)  # a line through the fitted draws says nothing far away from them
        return np.concatenate([np.ones_like(features[..., :1]), features], axis=-1)

    inputs = scaled(fit)
    weights = []
    for k in range(fit.error.shape[1]):
        rms = math.sqrt(float(np.mean(fit.error[:, k] ** 2)))

        def surprise(w: np.ndarray, k: int = k) -> float:
            log_std = inputs[:, k] @ w
            likely = np.mean(log_std + 0.5 * fit.error[:, k] ** 2 * np.exp(-2 * np.clip(log_std, -12, 3)))
            return float(likely + 0.01 * np.sum(w[1:] ** 2))

        start = np.zeros(inputs.shape[2])
        start[0] = math.log(max(rms, SMALLEST))
        weights.append(minimize(surprise, start, method="L-BFGS-B").x)
    found = np.stack(weights)
    return lambda ask: np.exp(np.clip(np.einsum("nkf,kf->nk", scaled(ask), found), math.log(SMALLEST), 0.0))


def _features(draws: Draws) -> np.ndarray:
    """(N, K, 4): logarithms of spread, noise and contrast, and |γ̂|/η."""
    noise, contrast = (np.log(draws.image[:, i : i + 1] + 1e-3) for i in (0, 1))
    size = np.abs(draws.estimate) / draws.eta_waves
    spread = np.log(draws.views + 1e-3)
    return np.stack([spread, noise + 0 * spread, contrast + 0 * spread, size], axis=-1)


ANSWERS: dict[Answer, Callable[[Draws], Std]] = {
    "constant": _constant,
    "views": _views,
    "views + floor": _with_floor(lambda draws: draws.views),
    "ensemble": _ensemble,
    "ensemble + floor": _with_floor(lambda draws: draws.members),
    "head": _head,
}
