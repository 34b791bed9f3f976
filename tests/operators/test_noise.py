import math
import pickle

import pytest
import torch
from torch.testing import assert_close

from deepblur.operators import MILD, PRINTED, SWAPPED, NoiseRange, PoissonGaussian, UniformGamma, noise_std_of


@pytest.mark.parametrize(("gain", "read_std"), [(0.05, 0.0), (0.0, 0.1), (0.02, 0.05)])
def test_the_variance_of_many_draws_is_gain_signal_plus_read_squared(rng, gain, read_std):
    signal = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64).reshape(1, 3, 1, 1).expand(1, 3, 300, 311)
    noise = PoissonGaussian(gain, read_std)(signal, rng) - signal
    expected = gain * signal[0, :, 0, 0] + read_std**2
    assert_close(noise.var(dim=(0, 2, 3)), expected, rtol=0.02, atol=0)
    assert (noise.mean(dim=(0, 2, 3)).abs() < 5 * (expected / 300 / 311).sqrt()).all()


def test_noise_is_per_sample_and_unclipped(rng):
    signal = torch.zeros(2, 1, 40, 41)
    noisy = PoissonGaussian(torch.tensor([0.0, 0.1]), torch.tensor([0.0, 0.2]))(signal, rng)
    assert torch.equal(noisy[0], signal[0])
    assert noisy[1].min() < 0
    assert noisy.dtype == torch.float32


def test_two_levels_share_their_draw():
    signal = torch.full((1, 1, 8, 9), 0.5, dtype=torch.float64)
    low, high = (PoissonGaussian(0, std)(signal, torch.Generator().manual_seed(3)) - signal for std in (0.1, 0.3))
    assert_close(3 * low, high)


def test_a_slightly_negative_signal_counts_as_dark(rng):
    assert_close(PoissonGaussian(0.1, 0.2).variance(torch.full((1, 1, 2, 2), -1e-3)), torch.full((1, 1, 2, 2), 0.04))


@pytest.mark.parametrize("noise", [PRINTED, SWAPPED, MILD])
def test_ranges_are_filled_and_kept(noise, rng):
    drawn = noise.sample(4000, rng)
    for name in ("gain", "read_std"):
        values, (low, high) = getattr(drawn, name), getattr(noise, name)
        assert values.shape == (4000,)
        assert low <= values.min() < low + 0.05 * (high - low) + 0.02
        assert high - 0.05 * (high - low) < values.max() <= high


def test_presets_carry_the_readings_of_the_paper(rng):
    assert PRINTED.gain == (0, 0.05)
    assert_close(PRINTED.sample(20000, rng).read_std.square().mean().item(), 0.075, rtol=0.02, atol=0)
    assert (SWAPPED.gain, SWAPPED.read_std) == ((0, 0.15), (0, 0.05))
    assert (MILD.gain, MILD.read_std) == ((0, 0.05), (0, 0.15))


def test_gammas_are_uniform_in_the_box(rng):
    family = UniformGamma(0.15, 7)
    gamma = family.sample(20000, rng)
    assert gamma.shape == (20000, 7)
    assert gamma.dtype == torch.float32
    assert 0.149 < gamma.abs().max() <= 0.15
    assert_close(gamma.std(0), torch.full((7,), 0.15 / math.sqrt(3)), rtol=0.02, atol=0)
    assert torch.equal(
        family.sample(3, torch.Generator().manual_seed(1)), family.sample(3, torch.Generator().manual_seed(1))
    )


def test_a_power_makes_weak_noise_as_common_as_strong():
    drawn = NoiseRange((0.0, 0.1), (0.0, 0.2), power=4.0).sample(20_000, torch.Generator().manual_seed(0))
    assert_close(drawn.gain.median(), torch.tensor(0.1 / 16), rtol=0.05, atol=0)
    assert_close(drawn.read_std.median(), torch.tensor(0.2 / 16), rtol=0.05, atol=0)
    assert 0.195 < drawn.read_std.max() <= 0.2
    with pytest.raises(ValueError, match="power raises fractions of the ranges and must be positive; got 0"):
        NoiseRange((0, 1), (0, 1), power=0)


@pytest.mark.parametrize("value", [MILD, UniformGamma(0.1, 3), PoissonGaussian(0.1, 0.2)])
def test_plain_values_are_hashed_and_pickled(value):
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(pickle.loads(pickle.dumps(value))) == hash(value)


def test_the_noise_of_each_image_is_read_off_its_finest_details(draw):
    std = torch.tensor([[0.01, 0.03], [0.1, 0.2]], dtype=torch.float64)
    ramp = torch.linspace(0, 1, 150, dtype=torch.float64)
    images = ramp + std[..., None, None] * draw(2, 2, 140, 150)
    assert_close(noise_std_of(images), std, rtol=0.05, atol=0)
    assert_close(noise_std_of(images[1, 0]), noise_std_of(images)[1, 0])
    with pytest.raises(ValueError, match=r"at least 4x4 pixels; got 3x9"):
        noise_std_of(torch.zeros(3, 9))


def test_bad_levels_are_refused():
    with pytest.raises(ValueError, match=r"gain must be at least 0; got -0\.1"):
        PoissonGaussian(-0.1, 0)
    with pytest.raises(ValueError, match=r"read_std must be at least 0; got -0\.2"):
        PoissonGaussian(0, torch.tensor([0.1, -0.2]))
    with pytest.raises(ValueError, match=r"one per sample; got the shape \(2, 1\)"):
        PoissonGaussian(0, torch.ones(2, 1))
    with pytest.raises(ValueError, match=r"gain is a range .* got \(0\.2, 0\.1\)"):
        NoiseRange(gain=(0.2, 0.1), read_std=(0, 0))
    with pytest.raises(ValueError, match="read_uniform_in is 'std' or 'variance'; got 'log'"):
        NoiseRange((0, 1), (0, 1), "log")
    with pytest.raises(ValueError, match=r"eta_waves must be at least 0 .* got -1 and 3"):
        UniformGamma(-1, 3)
