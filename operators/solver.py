"""Batched conjugate gradient for symmetric positive systems, with the implicit gradient of the solution."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LinearMap = Callable[[Tensor], Tensor]


def conjugate_gradient(
    apply: LinearMap, b: Tensor, x0: Tensor | None = None, *, iterations: int, tolerance: float
) -> Tensor:
    """Solve M x = b for each sample of a batch, M symmetric positive definite.

    Each sample has its own step sizes; the loop ends after `iterations`, or when all samples have
    ‖b − M x‖ ≤ tolerance·‖b‖. Differentiable in b and in whatever `apply` depends on: the gradient is that of the exact
    solution (one more solve in the backward pass, no unrolled graph in memory); x0 gets none.

    Args:
        apply: M, a linear map that keeps the shape and does not mix samples.
        b: (B, ...), the right side.
        x0: (B or 1, ...), a start; zero when absent.
        iterations: at most.
        tolerance: of the residual, relative to b.
    Returns:
        (B, ...)
    Source: Hestenes & Stiefel, J. Res. NBS 49(6), 1952.
    """
    with torch.no_grad():
        x = _iterate(apply, b, x0, iterations, tolerance)
    if not torch.is_grad_enabled():
        return x
    residual = b - apply(x)  # carries the gradients of b and of M; its value is what CG left over
    if not residual.requires_grad:
        return x
    return x + _InverseInBackward.apply(residual, apply, iterations, tolerance)


class _InverseInBackward(torch.autograd.Function):
    """Zero forward, M⁻¹ backward: d(M⁻¹b) = M⁻¹(db − dM x), and db − dM x is the differential of the residual."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, apply: LinearMap, iterations: int, tolerance: float) -> Tensor:
        ctx.solve = lambda g: _iterate(apply, g, None, iterations, tolerance)
        return torch.zeros_like(residual)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.solve(grads[0]), None, None, None


def _iterate(apply: LinearMap, b: Tensor, x0: Tensor | None, iterations: int, tolerance: float) -> Tensor:
    def dot(a: Tensor, c: Tensor) -> Tensor:
        return torch.linalg.vecdot(a.flatten(1), c.flatten(1)).view(-1, *[1] * (b.ndim - 1))

    if x0 is None:
        x, r = torch.zeros_like(b), b.clone()
    else:
        x = x0.to(b.dtype).expand_as(b).clone(memory_format=torch.contiguous_format)  # ours to change in place
        r = b - apply(x)
    p, rr = r.clone(), dot(r, r)
    enough = tolerance**2 * dot(b, b)
    for _ in range(iterations):
        active = rr > enough
        if not active.any():
            break
        q = apply(p)
        step = torch.where(active, rr / dot(p, q), 0)  # a solved sample rests: its 0/0 must not reach the others
        x.addcmul_(step, p)
        r.addcmul_(step, q, value=-1)
        rr, before = dot(r, r), rr
        p.mul_(torch.where(active, rr / before, 0)).add_(r)
    return x
