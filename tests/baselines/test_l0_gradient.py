"""The ℓ0-gradient method: each step by its own law, the whole on a blur it was made for."""

from functools import partial
from itertools import product

import pytest
import skimage.data
import torch
from torch.nn.functional import conv2d, pad
from torch.testing import assert_close

from deepblur.baselines.l0_gradient import l0_gradient, l0_image, pyramid, tv_final
from deepblur.baselines.l0_kernel import basic_kernel, centred, iterative_kernel, without_small_parts
from deepblur.baselines.noise import denoised
from deepblur.operators import noise_std_of, transfer_function
from deepblur.platform.evaluation.metrics import psnr_db, registered_psf_snr_db


def circular(image, psf):
    return torch.fft.irfft2(torch.fft.rfft2(image) * transfer_function(psf, image.shape), s=image.shape)


def photograph(rows=270, columns=270):
    return torch.from_numpy(skimage.data.camera()[100 : 100 + rows, 150 : 150 + columns] / 255)


def snr_db(psf, truth):
    return registered_psf_snr_db(psf[None, None], truth[None, None]).item()


@pytest.fixture
def motion():
    """15×15: a bent path, drawn with a pen of 0.65 pixels."""
    t = torch.linspace(0, 1, 100, dtype=torch.float64)
    path = torch.stack([3 + 8 * t, 7 + 4 * torch.sin(4 * t)])
    rows, columns = torch.exp(-((torch.arange(15)[:, None] - path[:, None]) ** 2) / (2 * 0.65**2))
    psf = rows @ columns.T
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


@pytest.mark.parametrize("size", [(128, 96), (250, 201)])
def test_kernel_steps_find_the_kernel_of_an_exact_blur(motion, size):
    u = photograph(*size)
    v = circular(u, motion)
    truth = centred(motion)
    # Gradients do not see the kernel's mean: the basic step loses 1/HW in every pixel before it clips.
    assert snr_db(basic_kernel(u, v, 15, gamma=1e-10, threshold=0), truth) > 40
    assert snr_db(basic_kernel(u, v, 15, gamma=1e-10, threshold=0.05), truth) > 20
    assert snr_db(iterative_kernel(u, v, 15, gamma=1.0), truth) > 17


def test_kernel_steps_return_a_distribution_with_its_barycentre_in_the_middle(draw):
    place = torch.arange(9, dtype=torch.float64) - 4
    for kernel in (iterative_kernel, partial(basic_kernel, threshold=0.0)):
        psf = kernel(draw(40, 33), draw(40, 33), 9, gamma=1.0)
        assert (psf >= 0).all()
        assert_close(psf.sum().item(), 1.0)
        assert max(abs((psf.sum(axis) * place).sum()) for axis in (0, 1)) < 1


def test_an_empty_kernel_becomes_a_dirac(draw):
    dirac = torch.zeros(5, 5, dtype=torch.float64)
    dirac[2, 2] = 1
    assert torch.equal(iterative_kernel(torch.zeros(16, 16, dtype=torch.float64), draw(16, 16), 5, gamma=1.0), dirac)
    assert torch.equal(centred(torch.zeros_like(dirac)), dirac)


def test_small_separate_parts_go_and_diagonal_neighbours_stay():
    kernel = torch.zeros(7, 7)
    kernel[1, 1] = kernel[2, 2] = 0.46  # one part, by the corner
    kernel[5, 5] = 0.08
    assert_close(without_small_parts(kernel), kernel.where(kernel > 0.1, 0), rtol=0, atol=0)


def test_the_final_step_leaves_a_sharp_image_and_undoes_a_blur(motion):
    scene = photograph(134, 110)
    sharp = scene[7:-7, 7:-7]
    dirac = torch.zeros(3, 3, dtype=torch.float64)
    dirac[1, 1] = 1
    assert_close(tv_final(sharp, dirac, 1e7), sharp, rtol=0, atol=1e-3)
    blurry = conv2d(scene[None, None], motion.flip(0, 1)[None, None])[0, 0]
    blurry_db, restored_db = (
        psnr_db(x[None, None], sharp[None, None]).item() for x in (blurry, tv_final(blurry, motion, 400))
    )
    assert restored_db > blurry_db + 4


