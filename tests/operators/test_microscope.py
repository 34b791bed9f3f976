"""The virtual microscope: its PSFs on the axis, how they change over the field, and its defocus."""

import math
from dataclasses import replace

import pytest
import torch

from deepblur.operators import ZernikeBlur
from deepblur.operators.microscope import RADIAL, Microscope, MicroscopeState
from deepblur.operators.zernike import zernike

AXIS = torch.zeros(1, 2)
IDEAL = Microscope(astigmatism_waves=0, coma_waves=0, curvature_um=0, vignetting=0)


def test_on_the_axis_and_in_focus_the_psf_is_that_of_a_perfect_lens():
    perfect = ZernikeBlur(cutoff=IDEAL.operator.cutoff, psf_size=31)
    none = torch.zeros(1, 7, dtype=torch.float64)
    expected = perfect.psf(none) * (1 - perfect.outside_energy(none))
    assert torch.allclose(Microscope().psf(AXIS, MicroscopeState()), expected, atol=1e-10)


def test_defocus_is_that_of_a_high_aperture():
    rho = torch.linspace(0, 0.97, 50, dtype=torch.float64)
    gamma = IDEAL.gamma(AXIS, MicroscopeState(focus_um=1.0))[0, -len(RADIAL) :]
    drawn = (gamma[:, None] * zernike(RADIAL, rho, torch.zeros_like(rho))).sum(0)
    exact = (1.515**2 - (1.49 * rho) ** 2).sqrt() / 0.6
    assert (drawn - drawn.mean() - (exact - exact.mean())).abs().max() < 0.02


def test_the_field_has_the_symmetry_of_a_lens():
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    state = MicroscopeState(focus_um=0.2)
    first, right, below, across = Microscope().psf(corners, state)[:, 0]
    assert torch.allclose(first.flip(-1), right, atol=1e-9)
    assert torch.allclose(first.flip(-2), below, atol=1e-9)
    assert torch.allclose(first.flip((-1, -2)), across, atol=1e-9)
    diagonal = torch.tensor([[0.3, 0.6], [0.6, 0.3]])
    one, other = Microscope().psf(diagonal, state)[:, 0]
    assert torch.allclose(one.mT, other, atol=1e-9)


def test_corners_are_dimmer_by_the_vignetting():
    scope = replace(IDEAL, vignetting=0.25)
    centre, corner = scope.psf(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), MicroscopeState()).sum((1, 2, 3))
    assert corner / centre == pytest.approx(0.75, abs=1e-9)


def test_a_mismatch_of_indices_brings_spherical_aberration():
    matched = replace(IDEAL, medium_index=1.515)
    state = MicroscopeState(depth_um=5.0)
    assert matched.gamma(AXIS, state).abs().max() < 1e-12
    assert IDEAL.gamma(AXIS, state)[0, 7].abs() > 0.01  # Noll 11


def test_impossible_microscopes_and_states_are_refused():
    with pytest.raises(ValueError, match="too coarse"):
        Microscope(pixel_um=0.15)
    with pytest.raises(ValueError, match="NA = n sin"):
        Microscope(na=1.6)
    with pytest.raises(ValueError, match="depth of at least 0"):
        MicroscopeState(depth_um=-1.0)
    assert math.isfinite(float(Microscope().psf(AXIS, MicroscopeState(focus_um=2.0)).sum()))
