"""The laws that every blur operator obeys. Operators are found by themselves: a new one is tested at once."""

import importlib
import pickle
import pkgutil
from typing import get_args

import pytest
import torch
from torch.testing import assert_close

import deepblur.operators
from deepblur.operators import Blur, Boundary, EigenPSFBlur, ProductConvolutionBlur, ZernikeBlur

SIZE = (19, 24)


def families() -> list[type[Blur]]:
    for module in pkgutil.iter_modules(deepblur.operators.__path__, "deepblur.operators."):
        importlib.import_module(module.name)
    # others build on these and have tests of their own
    return [found for found in Blur.__subclasses__() if found.__module__.startswith("deepblur.operators.")]


@pytest.fixture(params=families(), ids=lambda family: family.__name__)
def family(request):
    return request.param


@pytest.fixture(params=get_args(Boundary))
def operator(request, family):
    return family.example(request.param)


def test_the_three_public_families_are_found():
    assert {EigenPSFBlur, ProductConvolutionBlur, ZernikeBlur} <= set(families())


def test_forward_and_adjoint_agree_on_the_inner_product(operator, draw):
    x, y = draw(2, 3, *SIZE), draw(2, 3, *operator.output_size(SIZE))
    gamma = draw(2, operator.num_parameters)
    left = (operator.forward(x, gamma) * y).sum()
    right = (x * operator.adjoint(y, gamma)).sum()
    assert_close(left, right, rtol=1e-12, atol=0)


def test_sizes_are_inverse_and_true(operator, draw):
    x = draw(1, 1, *SIZE)
    y = operator.forward(x, draw(1, operator.num_parameters))
    assert y.shape[-2:] == operator.output_size(SIZE)
    assert operator.input_size(operator.output_size(SIZE)) == SIZE
    shrink = [s - 1 if operator.boundary == "valid" else 0 for s in operator.psf_shape]
    assert operator.output_size(SIZE) == (SIZE[0] - shrink[0], SIZE[1] - shrink[1])


def dense(operator, gamma):
    """The matrix of A(γ) for one γ."""
    basis = torch.eye(SIZE[0] * SIZE[1], dtype=torch.float64).reshape(-1, 1, *SIZE)
    return operator.forward(basis, gamma).flatten(1).T


def test_regularized_inverse_is_the_dense_solution(operator, draw):
    gamma, lam = draw(2, operator.num_parameters), torch.tensor([0.3, 2.0], dtype=torch.float64)
    y, u = draw(2, 1, *operator.output_size(SIZE)), draw(2, 1, *SIZE)
    exact = type(operator)(**{**vars(operator), "cg_iterations": 500, "cg_tolerance": 1e-13})
    x = exact.regularized_inverse(y, u, gamma, lam)
    for b in range(2):
        A = dense(operator, gamma[b : b + 1])
        normal = A.T @ A + lam[b] * torch.eye(A.shape[1], dtype=A.dtype)
        expected = torch.linalg.solve(normal, A.T @ y[b].flatten() + lam[b] * u[b].flatten())
        assert_close(x[b].flatten(), expected, rtol=1e-8, atol=1e-9)


def test_prox_is_the_regularized_inverse_for_every_start(operator, draw):
    gamma = draw(1, operator.num_parameters)
    y, u = draw(1, 2, *operator.output_size(SIZE)), draw(1, 2, *SIZE)
    assert_close(operator.bind(gamma).prox(y, 0.5)(u), operator.regularized_inverse(y, u, gamma, 0.5))


def test_impulse_response_is_the_image_of_a_point(operator, draw):
    gamma, at = draw(2, operator.num_parameters), (9, 12)
    point = torch.zeros(1, 1, *SIZE, dtype=torch.float64)
    point[..., at[0], at[1]] = 1
    (h, w), shrink = operator.psf_shape, operator.boundary == "valid"
    top, left = at[0] - h // 2 * (1 + shrink), at[1] - w // 2 * (1 + shrink)
    seen = operator.forward(point, gamma)
    assert_close(seen[..., top : top + h, left : left + w], operator.impulse_response(gamma, at), rtol=0, atol=1e-13)
    assert_close(seen.abs().sum(), operator.impulse_response(gamma, at).abs().sum())


def test_a_batch_is_its_samples(operator, draw):
    gamma, x = draw(3, operator.num_parameters), draw(3, 1, *SIZE)
    y = operator.forward(x, gamma)
    u = draw(3, 1, *SIZE)
    back = operator.regularized_inverse(y, u, gamma, 0.4)
    for b in range(3):
        one = slice(b, b + 1)
        assert_close(operator.forward(x[one], gamma[one]), y[one])
        assert_close(operator.regularized_inverse(y[one], u[one], gamma[one], 0.4), back[one], rtol=1e-4, atol=1e-5)


