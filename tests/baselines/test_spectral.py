"""Spectral likelihood: scenes that follow its model give γ back; its derivatives; what it leaves open and refuses."""

import pytest
import torch
from places import REAL
from torch.autograd import gradcheck
from torch.testing import assert_close

from deepblur.baselines import METHODS, tv
from deepblur.baselines.spectral import search, spectral
from deepblur.baselines.spectral_choice import equivalents, sparsest
from deepblur.baselines.spectral_objective import Objective
from deepblur.baselines.spectrum_model import Grid, average_spectrum, basis, window_px
from deepblur.operators import UniformGamma, ZernikeBlur
from deepblur.operators.pupil import psf_px
from deepblur.platform.data.image_file import read_grey
from deepblur.platform.evaluation.metrics import psf_snr_db

GAMMA = torch.tensor([[0.08, -0.11, 0.05, 0.10, -0.06, 0.12, -0.09]], dtype=torch.float64)


def random_scene(draw, height, width):
    """A Gaussian field of spectrum |f|^-2 around 0.5."""
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)).double()
    radius[0, 0] = torch.inf
    field = torch.fft.irfft2(torch.fft.rfft2(draw(height, width)) / radius, s=(height, width))
    return 0.5 + 0.15 * field / field.std()


def observed(draw, operator, gamma, height=256, width=256, sigma=0.0):
    scene = random_scene(draw, height, width)
    y = operator.with_boundary("circular").forward(scene[None, None], gamma)[0, 0]
    return y + sigma * draw(height, width)


def best_snr_db(operator, estimate, gamma):
    """Of the PSF or the PSF turned by 180°: a Gaussian field has no edges that tell them apart."""
    psf = operator.psf(estimate.gamma[None])[0, 0]
    both = torch.stack([psf, psf.flip(0, 1)])[:, None]
    return psf_snr_db(both, operator.psf(gamma).expand(2, -1, -1, -1)).max()


def some_objective(draw, operator=ZernikeBlur(), side=64):  # noqa: B008
    y = observed(draw, operator, GAMMA[:, : operator.num_parameters], side, side, sigma=0.01)
    grid = Grid(16, y)
    return Objective(operator, 0.15, grid, average_spectrum(y, grid, passband=0.4))


@pytest.mark.parametrize(("size", "sigma", "least_db"), [((256, 256), 0.0, 15), ((192, 300), 0.003, 12)])
def test_the_gamma_of_a_scene_that_follows_the_model_is_recovered(draw, size, sigma, least_db):
    operator = ZernikeBlur()
    estimate = spectral(observed(draw, operator, GAMMA, *size, sigma=sigma))
    assert best_snr_db(operator, estimate, GAMMA) > least_db
    assert estimate.image.shape == size
    assert estimate.gamma.shape == estimate.gamma_std.shape == (7,)
    assert_close(estimate.psf.sum(), torch.ones_like(estimate.psf[0, 0]))


@pytest.mark.parametrize(
    ("operator", "gamma"),
    [
        (ZernikeBlur(noll=(4, 5, 6)), [0.09, -0.05, 0.12]),
        (ZernikeBlur(noll=(5, 7, 8), psf_size=21, cutoff=0.15), [0.10, -0.08, 0.05]),
        (ZernikeBlur(noll=(4, 5, 7), z_px=12.0, wavenumber=0.5), [0.05, -0.10, 0.08]),
        (ZernikeBlur(noll=(4, 5, 6, 7), cutoff=0.25), [0.05, -0.10, 0.08, 0.04]),
    ],
    ids=["even modes", "smaller", "out of focus", "at Nyquist"],
)
def test_other_families(draw, operator, gamma):
    truth = torch.tensor([gamma], dtype=torch.float64)
    estimate = spectral(observed(draw, operator, truth), operator, starts=24)
    assert best_snr_db(operator, estimate, truth) > 15
    nearest = (equivalents(operator, estimate.gamma[None])[:, 0] - truth).abs().amax(1).min()
    assert nearest < 0.03


def test_the_twin_gives_the_same_image_and_so_the_same_estimate(draw):
    operator = ZernikeBlur()
    rng = torch.Generator().manual_seed(3)
    scene = torch.rand(1, 1, 158, 158, generator=rng, dtype=torch.float64)
    first, second = (spectral(operator.forward(scene, g)[0, 0], starts=8) for g in (GAMMA, operator.twin(GAMMA)))
    assert_close(first.psf, second.psf, rtol=0, atol=1e-6)


