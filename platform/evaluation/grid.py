"""The observations of a study's fixed grid, with common random numbers.

Draw d of image i has one crop, one direction of γ and one field of white noise, the same for every arm, seed, noise
level and η; noise levels and η only scale them. Differences between arms, and between cells, are therefore paired.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deepblur.operators import Blur, PoissonGaussian
from deepblur.platform.data.observations import Batch, Degradation, observe
from deepblur.platform.data.store import ImageStore
from deepblur.platform.evaluation.levels import Grid, NoiseLevel, RealImages
from deepblur.platform.system.seeds import generator


@dataclass(frozen=True)
class Cell:
    """One image at one noise level and η: `grid.draws` observations."""

    image: str
    noise: NoiseLevel
    eta_waves: float
    batch: Batch


def middle(image: Tensor, most_px: int) -> Tensor:
    """The middle of an image (H, W), at most `most_px` a side."""
    h, w = (min(side, most_px) for side in image.shape)
    top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    return image[top : top + h, left : left + w]


def usable_images(grid: Grid | RealImages, operator: Blur, store: ImageStore) -> list[int]:
    """Which images of the store the grid takes: the first `grid.images` that are large enough for its crops.

    Raises:
        ValueError: none is.
    """
    real = isinstance(grid, RealImages)
    size = operator.psf_shape if real else operator.input_size((grid.crop_px, grid.crop_px))
    usable = [i for i in range(len(store)) if store.heights[i] >= size[0] and store.widths[i] >= size[1]]
    if not usable:
        raise ValueError(
            f"no test image has the {size[0]}x{size[1]} pixels that crops of {grid.crop_px} px and this blur need; "
            "lower the grid's crop_px or give larger images"
        )
    return usable[: grid.images]


def cells(grid: Grid, degradation: Degradation, store: ImageStore) -> Iterator[Cell]:
    """Every cell of the grid, image by image."""
    for position in range(len(usable_images(grid, degradation.operator, store))):
        yield from image_cells(grid, degradation, store, position)


def image_cells(grid: Grid, degradation: Degradation, store: ImageStore, position: int) -> Iterator[Cell]:
    """The cells of the image at one position among the usable ones."""
    operator = degradation.operator
    size = operator.input_size((grid.crop_px, grid.crop_px))
    index = usable_images(grid, operator, store)[position]
    sharp = _crops(store.image(index), grid.draws, size, generator(grid.seed, "test crops", position))
    unit = operator.held_out().draw(grid.draws, generator(grid.seed, "test gamma", position))
    for eta_waves in grid.eta_waves:
        for level in grid.noise:
            noise = PoissonGaussian(level.gain, level.read_std)
            rng = generator(grid.seed, "test noise", position)
            batch = observe(sharp, operator.at(unit, eta_waves), noise, operator, rng)
            yield Cell(str(store.names[index]), level, eta_waves, batch)


def _crops(image: Tensor, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
    """n windows (n, 1, h, w) of one image (1, H, W), spread at random, as they are."""
    _, H, W = image.shape
    h, w = size
    rows = torch.randint(H - h + 1, (n,), generator=rng).tolist()
    columns = torch.randint(W - w + 1, (n,), generator=rng).tolist()
    return torch.stack([image[:, r : r + h, c : c + w] for r, c in zip(rows, columns, strict=True)])