@pytest.mark.parametrize("std", [0.01, 0.03, 0.1])
def test_the_noise_is_measured_and_removed(motion, draw, std):
    clean = circular(photograph(128, 96), motion)
    noisy = clean + std * draw(*clean.shape)
    assert noise_std_of(noisy) == pytest.approx(std, rel=0.1)
    assert (denoised(noisy, std) - clean).square().mean() < 0.6 * std**2


@pytest.fixture
def blurry(motion, draw):
    data = conv2d(photograph()[None, None], motion.flip(0, 1)[None, None])[0, 0]
    return data + 0.005 * draw(*data.shape)


def test_a_compact_motion_blur_is_found(blurry, motion):
    truth = pad(motion, (8,) * 4)
    assert snr_db(l0_gradient(blurry).psf, truth) > 7.5
    assert snr_db(l0_gradient(blurry, noise_aware=True).psf, truth) > 8
    assert snr_db(l0_gradient(blurry, kernel_step="basic", threshold=0.05).psf, truth) > 7


def test_the_noise_aware_settings_pay_on_a_noisy_image(motion, draw):
    scene = photograph()
    noisy = conv2d(scene[None, None], motion.flip(0, 1)[None, None])[0, 0] + 0.1 * draw(256, 256)
    plain, aware = (
        psnr_db(l0_gradient(noisy, noise_aware=aware).image[None, None], scene[None, None, 7:-7, 7:-7], 15).item()
        for aware in (False, True)
    )
    assert aware > plain + 1


def test_results_keep_size_dtype_and_bits(blurry):
    image = blurry[:97, :120]
    single, double = l0_gradient(image.float(), 15), l0_gradient(image, 15)
    assert (single.image.shape, single.psf.shape) == ((97, 120), (15, 15))
    assert (single.image.dtype, single.psf.dtype) == (torch.float32,) * 2
    assert (double.image.dtype, double.psf.dtype) == (torch.float64,) * 2
    assert snr_db(single.psf.double(), double.psf) > 30
    again = l0_gradient(image.float().numpy(), 15, seed=1)
    assert torch.equal(single.image, again.image)
    assert torch.equal(single.psf, again.psf)


def test_the_unit_of_intensity_does_not_matter(blurry):
    image = blurry[:96, :96]
    first, second = (
        l0_gradient(x, 15, noise_aware=True, noise_std=s) for x, s in ((image, 0.005), (image / 4, 0.00125))
    )
    assert_close(first.psf, second.psf)
    assert_close(first.image, 4 * second.image)


def test_the_smallest_image_is_as_large_as_the_kernel(draw):
    for size in (1, 3, 13, 31):
        estimate = l0_gradient(0.5 + 0.1 * draw(max(size, 2), max(size, 2)), size)
        assert estimate.psf.shape == (size, size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"psf_size": 30}, "psf_size is odd"),
        ({"gamma": 0.0}, "gamma of the ℓ0-gradient method must be positive; got 0.0"),
        ({"iterations": 0}, "iterations .* positive; got 0"),
        ({"decay": 1.5}, r"decay .* in \(0, 1\]; got 1.5"),
        ({"kernel_step": "fast"}, "iterative, basic; got 'fast'"),
        ({"threshold": 1.0}, r"threshold .* in \[0, 1\); got 1.0"),
        ({"noise_std": -1.0}, "noise_std .* at least 0; got -1.0"),
    ],
)
def test_bad_settings_are_refused(draw, settings, message):
    with pytest.raises(ValueError, match=message):
        l0_gradient(draw(40, 40), **settings)


def test_bad_images_are_refused(draw):
    image = draw(40, 40)
    image[3, 4] = torch.nan
    with pytest.raises(ValueError, match="1 values that are NaN"):
        l0_gradient(image)
    with pytest.raises(ValueError, match="constant"):
        l0_gradient(torch.full((40, 40), 0.5))
    with pytest.raises(ValueError, match="at least 4x4 pixels"):
        l0_gradient(draw(3, 3), 3, noise_aware=True)