@pytest.mark.parametrize("z_px", [0.0, 4.0])
def test_equivalents_have_equal_spectra(z_px):
    operator = ZernikeBlur(z_px=z_px, wavenumber=0.5)
    psfs = operator.psf(equivalents(operator, GAMMA)[:, 0])
    assert len(psfs) == (2 if z_px else 4)
    gains = Grid(64, psfs).gain(psfs[:, 0])
    assert_close(gains, gains[:1].expand_as(gains))


def test_edges_tell_which_way_the_psf_is_turned(draw):
    operator = ZernikeBlur()
    scene = torch.full((1, 1, 158, 158), 0.2, dtype=torch.float64)
    scene[..., 40:90, 50:120] = 0.8
    scene[..., 100:130, 20:60] = 0.5
    y = operator.forward(scene, GAMMA)[0, 0] + 0.002 * draw(128, 128)
    turned = equivalents(operator, GAMMA)[1, 0]
    for start in (GAMMA[0], turned):
        others = torch.stack([start, 0.5 * GAMMA[0], start])
        found = sparsest(y, operator, others, torch.zeros(3, dtype=torch.float64), 0.002)
        assert found.end == 0
        assert_close(found.gamma, GAMMA[0])
        assert_close(found.psf, operator.psf(GAMMA)[0, 0])
        assert found.image.shape == (128, 128)


def test_where_nothing_tells_psfs_apart_their_mean_is_taken(draw):
    operator, y = ZernikeBlur(), 0.5 + 0.1 * draw(96, 96)
    others = torch.cat([GAMMA, 0.3 * GAMMA])
    even = sparsest(y, operator, others, torch.zeros(2, dtype=torch.float64), 0.1)
    psfs = torch.cat([operator.psf(equivalents(operator, others[i : i + 1])[:2, 0])[:, 0] for i in range(2)])
    weights = torch.linalg.lstsq(psfs.flatten(1).T, even.psf.flatten()[:, None]).solution[:, 0]
    assert_close(torch.tensordot(weights, psfs, 1), even.psf)
    assert weights.min() > 0
    assert_close(weights.sum(), torch.ones_like(weights[0]))
    assert_close(even.image, tv(y, even.psf, noise_std=0.1))
    assert weights[:2].min() > 0.01  # nothing says which way the PSF is turned
    other = sparsest(y, operator, others, torch.tensor([1e3, 0.0], dtype=torch.float64), 0.1)
    assert other.end == 1
    assert (other.psf - even.psf).abs().max() > 1e-3


def test_objective_and_model_have_right_gradients(draw):
    objective = some_objective(draw, ZernikeBlur(noll=(4, 6, 7), psf_size=7))
    free = objective.starts(2, torch.Generator().manual_seed(0))
    free = (free + 0.1 * draw(*free.shape)).requires_grad_()
    assert gradcheck(objective, (free,))
    (by_autograd,) = torch.autograd.grad(objective(free).sum(), free)
    value, gradient, matrix = objective.gauss_newton(free.detach())
    assert_close(value, objective(free.detach()))
    assert_close(gradient, by_autograd, rtol=1e-8, atol=1e-8)
    assert_close(matrix, matrix.mT)
    assert torch.linalg.eigvalsh(matrix).min() > 0


def test_the_search_never_climbs(draw):
    objective = some_objective(draw)
    begin = objective(objective.starts(8, torch.Generator().manual_seed(0)))
    free, value = search(objective, 8, 12, 0)
    assert len(free) == 2
    assert value.min() < begin.min()
    assert_close(objective(free), value)


def test_gain_is_the_squared_transfer_function(draw):
    psf = draw(1, 5, 7)
    grid = Grid(16, psf)
    padded = torch.nn.functional.pad(psf, (0, 9, 0, 11))
    assert_close(grid.gain(psf)[0], torch.fft.rfft2(padded)[0].abs().square()[grid.keep])


@pytest.mark.parametrize("cutoff", [0.1, 0.13, 0.16, 0.2, 0.25])
def test_a_cell_is_the_same_share_of_the_passband_whatever_the_cutoff(cutoff):
    """So the PSFs of all cutoffs have one modulation on them, as far as an even number of pixels allows."""
    sizes = [psf_px(each) for each in (cutoff, 0.2)]
    gains = [
        Grid(window_px(each), GAMMA).gain(ZernikeBlur(cutoff=each, psf_size=size).psf(GAMMA)[:, 0], cells)
        for each, size in zip((cutoff, 0.2), sizes, strict=True)
        for cells in [torch.arange(4, 24)]  # of the first row
    ]
    assert window_px(0.2) == 64
    assert_close(gains[0].sqrt(), gains[1].sqrt(), rtol=0, atol=0.012)


