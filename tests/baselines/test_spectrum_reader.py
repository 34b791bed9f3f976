"""The reader of spectra: its shapes, its share in the objective and its derivatives, its training that resumes."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepblur.baselines.spectral import spectral
from deepblur.baselines.spectral_objective import log_gain
from deepblur.baselines.spectrum_model import Grid, average_spectrum, window_px
from deepblur.baselines.spectrum_reader import InformedObjective, SpectrumReader
from deepblur.operators import UniformGamma, ZernikeBlur
from deepblur.operators.pupil import psf_px
from deepblur.platform.training import spectrum_reader
from deepblur.platform.training.spectrum_reader import set_coordinates

FAMILY = ZernikeBlur(noll=(4, 5, 7), psf_size=15)
SMALL = {"coordinates": 5, "widths": (4, 6), "hidden": 8}


@pytest.fixture
def reader(rng):
    torch.manual_seed(0)
    reader = SpectrumReader(**SMALL).eval()
    set_coordinates(reader, UniformGamma(0.2, 8).sample(400, rng))
    return reader


@pytest.fixture
def y(rng):
    x = torch.rand(1, 1, 110, 120, generator=rng).cumsum(-1)
    return FAMILY.forward(x / x.max(), UniformGamma(0.1, 3).sample(1, rng))[0, 0]


def objective_of(reader, y):
    grid = Grid(64, y)
    return InformedObjective(FAMILY, 0.15, grid, average_spectrum(y, grid, passband=0.4), reader)


def test_coordinates_are_centred_and_of_unit_spread(reader, rng):
    grid, family = Grid(64, torch.zeros(1)), ZernikeBlur(noll=reader.noll)
    psf = family.psf(UniformGamma(0.2, 8).sample(400, rng))[:, 0]
    found = reader.coordinates(reader.modulation(log_gain(grid, psf, reader.cells(grid))))
    assert found.shape == (400, 5)
    assert found.mean(0).abs().max() < 0.3
    assert_close(found.std(0), torch.ones(5), rtol=0.3, atol=0)


def test_the_precision_is_a_lower_factor_with_a_positive_diagonal(reader):
    mean, factor = reader(torch.randn(3, 3, 53, 27))
    assert mean.shape == (3, 5)
    assert torch.equal(factor, factor.tril())
    assert (factor.diagonal(dim1=1, dim2=2) > 0).all()


@torch.no_grad()
def test_the_informed_objective_is_the_plain_one_and_the_gaussian(reader, y, rng):
    informed = objective_of(reader, y)
    plain = super(InformedObjective, informed)
    free = informed.starts(6, rng)
    psf = informed.family.psf(informed.gamma(free))[:, 0]
    found = reader.coordinates(reader.modulation(log_gain(informed.grid, psf, reader.cells(informed.grid))))
    told = 0.5 * ((found - informed.expected) @ informed.factor).square().sum(1)
    deviation = informed.log_power - informed.log_model(free)
    assert_close(informed(free), plain._value(free, deviation) + told)
    assert_close(informed.gauss_newton(free)[0], informed(free))


def test_gradient_and_matrix_are_those_of_automatic_differentiation(reader, y, rng):
    with torch.no_grad():
        informed = objective_of(reader, y)
        free = informed.starts(3, rng)
        _, gradient, matrix = informed.gauss_newton(free)
        plain = objective_of(reader, y)
        plain._inform = lambda log_gains, *parts: plain._informed(log_gains)
        without = plain.gauss_newton(free)
    a = free[:, :3].clone().requires_grad_()

    def residual(a):
        return informed._residual(informed._log_gain(a))[0]

    jacobian = torch.stack([torch.autograd.grad(residual(a)[:, d].sum(), a)[0] for d in range(5)], 1)
    added = (jacobian.mT @ residual(a).detach()[..., None])[..., 0]
    assert_close(gradient[:, :3] - without[1][:, :3], added, rtol=1e-3, atol=1e-2)
    assert_close(matrix[:, :3, :3] - without[2][:, :3, :3], jacobian.mT @ jacobian, rtol=1e-3, atol=1e-1)
    assert torch.equal(matrix[:, 3:], without[2][:, 3:])


@torch.no_grad()
@pytest.mark.parametrize("cutoff", [0.1, 0.25])
def test_cells_of_the_reader_beyond_those_of_the_data_count(reader, rng, cutoff):
    family = ZernikeBlur(noll=(4, 5, 7), cutoff=cutoff, psf_size=psf_px(cutoff))
    x = torch.rand(1, 1, 260, 260, generator=rng).cumsum(-1)
    y = family.forward(x / x.max(), UniformGamma(0.1, 3).sample(1, rng))[0, 0]
    grid = Grid(window_px(cutoff), y)
    informed = InformedObjective(family, 0.15, grid, average_spectrum(y, grid, passband=2 * cutoff), reader)
    assert len(informed.cells) > len(grid.cells) == len(informed.log_power)
    free = informed.starts(3, rng)
    known = reader.modulation(log_gain(grid, informed.family.psf(informed.gamma(free))[:, 0], reader.cells(grid)))
    assert_close(informed._residual(informed._log_gain(free[:, :3]))[1], known)
    value, gradient, _ = informed.gauss_newton(free)
    assert_close(value, informed(free))
    step = torch.zeros_like(free)
    step[:, 1] = 1e-2
    assert_close((informed(free + step) - informed(free - step)) / 2e-2, gradient[:, 1], rtol=2e-2, atol=0.5)


def test_only_known_blurs_are_asked_about(reader, y):
    assert reader.knows(FAMILY, 0.15, 64)
    coarse = ZernikeBlur(noll=(4, 5, 7), psf_size=15, cutoff=0.15)
    others = [(ZernikeBlur(noll=(4, 12)), 0.15, 64), (ZernikeBlur(cutoff=0.15), 0.15, 64), (FAMILY, 0.3, 64),
              (FAMILY, 0.15, 32), (ZernikeBlur(z_px=1.0, wavenumber=0.5), 0.15, 64)]  # fmt: skip
    assert not any(reader.knows(*other) for other in others)
    wide = SpectrumReader(**SMALL, cutoffs=(0.1, 0.2))
    assert wide.knows(coarse, 0.15, 86)
    assert not any(wide.knows(ZernikeBlur(cutoff=cutoff), 0.15, window_px(cutoff)) for cutoff in (0.09, 0.21))
    informed, plain = (spectral(y, coarse, starts=4, steps=4, reader=asked) for asked in (reader, None))
    assert torch.equal(informed.gamma, plain.gamma)
    assert not torch.equal(*(spectral(y, FAMILY, starts=4, steps=4, reader=asked).gamma for asked in (reader, None)))


def test_a_killed_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(spectrum_reader, "NETWORK", SMALL)
    monkeypatch.setattr(spectrum_reader, "BATCH", 8)
    monkeypatch.setattr(spectrum_reader, "CHUNK", 16)

    def run(work, epochs=2, stop=False):
        keep = spectrum_reader.keep

        def kept(value, file):
            keep(value, file)
            if stop and file.name.startswith("reader_"):
                raise KeyboardInterrupt

        monkeypatch.setattr(spectrum_reader, "keep", kept)
        monkeypatch.setattr("sys.argv", ["", "--draws", "24", "--epochs", str(epochs), "--work", str(tmp_path / work),
                                         "-o", str(tmp_path / f"{work}.safetensors")])  # fmt: skip
        try:
            spectrum_reader.main()
        finally:
            monkeypatch.setattr(spectrum_reader, "keep", keep)

    run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("struck", stop=True)
    assert not (tmp_path / "struck.safetensors").exists()
    run("struck")
    assert (tmp_path / "struck.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    drawn = torch.load(
        max((tmp_path / "whole").glob("draws_*_0.pt"), key=lambda file: file.stat().st_size), weights_only=True
    )
    assert drawn[0].shape == (16, 3, 53, 27)
    assert np.isfinite(drawn[0].float().numpy()).all()
