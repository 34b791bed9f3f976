import pytest
import torch
from torch.testing import assert_close

from deepblur.operators import ZernikeBlur, conjugate_gradient, pad_for_circular


def systems(draw, B=3, n=12):
    A = draw(B, n, n)
    return A @ A.mT + 0.5 * torch.eye(n, dtype=A.dtype), draw(B, n)


def apply_with(M):
    return lambda x: torch.einsum("bij,bj->bi", M, x)


def test_each_sample_of_a_batch_is_solved(draw):
    M, b = systems(draw)
    x = conjugate_gradient(apply_with(M), b, iterations=60, tolerance=1e-13)
    assert_close(x, torch.linalg.solve(M, b), rtol=1e-9, atol=1e-9)


def test_it_stops_at_the_tolerance_and_costs_nothing_when_started_at_the_solution(draw):
    M, b = systems(draw)
    calls = []

    def counted(x):
        calls.append(1)
        return apply_with(M)(x)

    exact = torch.linalg.solve(M, b)
    with torch.no_grad():
        x = conjugate_gradient(counted, b, exact, iterations=60, tolerance=1e-8)
    assert len(calls) == 1
    assert_close(x, exact)


def test_samples_that_are_done_wait_for_the_others_without_harm(draw):
    M, b = systems(draw)
    b[1] = 0
    M[2] = torch.eye(12, dtype=M.dtype)
    x = conjugate_gradient(apply_with(M), b, iterations=60, tolerance=1e-13)
    assert torch.equal(x[1], b[1])
    assert_close(x, torch.linalg.solve(M, b), rtol=1e-9, atol=1e-9)


def test_the_start_is_not_overwritten(draw):
    M, b = systems(draw)
    x0 = draw(3, 12)
    kept = x0.clone()
    conjugate_gradient(apply_with(M), b, x0, iterations=5, tolerance=0)
    assert torch.equal(x0, kept)


def test_the_gradient_is_that_of_the_exact_solution(draw):
    M, b = systems(draw, B=2, n=5)
    M, b = M.requires_grad_(), b.requires_grad_()

    def solution(M, b):
        return conjugate_gradient(apply_with((M + M.mT) / 2), b, iterations=60, tolerance=1e-15)

    assert torch.autograd.gradcheck(solution, (M, b))


@pytest.mark.parametrize("margin", [0, 6, (3, 8)])
def test_padding_keeps_the_image_and_meets_across_the_wrap(draw, margin):
    y = torch.nn.functional.avg_pool2d(draw(2, 3, 40, 51), 7, stride=1)
    rows, columns = (margin, margin) if isinstance(margin, int) else margin
    padded = pad_for_circular(y, margin)
    assert padded.shape == (2, 3, 34 + 2 * rows, 45 + 2 * columns)
    assert torch.equal(padded[..., rows : rows + 34, columns : columns + 45], y)
    if margin:
        steps = torch.cat([padded.diff(dim=-1).flatten(), (padded[..., 0] - padded[..., -1]).flatten()])
        assert (padded[..., 0] - padded[..., -1]).abs().max() < 0.5 * steps.abs().max()


def test_padding_is_differentiable_and_refuses_a_negative_margin(draw):
    y = draw(1, 1, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: pad_for_circular(y, (2, 3)), (y,))
    with pytest.raises(ValueError, match=r"at least 0; got -1"):
        pad_for_circular(y, -1)


def test_padding_stops_the_ringing_of_a_circular_inverse(rng):
    """A ramp jumps across the wrap: the plain inverse rings over the whole image, the padded one only near the edge."""
    operator, gamma = ZernikeBlur(), torch.full((1, 7), 0.05, dtype=torch.float64)
    scene = torch.linspace(0, 1, 126, dtype=torch.float64).expand(1, 1, 94, 126)
    y = operator.forward(scene, gamma)
    truth = scene[..., 15:-15, 15:-15]
    bound = operator.with_boundary("circular").bind(gamma)
    plain = bound.regularized_inverse(y, torch.zeros_like(y), 1e-3)
    padded = pad_for_circular(y, 15)
    mended = bound.regularized_inverse(padded, torch.zeros_like(padded), 1e-3)[..., 15:-15, 15:-15]
    assert (mended - truth).abs().mean() < 0.2 * (plain - truth).abs().mean()
