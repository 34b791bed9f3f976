"""The operator family of a calibrated microscope, and the ways to identify it from one image."""

import pytest
import torch
from torch import nn

from deepblur.operators import NoiseRange, ZernikeBlur
from deepblur.operators.convolution import Boundary
from deepblur.platform.arms.methods.method import Method
from deepblur.platform.data.observations import Degradation, mean_psf
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.platform.optics.family import FieldBlur, OpticsFile, VirtualScope, fitted, local_coefficients, mosaic
from deepblur.platform.optics.field_identification import SOURCES, identify_field, nearest
from deepblur.platform.optics.field_maps import pixel_places
from deepblur.platform.optics.optics_file import save_optics
from deepblur.platform.optics.simulate import Slide
from deepblur.platform.stages.identity import canonical

SCOPE = VirtualScope(slide=Slide(field_px=(256, 256), beads=25, planes=3, spacing_px=38), stacks=3, unseen_stacks=2,
                     space_maps=3)  # fmt: skip
SIZE = (60, 70)


@pytest.fixture(scope="module", params=["valid", "circular", "replicate"])
def family(request):
    return FieldBlur(SCOPE, boundary=request.param)


def drawn(family, rng, n=2):
    return family.at(family.draw(n, rng), 1.0).double()


def test_forward_and_adjoint_agree_on_the_inner_product(family, rng, draw):
    x, y, gamma = draw(2, 1, *SIZE), draw(2, 1, *family.output_size(SIZE)), drawn(family, rng)
    assert float((family.forward(x, gamma) * y).sum()) == pytest.approx(
        float((x * family.adjoint(y, gamma)).sum()), rel=1e-10
    )


def test_it_is_the_product_convolution_of_its_optics(family, rng, draw):
    x, gamma = draw(2, 1, *SIZE), drawn(family, rng)
    same = family.optics.operator(SIZE, boundary=family.boundary)
    assert torch.allclose(family.forward(x, gamma), same.forward(x, gamma), atol=1e-10)
    y = family.forward(x, gamma)
    assert torch.allclose(
        family.regularized_inverse(y, x, gamma, 0.1), same.regularized_inverse(y, x, gamma, 0.1), atol=1e-3
    )


def test_gamma_has_a_gradient_through_the_operator_and_its_inverse(rng, draw):
    family = FieldBlur(SCOPE, cg_iterations=60, cg_tolerance=1e-12)
    gamma = drawn(family, rng, 1).requires_grad_()
    y = family.forward(draw(1, 1, 40, 40), gamma)
    family.regularized_inverse(y, torch.zeros(1, 1, 40, 40).double(), gamma, 0.1).square().sum().backward()
    assert gamma.grad is not None
    assert gamma.grad.isfinite().all()
    assert gamma.grad.abs().max() > 0


def test_psfs_lie_side_by_side(rng):
    family = FieldBlur(SCOPE)
    gamma = drawn(family, rng)
    at = pixel_places(5)
    local = family.optics.local_psfs(gamma, torch.stack([at[[1, 3]], at[[4, 0]]], dim=1))
    psf = family.psf(gamma)
    assert psf.shape == (2, 1, 155, 155)
    assert torch.allclose(psf[:, 0, 31:62, 124:155], local[:, 0])
    assert torch.allclose(psf[:, 0, 93:124, 0:31], local[:, 1])
    assert torch.equal(mosaic(local.expand(2, 2, 31, 31).repeat(1, 2, 1, 1))[:, 0, :31, :31], local[:, 0])


def test_draws_scatter_around_their_origin_and_are_repeatable(rng):
    family = FieldBlur(SCOPE)
    draws = family.draw(400, torch.Generator().manual_seed(3))
    assert torch.equal(draws, family.draw(400, torch.Generator().manual_seed(3)))
    assert (draws.mean(0).abs() < 0.3 * family.spread).all()
    assert torch.equal(family.at(draws, 0.0)[0], family.origin)


