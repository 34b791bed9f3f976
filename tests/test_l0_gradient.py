"""The ℓ0-gradient method: each step by its own law, the whole on a blur it was made for."""

from itertools import product

import pytest
import skimage.data
import torch
from torch.testing import assert_close

from deepblur.baselines.l0_gradient import l0_image, pyramid
from deepblur.operators import transfer_function


def circular(image, psf):
    return torch.fft.irfft2(torch.fft.rfft2(image) * transfer_function(psf, image.shape), s=image.shape)


def photograph(rows=286, columns=286, dtype=torch.float64):
    return torch.from_numpy(skimage.data.camera()[100 : 100 + rows, 150 : 150 + columns] / 255).to(dtype)


@pytest.fixture
def motion():
    """15×15: a bent path through the plane, two pixels thick."""
    psf = torch.zeros(15, 15, dtype=torch.float64)
    for t in torch.linspace(0, 1, 200, dtype=torch.float64):
        row, column = 3 + 8 * t, 7 + 4.5 * torch.sin(4 * t)
        r, c = int(row), int(column)
        psf[r : r + 2, c : c + 2] += torch.outer(
            torch.stack([1 - row + r, row - r]), torch.stack([1 - column + c, column - c])
        )
    return psf / psf.sum()


def test_pyramid_halves_image_and_kernel_until_the_kernel_would_fall_below_three():
    levels = pyramid(torch.rand(100, 75), 31)
    assert [(tuple(image.shape), size) for image, size in levels] == [
        ((100, 75), 31), ((50, 38), 15), ((25, 19), 7), ((13, 10), 3),
    ]  # fmt: skip
    assert [size for _, size in pyramid(torch.rand(64, 64), 25)] == [25, 13, 7, 3]
    assert [size for _, size in pyramid(torch.rand(64, 64), 3)] == [3]


def test_pyramid_keeps_the_mean(draw):
    for image, _ in pyramid(draw(64, 96) + 5, 31):
        assert_close(image.mean().item(), 5.0, atol=0.05, rtol=0)


def regions(H, W, cut):
    """Pixel → region, where only the pixels in `cut` may differ from their right and lower neighbours."""
    names = list(range(H * W))
    for p in range(H * W):
        if not cut[p]:
            for q in (p // W * W + (p + 1) % W, (p + W) % (H * W)):
                old, new = names[q], names[p]
                names = [new if name == old else name for name in names]
    return tuple(names)


def energies(partitions, psf, H, W, vs, lam):
    """(partitions, draws): the least ‖k ⋆ u − v‖² + λ‖∇u‖₀ over images u that are constant on each region."""
    A = torch.stack([circular(e.reshape(H, W), psf).flatten() for e in torch.eye(H * W, dtype=psf.dtype)], 1)
    names = torch.tensor(partitions)
    S = (names[:, :, None] == torch.arange(H * W)).to(psf.dtype)  # absent names give zero columns
    AS = A @ S
    residual = vs.flatten(1).T - AS @ (torch.linalg.pinv(AS) @ vs.flatten(1).T)
    grid = names.reshape(-1, H, W)
    cuts = ((grid.roll(-1, 1) != grid) | (grid.roll(-1, 2) != grid)).sum((1, 2))
    return residual.square().sum(1) + lam * cuts[:, None]


@pytest.mark.parametrize(("rows", "columns"), [(1, 8), (3, 3)])
@pytest.mark.parametrize("width", [1, 3])
def test_image_step_comes_near_the_least_energy_of_all_supports(draw, rows, columns, width):
    lam = 0.02
    psf = torch.full((1, width), 1 / width, dtype=torch.float64)
    step = torch.zeros(rows, columns, dtype=torch.float64)
    step[:, columns // 2 :] = 1
    vs = circular(step, psf) + 0.05 * draw(20, rows, columns)
    everything = sorted({regions(rows, columns, cut) for cut in product([0, 1], repeat=rows * columns)})
    least = energies(everything, psf, rows, columns, vs, lam).min(0).values
    found = torch.empty(20, dtype=torch.float64)
    for i, v in enumerate(vs):
        u = l0_image(v, psf, lam)
        cut = (u.roll(-1, 0) - u).square() + (u.roll(-1, 1) - u).square() > 1e-4
        found[i] = energies([regions(rows, columns, cut.flatten().tolist())], psf, rows, columns, vs[i : i + 1], lam)
    assert (found / least).median() < 1.1
    assert (found / least).max() < 1.35
