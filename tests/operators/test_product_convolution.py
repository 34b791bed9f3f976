"""Product-convolutions beyond the laws of all operators: the naive sum, the light they pass, kernel by kernel."""

import pytest
import torch
from torch.testing import assert_close

from deepblur.operators import EigenPSFBlur, ProductConvolutionBlur, product_convolution

SIZE = (19, 24)


@pytest.fixture(params=["valid", "circular", "replicate"])
def operator(request):
    return ProductConvolutionBlur.example(request.param)


def test_it_is_the_sum_over_kernels_and_maps(operator, draw):
    x, gamma = draw(2, 1, *SIZE), draw(2, 6)
    total = torch.zeros(2, 1, *operator.output_size(SIZE), dtype=torch.float64)
    for i, kernel in enumerate(operator.eigen_psfs):
        one = EigenPSFBlur(kernel[None] / kernel.norm(), operator.boundary)
        for j, f in enumerate(operator.space_maps):
            weight = (gamma[:, 3 * i + j] * kernel.norm())[:, None]
            total += one.forward(f * x, weight)
    assert_close(operator.forward(x, gamma), total)


def test_the_light_of_the_image_is_that_of_its_points(draw):
    operator = ProductConvolutionBlur.example("circular")
    x, gamma = draw(1, 1, *SIZE).abs(), draw(1, 6)
    each = torch.einsum("ij,jhw,i->hw", gamma.reshape(2, 3), operator.space_maps, operator.eigen_psfs.sum((1, 2)))
    assert_close(operator.forward(x, gamma).sum(), (each * x[0, 0]).sum())


def test_kernel_by_kernel_is_the_same(operator, draw, monkeypatch):
    x, gamma = draw(2, 1, *SIZE).requires_grad_(), draw(2, 6).requires_grad_()
    y = draw(2, 1, *operator.output_size(SIZE)).requires_grad_()

    def results():
        ahead, back = operator.forward(x, gamma), operator.adjoint(y, gamma)
        return ahead, back, *torch.autograd.grad(ahead.square().sum() + back.square().sum(), (x, y, gamma))

    together = results()
    monkeypatch.setattr(product_convolution, "FORWARD_AT_ONCE_PX", 0)
    monkeypatch.setattr(product_convolution, "ADJOINT_AT_ONCE_PX", 0)
    for one, other in zip(results(), together, strict=True):
        assert_close(one, other)