@pytest.mark.parametrize("noise_std", [None, 0.1])
def test_white_noise_has_a_flat_spectrum_of_its_variance(draw, noise_std):
    y = 0.5 + 0.1 * draw(256, 200)
    grid = Grid(64, y)
    spectrum = average_spectrum(y, grid, passband=0.4, noise_std=noise_std)
    assert_close(spectrum.noise_var.item(), 0.01, rtol=0.06, atol=0)
    ratio = spectrum.power / (0.01 * spectrum.unit_noise)
    assert 0.9 < ratio.median() < 1.1


@pytest.mark.parametrize("noise_std", [None, 0.0, 0.5])
def test_an_image_of_mere_noise_still_gets_an_estimate(draw, noise_std):
    y = (0.5 + 0.01 * draw(40, 33)).float()
    estimate = spectral(y, starts=4, steps=8, noise_std=noise_std)  # refuses what is not finite
    assert (estimate.gamma_std > 0.01).any()


def test_a_power_law_is_within_the_prior(draw):
    grid = Grid(64, draw(1))
    mean, factor = grid.scene_prior()
    coefficients = torch.linalg.lstsq(basis(grid).T, (-2 * grid.radius[grid.keep].log())[:, None]).solution
    assert_close((basis(grid).T @ coefficients)[:, 0], -2 * grid.radius[grid.keep].log())
    z = torch.linalg.lstsq(factor.T, (-2 * grid.radius[grid.keep].log() - mean)[:, None]).solution[:, 0]
    assert z.abs().max() < 5


def test_a_larger_image_leaves_less_spread(draw):
    operator = ZernikeBlur(noll=(4, 5, 7))
    gamma = GAMMA[:, :3]
    small, large = (spectral(observed(draw, operator, gamma, n, n, 0.01), operator, starts=16) for n in (96, 384))
    assert (large.gamma_std < small.gamma_std).all()
    assert (large.gamma_std > 0).all()


def test_a_seed_fixes_the_estimate_and_a_time_limit_ends_it(draw):
    y = observed(draw, ZernikeBlur(), GAMMA, 128, 128).float()
    first, again = (spectral(y, seed=5, starts=8, steps=8) for _ in range(2))
    assert_close(first.gamma, again.gamma, rtol=0, atol=0)
    assert first.gamma.dtype == torch.float32
    assert METHODS["spectral"](y, psf_size=31, seed=5, seconds=1e-9).psf.shape == (31, 31)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta_waves": 0.0}, "eta_waves .* got 0.0"),
        ({"starts": 0}, "at least one start .* starts=0"),
        ({"steps": 0}, "at least one start .* steps=0"),
        ({"noise_std": -0.1}, "noise_std .* got -0.1"),
        ({"seconds": 0.0}, "seconds .* got 0.0"),
        ({"psf_size": 30}, "odd sides"),
        ({"psf_size": 99}, "at least as large as the PSF"),
        ({"image": torch.linspace(0, 1, 81).reshape(9, 9), "psf_size": 7}, "at least 16x16"),
        ({"image": torch.full((64, 64), 0.5)}, "constant"),
        ({"image": torch.full((64, 64), float("nan"))}, "NaN"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(draw, change, message):
    with pytest.raises(ValueError, match=message):
        spectral(**{"image": draw(64, 64) / 10 + 0.5, **change})


@pytest.mark.skipif(not (REAL / "bsds" / "val").is_dir(), reason="needs the photographs in DEEPBLUR_DATA")
def test_photographs_give_their_psf_away():
    operator, rng = ZernikeBlur(), torch.Generator().manual_seed(0)
    scores = []
    for path in sorted((REAL / "bsds" / "val").glob("*.jpg"))[:3]:
        gamma = UniformGamma(0.15, 7).sample(1, rng)
        y = operator.forward(torch.from_numpy(read_grey(path))[None, None, :286, :286], gamma)[0, 0]
        scores.append(psf_snr_db(spectral(y).psf[None, None], operator.psf(gamma))[0])
    assert torch.stack(scores).mean() > 14
