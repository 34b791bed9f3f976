"""Losses of the identification network, by name. All are means over the batch of numbers without unit.

With the pupil in focus, γ and its twin (all even orders flipped) give the same PSF, so E[γ_even | y] = 0 under a
symmetric prior: a plain squared loss on γ teaches the network to erase defocus and astigmatism. The other losses differ
in how they avoid that.
"""

from collections.abc import Callable

from torch import Tensor, minimum

from deepblur.operators import Blur, ZernikeBlur
from deepblur.platform.data.observations import Batch

Loss = Callable[[Tensor, Batch, Blur, float], Tensor]


def _gamma_error(estimate: Tensor, gamma: Tensor, eta_waves: float) -> Tensor:
    return ((estimate - gamma) / eta_waves).square().mean(1)


def gamma_loss(estimate: Tensor, batch: Batch, operator: Blur, eta_waves: float) -> Tensor:
    """‖γ̂ − γ‖²/(K η²): the paper's section 2.3, in units of η.

    Where γ weighs orthonormal PSFs, the whole variance of γ at η takes the place of K η²: the loss is then the squared
    error of the PSFs in units of that of their mean.
    """
    if operator.spread is not None:
        variance = (eta_waves * operator.spread.to(estimate)).square().sum()
        return (estimate - batch.gamma).square().sum(1).mean() / variance
    return _gamma_error(estimate, batch.gamma, eta_waves).mean()


def twin_error(estimate: Tensor, gamma: Tensor, operator: Blur, eta_waves: float) -> Tensor:
    """Per image, the γ error towards the nearer of the two parameter vectors that give the true PSF."""
    straight = _gamma_error(estimate, gamma, eta_waves)
    return minimum(straight, _gamma_error(estimate, operator.twin(gamma), eta_waves))


def twin_loss(estimate: Tensor, batch: Batch, operator: Blur, eta_waves: float) -> Tensor:
    """The γ error towards the nearer twin."""
    return twin_error(estimate, batch.gamma, operator, eta_waves).mean()


def psf_loss(estimate: Tensor, batch: Batch, operator: Blur, eta_waves: float) -> Tensor:
    """‖h(γ̂) − h(γ)‖²/‖h(γ)‖², the paper's error of a kernel; blind to the twin, with a saddle at γ_even = 0."""
    error = (operator.psf(estimate) - batch.psf).square().sum((1, 2, 3))
    return (error / batch.psf.square().sum((1, 2, 3))).mean()


def half_space_loss(estimate: Tensor, batch: Batch, operator: Blur, eta_waves: float) -> Tensor:
    """The γ error towards the twin whose first even coefficient is positive; the target jumps where that is zero."""
    if not isinstance(operator, ZernikeBlur):
        raise ValueError(f"the half-space loss chooses between Zernike twins; got {type(operator).__name__}; use gamma")
    first = operator.even.index(True)
    flip = batch.gamma[:, first : first + 1] < 0
    return _gamma_error(estimate, operator.twin(batch.gamma).where(flip, batch.gamma), eta_waves).mean()


def twin_psf_loss(estimate: Tensor, batch: Batch, operator: Blur, eta_waves: float) -> Tensor:
    """Sum of `twin` and `psf`: the first leaves the saddle early, the second weighs coefficients by what they do."""
    return twin_loss(estimate, batch, operator, eta_waves) + psf_loss(estimate, batch, operator, eta_waves)


LOSSES: dict[str, Loss] = {
    "gamma": gamma_loss,
    "twin": twin_loss,
    "psf": psf_loss,
    "half_space": half_space_loss,
    "twin_psf": twin_psf_loss,
}