def test_tests_draw_states_that_no_training_has_seen(rng):
    family = FieldBlur(SCOPE)
    gamma = family.at(family.held_out().draw(20, rng), 1.0)
    assert torch.cdist(gamma, SCOPE.unseen()).amin(1).max() < 1e-5
    assert torch.cdist(gamma, family.optics.gammas).amin(1).min() > 1e-4
    mean = mean_psf(family, 1.0, 256).expand(20, 1, 155, 155)
    assert float(psf_snr_db(mean, family.psf(gamma)).mean()) > 0  # the families are related


def test_a_local_blur_is_that_of_one_place(rng):
    local = FieldBlur(SCOPE, varying=False)
    assert local.num_parameters == 4
    assert local.psf(drawn(local, rng)).shape == (2, 1, 31, 31)
    optics = SCOPE.optics()
    places = torch.tensor([[0.2, -0.4]]).double()
    coefficients = local_coefficients(optics, optics.gammas[:1], places)
    assert torch.allclose(local.psf(coefficients)[0, 0], optics.local_psfs(optics.gammas[:1], places)[0, 0], atol=1e-6)


def test_gamma_is_fitted_from_its_local_coefficients():
    optics = SCOPE.optics()
    at = pixel_places(5)
    places = torch.cartesian_prod(at, at)
    coefficients = local_coefficients(optics, optics.gammas[4:5].expand(25, -1), places)
    gamma, std = fitted(optics, coefficients, places, torch.rand(25) + 0.1)
    assert torch.allclose(gamma, optics.gammas[4], atol=1e-5)
    assert std.max() < 1e-5
    noisy = coefficients + 0.01 * torch.randn(25, 4, generator=torch.Generator().manual_seed(0))
    assert 0.001 < float(fitted(optics, noisy, places)[1].mean()) < 0.01
    with pytest.raises(ValueError, match="2 places cannot tell 3 spatial maps"):
        fitted(optics, coefficients[:2], places[:2])


class Told(nn.Module):
    """An identification network that says what it was told, patch by patch."""

    def __init__(self, answers):
        super().__init__()
        self.answers = answers

    def forward(self, y):
        return self.answers[: len(y)]


@pytest.mark.parametrize("source", SOURCES)
def test_what_networks_say_rightly_becomes_the_right_blur(source, rng):
    boundary: Boundary = "replicate"
    family = FieldBlur(SCOPE, boundary=boundary)
    optics = family.optics
    gamma = optics.normalised(optics.gammas[2:3])
    at = pixel_places(5)
    places = torch.cartesian_prod(at, at)
    patches = local_coefficients(optics, gamma.expand(25, -1), places)
    y = torch.rand(100, 120, generator=rng)
    truth = family.psf(gamma)
    if source == "calibrated":
        assert torch.allclose(nearest(family, truth[0, 0]), gamma, atol=1e-4)
        return
    found = identify_field(source, {"identify": Told(gamma if source == "average" else patches)}, y, family, 48)
    snr = float(psf_snr_db(found.psf[None, None], truth))
    assert snr > {"fitted": 60, "patches": 25, "average": 5}[source]
    x = torch.rand(1, 1, 100, 120, generator=rng)
    error = (found.operator.forward(x, found.gamma) - family.forward(x, gamma)).norm() / x.norm()
    assert error < {"fitted": 1e-5, "patches": 0.05, "average": 0.2}[source]


def test_optics_in_a_file_are_known_by_their_content(tmp_path, rng):
    save_optics(SCOPE.optics(), tmp_path / "scope.safetensors")
    source = OpticsFile.of(tmp_path / "scope.safetensors")
    family = FieldBlur(source)
    gamma = drawn(family, rng)
    assert torch.allclose(family.psf(gamma), FieldBlur(SCOPE).psf(gamma), atol=1e-6)
    assert canonical(family, {})["source"]["digest"] == source.digest
    hash(family)
    with pytest.raises(ValueError, match="has changed"):
        OpticsFile(source.path, "0" * 32).optics()


def test_only_blurs_of_a_field_are_found_by_patches():
    degradation = Degradation(operator=ZernikeBlur(), eta_waves=0.1, noise=NoiseRange((0, 0), (0, 0)), crop_px=64)
    with pytest.raises(ValueError, match=r"needs a trained \{'identify'\}"):
        Method(degradation=degradation, psf="fitted", image="none")
