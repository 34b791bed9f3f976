import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import j1
from torch.testing import assert_close

from deepblur.operators import EigenPSFBlur, UniformGamma, ZernikeBlur, eigen_psfs, transfer_function


def snr_db(estimate, truth):
    error = (estimate - truth).square().sum((-2, -1)) / truth.square().sum((-2, -1))
    return -10 * error.max().log10().item()


def gammas(n, K=7, dtype=torch.float64, eta=0.15):
    return UniformGamma(eta, K).sample(n, torch.Generator().manual_seed(5)).to(dtype)


def airy(cutoff, size):
    pixels = np.arange(size) - size // 2
    r = 2 * np.pi * cutoff * np.hypot(*np.meshgrid(pixels, pixels))
    r[size // 2, size // 2] = 1
    pattern = (2 * j1(r) / r) ** 2
    pattern[size // 2, size // 2] = 1
    return torch.from_numpy(pattern / pattern.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("cutoff", "size"), [(0.2, 31), (0.13, 25), (0.25, 31)])
def test_a_perfect_lens_gives_the_airy_pattern(cutoff, size, dtype):
    psf = ZernikeBlur(cutoff=cutoff, psf_size=size).psf(torch.zeros(1, 7, dtype=dtype))
    assert snr_db(psf[0, 0].double(), airy(cutoff, size)) > (120 if dtype == torch.float32 else 140)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_default_pupil_agrees_with_one_of_four_times_its_nodes(dtype):
    gamma = gammas(32)
    fine = ZernikeBlur(pupil_size=4 * ZernikeBlur().nodes).psf(gamma)
    assert snr_db(ZernikeBlur().psf(gamma.to(dtype)).double(), fine) > 120


@pytest.mark.parametrize("operator", [
    ZernikeBlur(psf_size=91), ZernikeBlur(cutoff=0.05), ZernikeBlur(z_px=20.0, wavenumber=0.3),
    ZernikeBlur(z_px=-40.0, wavenumber=0.5, psf_size=61),
])  # fmt: skip
def test_the_number_of_nodes_follows_the_size_and_the_defocus(operator):
    fine = replace(operator, pupil_size=3 * operator.nodes)
    assert snr_db(operator.psf(gammas(8)), fine.psf(gammas(8))) > 90


@pytest.mark.parametrize("operator", [
    ZernikeBlur(), ZernikeBlur(noll=(4, 11, 7), cutoff=0.13, psf_size=21),
    ZernikeBlur(noll=(5, 8), z_px=6.0, wavenumber=0.5, pupil_size=30), ZernikeBlur(cutoff=0.4, psf_size=13),
])  # fmt: skip
def test_slopes_are_the_derivatives_of_the_psf(operator):
    gamma = gammas(3, operator.num_parameters)
    psf, slopes = operator.psf_and_slopes(gamma)
    assert_close(psf, operator.psf(gamma))
    by_autograd = torch.autograd.functional.jacobian(lambda g: operator.psf(g).sum(0), gamma)  # (1, h, w, B, K)
    assert_close(slopes, by_autograd[0].permute(2, 3, 0, 1))
    with pytest.raises(ValueError, match="gamma"):
        operator.psf_and_slopes(gamma[0])


@pytest.mark.parametrize("cutoff", [0.26, 0.4, 0.5])
def test_coarse_pixels_collect_the_light_of_their_square(cutoff):
    size, gamma = 11, gammas(2)

    def summed(parts):  # each pixel from parts × parts finer ones, whose middles a finer operator gives
        fine = ZernikeBlur(cutoff=cutoff / parts, psf_size=size * parts, pupil_size=48).psf(gamma)
        psf = fine.unflatten(-1, (size, parts)).sum(-1).unflatten(-2, (size, parts)).sum(-2)
        return psf / psf.sum((-2, -1), keepdim=True)

    psf = ZernikeBlur(cutoff=cutoff, psf_size=size).psf(gamma)
    exact = (9 * summed(15) - summed(5)) / 8  # the midpoint rule errs by the square of the step: Richardson
    assert_close(psf, exact, rtol=0, atol=1e-5 * psf.max())
    assert_close(psf.sum((-2, -1)), torch.ones(2, 1, dtype=psf.dtype))
    assert ZernikeBlur(cutoff=cutoff).coarse
    assert not ZernikeBlur(cutoff=0.25).coarse


def test_a_wide_support_of_coarse_pixels_holds_all_light():
    operator = ZernikeBlur(cutoff=0.4, psf_size=81)
    assert operator.outside_energy(gammas(3)).abs().max() < 0.02


@pytest.mark.parametrize("size", [(20, 33), (31, 24)])
def test_a_coarse_image_is_what_a_fine_simulation_leaves_in_its_squares(size):
    # Points of light in the middles of the pixels, blurred on pixels of a ninth, and summed over the coarse ones.
    cutoff, parts, side, gamma = 0.4, 9, 7, gammas(1)
    scene = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fine = ZernikeBlur(cutoff=cutoff / parts, psf_size=side * parts, pupil_size=48)
    points = torch.zeros(1, 1, *(parts * n for n in size), dtype=torch.float64)
    points[..., parts // 2 :: parts, parts // 2 :: parts] = scene
    light = fine.with_boundary("circular").forward(points, gamma)
    seen = parts**2 * torch.nn.functional.avg_pool2d(light, parts)
    y = ZernikeBlur(cutoff=cutoff, psf_size=side, boundary="circular").forward(scene, gamma)
    assert_close(y, seen, rtol=2e-3, atol=0)


def test_constants_first_used_for_inference_serve_training_later():
    operator, gamma = ZernikeBlur(cutoff=0.1234), gammas(1)
    with torch.inference_mode():
        operator.psf(gammas(1))
    operator.psf(gamma.requires_grad_())[..., 15, 15].sum().backward()
    assert gamma.grad is not None


def test_the_quadrature_agrees_with_a_pixel_grid_of_the_pupil():
    # Independent of the Gauss rule: a fine pixel grid on the pupil, whose pixelated edge limits the agreement.
    side, cutoff, gamma = 801, 0.2, torch.tensor([[0.1, -0.05, 0.12]], dtype=torch.float64)
    axis = (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    wave = 0.1 * 3**0.5 * (2 * (u**2 + v**2) - 1) - 0.05 * 6**0.5 * (u**2 - v**2)
    wave = wave + 0.12 * 8**0.5 * (3 * (u**2 + v**2) - 2) * u
    pupil = torch.polar((u**2 + v**2 <= 1).double(), 2 * torch.pi * wave)
    pixels = torch.arange(-10, 11, dtype=torch.float64)
    dft = torch.polar(torch.ones(21, side).double(), 2 * torch.pi * cutoff * pixels[:, None] * axis)
    intensity = (dft @ pupil @ dft.T).abs().square()
    psf = ZernikeBlur(noll=(4, 6, 8), psf_size=21).psf(gamma)[0, 0]
    assert snr_db(psf, intensity / intensity.sum()) > 60


def test_a_psf_is_non_negative_and_sums_to_one():
    psf = ZernikeBlur().psf(gammas(8))
    assert psf.shape == (8, 1, 31, 31)
    assert psf.min() >= 0
    assert_close(psf.sum((-2, -1)), torch.ones(8, 1, dtype=torch.float64), rtol=1e-13, atol=0)


def test_energy_outside_the_support_is_what_a_huge_support_still_catches():
    gamma = gammas(4)
    outside = ZernikeBlur().outside_energy(gamma)
    big = ZernikeBlur(psf_size=201, pupil_size=128)
    caught = big.psf(gamma)[..., 85:116, 85:116].sum((-3, -2, -1)) * (1 - big.outside_energy(gamma))
    assert_close(1 - caught, outside, rtol=0, atol=1e-9)
    assert ((outside > 0.02) & (outside < 0.1)).all()
    assert (big.outside_energy(gamma) < 0.01).all()


@pytest.mark.parametrize("noll", [(4, 5, 6, 7, 8, 9, 10), (4, 5, 6, 7, 8, 9, 10, 11), (12, 4, 17, 22, 7)])
def test_flipping_all_even_orders_leaves_the_psf_unchanged(noll):
    operator, gamma = ZernikeBlur(noll=noll), gammas(16, len(noll))
    twin = operator.twin(gamma)
    assert (twin - gamma).abs().max() > 0.1
    assert (operator.psf(twin) - operator.psf(gamma)).abs().max() < 1e-12
    assert torch.equal(operator.twin(twin), gamma)


def test_even_orders_are_defocus_astigmatism_and_spherical():
    assert ZernikeBlur(noll=(4, 5, 6, 7, 8, 9, 10, 11)).even == (True, True, True, False, False, False, False, True)


def test_defocus_breaks_the_twin_and_acts_like_the_defocus_mode():
    optics = {"na": 0.5, "wavelength_um": 0.5, "pixel_um": 0.2, "refractive_index": 1.33}
    focus, off = ZernikeBlur.from_optics(**optics), ZernikeBlur.from_optics(**optics, z_um=2.0)
    assert focus.cutoff == pytest.approx(0.2)
    gamma = gammas(4)
    with pytest.raises(ValueError, match=r"only an in-focus PSF has a twin; got z_px = 10;"):
        off.twin(gamma)
    assert (off.psf(focus.twin(gamma)) - off.psf(gamma)).abs().max() > 1e-3
    # Paraxially z √(k² − w²) ≈ −z |w|²/(2k), and Z4 = √3 (2ρ² − 1).
    waves = -2.0 * (0.5 / 0.5) ** 2 / (2 * 1.33 / 0.5) / (2 * 3**0.5)
    mode = torch.zeros(1, 7, dtype=torch.float64)
    mode[0, 0] = waves
    nothing = torch.zeros(1, 7, dtype=torch.float64)
    assert snr_db(off.psf(nothing), focus.psf(mode)) > 20
    assert snr_db(off.psf(nothing), focus.psf(nothing)) < 12


def test_opposite_defocus_and_opposite_z_give_one_psf():
    above, below = (ZernikeBlur(z_px=z, wavenumber=0.5) for z in (4.0, -4.0))
    gamma = gammas(4)
    flipped = ZernikeBlur().twin(gamma)
    assert_close(above.psf(gamma), below.psf(flipped), rtol=0, atol=1e-14)


def test_coma_points_along_its_axis():
    # Noll 8 is the cosine: its coma flares along the columns, mirror-symmetric in the rows; Noll 7 the other way.
    for noll, axis in ((8, -2), (7, -1)):
        psf = ZernikeBlur(noll=(noll,)).psf(torch.tensor([[0.15]], dtype=torch.float64))
        other = -3 - axis
        assert_close(psf.flip(axis), psf, rtol=0, atol=1e-14)
        assert (psf.flip(other) - psf).abs().max() > 1e-2


def test_an_operator_is_a_plain_value():
    operator = ZernikeBlur(noll=[4, 7])
    assert operator == ZernikeBlur(noll=(4, 7))
    assert pickle.loads(pickle.dumps(operator)) == operator
    assert hash(operator) == hash(ZernikeBlur(noll=(4, 7)))
    assert operator != operator.with_boundary("circular")


def test_impossible_optics_are_refused():
    with pytest.raises(ValueError, match=r"too coarse for NA 1\.4 at 0\.5 µm.* shrink the pixel to 0\.179 µm"):
        ZernikeBlur.from_optics(na=1.4, wavelength_um=0.5, pixel_um=0.2, refractive_index=1.518)
    with pytest.raises(ValueError, match=r"NA = n sin θ cannot exceed n = 1\.0; got 1\.4"):
        ZernikeBlur.from_optics(na=1.4, wavelength_um=0.5, pixel_um=0.05)
    with pytest.raises(ValueError, match=r"NA, wavelength and pixel are positive; got 0\.5, -1"):
        ZernikeBlur.from_optics(na=0.5, wavelength_um=-1, pixel_um=0.05)
    with pytest.raises(ValueError, match=r"lies in \(0, 0\.5\] cycles per pixel; got 0\.6; lower NA"):
        ZernikeBlur(cutoff=0.6)
    with pytest.raises(ValueError, match=r"odd sides .* got 30x30"):
        ZernikeBlur(psf_size=30)
    with pytest.raises(ValueError, match=r"distinct Noll indices from 4 on .* got \(3, 4\)"):
        ZernikeBlur(noll=(3, 4))
    with pytest.raises(ValueError, match=r"nodes across the pupil, at least 1; got 0"):
        ZernikeBlur(pupil_size=0)
    with pytest.raises(ValueError, match=r"defocus z_px = 1\.0 needs a wavenumber .* got None"):
        ZernikeBlur(z_px=1.0)


def test_pca_finds_the_space_of_the_psfs(draw):
    space, weights = torch.linalg.qr(draw(35, 3)).Q.T.reshape(3, 5, 7), draw(40, 3)
    psfs = torch.tensordot(weights, space, dims=1)
    basis, explained = eigen_psfs(psfs, 3)
    assert_close(explained[-1].item(), 1.0)
    assert (explained.diff() > 0).all()
    operator = EigenPSFBlur(basis)
    gamma = torch.tensordot(psfs, basis, dims=([1, 2], [1, 2]))
    assert_close(operator.psf(gamma).squeeze(1), psfs)


def test_a_few_eigen_psfs_hold_most_of_the_zernike_family():
    psfs = ZernikeBlur(psf_size=15).psf(gammas(200))
    _, explained = eigen_psfs(psfs, 20)
    assert explained[-1] > 0.95


def test_a_basis_that_is_none_is_refused(draw):
    with pytest.raises(ValueError, match=r"must be orthonormal; their Gram matrix is off by .* use eigen_psfs"):
        EigenPSFBlur(draw(2, 5, 5))
    with pytest.raises(ValueError, match=r"has the shape \(K, h, w\); got \(5, 5\)"):
        EigenPSFBlur(draw(5, 5))
    with pytest.raises(ValueError, match=r"odd sides .* got 4x5"):
        EigenPSFBlur(draw(2, 4, 5))
    with pytest.raises(ValueError, match=r"10 PSFs of 3x3 span 1 to 9 dimensions; got k = 12"):
        eigen_psfs(draw(10, 3, 3), 12)


def test_transfer_function_of_a_point_is_one_and_misfits_are_refused(draw):
    point = torch.zeros(3, 5)
    point[1, 2] = 1
    assert_close(transfer_function(point, (8, 9)), torch.ones(8, 5, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"odd sides .* got 4x3"):
        transfer_function(draw(4, 3), (8, 8))
    with pytest.raises(ValueError, match="PSF 9x3 is larger than the image 8x8; crop the PSF or enlarge the image"):
        transfer_function(draw(9, 3), (8, 8))


def test_an_operator_of_one_psf_has_that_psf():
    psf = ZernikeBlur(psf_size=9).psf(gammas(1))[0, 0]
    operator, gamma = EigenPSFBlur.of_one(psf)
    assert_close(operator.psf(gamma)[0, 0], psf)
    with pytest.raises(ValueError, match="zeros"):
        EigenPSFBlur.of_one(torch.zeros(3, 3))
