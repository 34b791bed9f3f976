"""A compact kernel like those of camera shake: a smooth line without symmetry."""

import torch
from torch import Tensor


def streak(side: int) -> Tensor:
    """(side, side) float64, sum 1; side at least 11, odd."""
    kernel = torch.zeros(side, side, dtype=torch.float64)
    binomial = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.float64)
    corner = side // 2 - 4
    for step, (row, column) in enumerate([(1, 1), (2, 2), (3, 4), (3, 5), (4, 6), (6, 6), (7, 5), (7, 3)]):
        top, left = corner + row, corner + column
        kernel[top - 1 : top + 2, left - 1 : left + 2] += (1 + step / 4) * binomial
    return kernel / kernel.sum()
