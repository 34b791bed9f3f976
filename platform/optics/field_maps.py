"""Coefficients known at a few places of the field → smooth maps of the whole field.

Places are (v, u), rows and columns, from −1 to 1 across the field. Maps are stored on `NODES` × `NODES` places, the
middles of as many equal parts, and read between them by a bicubic spline.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from numpy.polynomial import legendre
from scipy.interpolate import RBFInterpolator, make_interp_spline
from torch import Tensor

FieldModel = Literal["spline", "plane", "quadratic", "cubic"]
NODES = 33
_DEGREES = {"plane": 1, "quadratic": 2, "cubic": 3}
_SMOOTHING = (1e-6, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_FOLDS = 5
LEAST_BEADS = 6
"""Below this many beads the variation over the field cannot be told from noise: the maps are constant."""


def nodes(count: int = NODES) -> np.ndarray:
    """(count,) the places of the nodes along one side."""
    return (2 * np.arange(count) + 1) / count - 1


def field_maps(places: np.ndarray, values: np.ndarray, model: FieldModel = "spline", count: int = NODES) -> np.ndarray:
    """Smooth maps (M, count, count) through noisy values.

    Args:
        places: (N, 2), in the field's own unit.
        values: (N, M): M quantities at each place.
        model: "spline" is a thin-plate spline whose smoothing is chosen by cross-validation over the places; "plane",
            "quadratic", "cubic" are polynomials of that degree, by least squares. With too few places for the model it
            becomes the mean.
    """
    if model not in get_args(FieldModel):
        raise ValueError(f"a model of the field is one of {', '.join(get_args(FieldModel))}; got {model!r}")
    grid = np.stack(np.meshgrid(nodes(count), nodes(count), indexing="ij"), -1).reshape(-1, 2)
    if len(places) < LEAST_BEADS:
        maps = np.broadcast_to(values.mean(0), (len(grid), values.shape[1]))
    elif model == "spline":
        maps = _spline(places, values, _best_smoothing(places, values))(grid)
    else:
        maps = _polynomial(places, values, _DEGREES[model])(grid)
    return np.ascontiguousarray(maps.T.reshape(-1, count, count))


def sample_maps(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(J, n, n) maps on nodes → (J, H, W) at the places rows (H,) and columns (W,): a separable bicubic spline."""
    n = maps.shape[-1]
    down, across = (torch.from_numpy(_weights(n, tuple(p.tolist()))).to(maps) for p in (rows, columns))
    return down @ maps @ across.mT


def pixel_places(side: int, first: int = 0, count: int | None = None) -> Tensor:
    """(count,) float64: the middles of `count` pixels from `first` on, of a field with `side` pixels."""
    count = side - first if count is None else count
    return (2 * (first + torch.arange(count, dtype=torch.float64)) + 1) / side - 1


@lru_cache(maxsize=64)
def _weights(n: int, at: tuple[float, ...]) -> np.ndarray:
    """(len(at), n): what each node counts at each place; beyond the last node the spline goes on."""
    return np.asarray(make_interp_spline(nodes(n), np.eye(n), k=min(3, n - 1))(np.array(at)))


def _spline(places: np.ndarray, values: np.ndarray, smoothing: float) -> Callable[[np.ndarray], np.ndarray]:
    return RBFInterpolator(places, values, kernel="thin_plate_spline", smoothing=smoothing * len(places), degree=1)


def _best_smoothing(places: np.ndarray, values: np.ndarray) -> float:
    """By cross-validation over the beads, the same for all quantities: the one that predicts unseen beads best."""
    fold = np.random.default_rng(0).permutation(len(places)) % _FOLDS
    if np.bincount(fold).min() < 1 or len(places) - np.bincount(fold).max() < 4:
        return _SMOOTHING[2]

    def error(smoothing: float) -> float:
        total = 0.0
        for k in range(_FOLDS):
            seen = fold != k
            try:
                predicted = _spline(places[seen], values[seen], smoothing)(places[~seen])
            except np.linalg.LinAlgError:  # the beads of this fold lie on a line
                return np.inf
            total += float(np.square(predicted - values[~seen]).sum())
        return total

    return min(_SMOOTHING, key=error)


def _polynomial(places: np.ndarray, values: np.ndarray, degree: int) -> Callable[[np.ndarray], np.ndarray]:
    terms = [(a, b) for a in range(degree + 1) for b in range(degree + 1 - a)]

    def design(at: np.ndarray) -> np.ndarray:
        table = legendre.legvander2d(at[:, 0], at[:, 1], [degree, degree]).reshape(-1, degree + 1, degree + 1)
        return table[:, [a for a, _ in terms], [b for _, b in terms]]

    if len(places) < len(terms):
        return lambda at: np.broadcast_to(values.mean(0), (len(at), values.shape[1]))
    solution, *_ = np.linalg.lstsq(design(places), values, rcond=None)
    return lambda at: design(at) @ solution