def test_batches_of_one_broadcast(operator, draw):
    gamma, x = draw(3, operator.num_parameters), draw(1, 1, *SIZE)
    y = operator.forward(x, gamma)
    assert_close(y, operator.forward(x.expand(3, 1, *SIZE), gamma))
    back = operator.regularized_inverse(y[:1], x, gamma, 0.3)
    assert_close(back, operator.regularized_inverse(y[:1].expand_as(y), x.expand(3, 1, *SIZE), gamma, 0.3))
    assert operator.forward(draw(3, 1, *SIZE), gamma[:1]).shape[0] == 3


@pytest.mark.parametrize(
    ("given", "computed"), [("float64", "float64"), ("float32", "float32"), ("bfloat16", "float32")]
)
def test_dtype_follows_the_inputs_and_half_precision_becomes_single(operator, draw, given, computed):
    gamma, x = (draw(1, n).to(getattr(torch, given)) for n in (operator.num_parameters, SIZE[0] * SIZE[1]))
    x = x.reshape(1, 1, *SIZE)
    y = operator.forward(x, gamma)
    assert y.dtype == getattr(torch, computed)
    assert operator.adjoint(y, gamma).dtype == y.dtype
    assert operator.regularized_inverse(y, x, gamma, 0.1).dtype == y.dtype


def test_autocast_does_not_lower_the_precision(operator, draw):
    gamma, x = draw(1, operator.num_parameters).float(), draw(1, 1, *SIZE).float()
    plain = operator.forward(x, gamma)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(operator.forward(x, gamma), plain, rtol=1e-5, atol=1e-5)


def test_gradients_in_image_parameters_data_and_lambda(operator, draw):
    small = operator.input_size((3, 4)) if operator.boundary == "valid" else (8, 9)
    if isinstance(operator, ProductConvolutionBlur):
        maps = operator.space_maps[:, : small[0], : small[1]]
        operator = ProductConvolutionBlur(operator.eigen_psfs, maps, operator.boundary)
    operator = type(operator)(**{**vars(operator), "cg_iterations": 300, "cg_tolerance": 1e-14})
    gamma = (0.3 * draw(1, operator.num_parameters)).requires_grad_()
    x, y = draw(1, 1, *small).requires_grad_(), draw(1, 1, *operator.output_size(small)).requires_grad_()
    lam = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operator.forward, (x, gamma), fast_mode=True)
    assert torch.autograd.gradcheck(operator.adjoint, (y, gamma), fast_mode=True)
    assert torch.autograd.gradcheck(operator.regularized_inverse, (y, x, gamma, lam), fast_mode=True)


def test_a_bound_operator_used_without_gradients_still_gives_them_later(operator, draw):
    gamma, x = draw(1, operator.num_parameters).requires_grad_(), draw(1, 1, *SIZE)
    bound = operator.bind(gamma)
    with torch.no_grad():
        bound.forward(x)
    bound.forward(x).square().sum().backward()
    assert gamma.grad is not None
    assert gamma.grad.abs().min() > 0


def test_operators_survive_pickling(operator, draw):
    gamma, x = draw(1, operator.num_parameters), draw(1, 1, *SIZE)
    again = pickle.loads(pickle.dumps(operator))
    assert torch.equal(again.forward(x, gamma), operator.forward(x, gamma))


def test_with_boundary_changes_nothing_else(operator, draw):
    gamma = draw(1, operator.num_parameters)
    other = operator.with_boundary("circular")
    assert other.boundary == "circular"
    assert torch.equal(other.impulse_response(gamma, (9, 9)), operator.impulse_response(gamma, (9, 9)))


def test_bad_inputs_are_refused_with_the_rule_and_the_value(operator, draw):
    K, out = operator.num_parameters, operator.output_size(SIZE)
    gamma = draw(2, K)
    with pytest.raises(ValueError, match=rf"gamma of shape \(batch, {K}\); got \(2, {K + 1}\)"):
        operator.forward(draw(2, 1, *SIZE), draw(2, K + 1))
    with pytest.raises(ValueError, match=r"B = 2, that of gamma; got \(3, 1, 19, 24\)"):
        operator.forward(draw(3, 1, *SIZE), gamma)
    with pytest.raises(ValueError, match=r"lam weighs .* must be positive; got 0"):
        operator.regularized_inverse(draw(2, 1, *out), draw(2, 1, *SIZE), gamma, 0)
    with pytest.raises(ValueError, match=r"one per sample: shape \(\) or \(B,\); got \(2, 1\)"):
        operator.regularized_inverse(draw(2, 1, *out), draw(2, 1, *SIZE), gamma, torch.ones(2, 1))
    with pytest.raises(ValueError, match=r"u lives on the image grid .* got u of size \(4, 4\)"):
        operator.regularized_inverse(draw(2, 1, *out), draw(2, 1, 4, 4), gamma, 0.1)
    with pytest.raises(ValueError, match="a boundary is one of valid, circular, replicate; got 'mirror'"):
        operator.with_boundary("mirror")
    if operator.boundary != "replicate":
        with pytest.raises(ValueError, match=r"at least as large as its PSF; got image 2x3"):
            operator.forward(draw(2, 1, 2, 3), gamma)
