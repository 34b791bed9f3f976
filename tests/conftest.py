"""Fixtures that every room shares."""

import pytest
import torch
from torch import Tensor


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that start a Ray cluster first: they take longest, and the others run beside them."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def draw(rng):
    """draw(*shape) → float64 standard normal numbers, the same in every run."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    return normal
