"""Spectral maximum likelihood: γ from the power spectrum of one blurry image, without training on blurry images.

The spectrum of a blurry image is v(f) = S(f)·|Ĥ_γ(f)|² + N. γ has K numbers, the scene's spectrum S a few more with a
prior that photographs teach (`spectrum_model`), the noise N one. With d(f) = log(observed / v), the objective is

    ½τκ Σ_f log(1 + d² / (κδ²)) + ½‖z‖² + ½(log(N / N_observed) / 0.3)²,    δ² = 1/looks + (s·signal share)²:

a Student likelihood, because the spectra of real scenes have lines and holes that no smooth S follows; Whittle's,
I/v + log v, loses 9 dB to them. Levenberg–Marquardt minimises it from many random γ at once, with reweighted squares.

Where pixels are coarse for the lens, frequencies that others fold over to are left out (`unaliased`).

The spectrum cannot see a turn of the PSF by 180°, which flips the sign of all odd orders, and several optima may be
nearly as good: each is restored, and the sparsity of the restoration decides (`spectral_choice`). In focus, flipping
all even orders changes no PSF at all: γ is one of two twins.

Sources: Whittle, J. R. Stat. Soc. B 15(1), 1953 (likelihood of spectra); Lange, Little and Taylor, JASA 84, 1989 (the
Student likelihood); model 2.3 of P. Debarnot and P. Weiss, "Deep-Blur", Biological Imaging, 2024.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from deepblur.baselines.estimate import Estimate, check_image
from deepblur.baselines.spectral_choice import equivalents, sparsest
from deepblur.baselines.spectral_objective import Objective
from deepblur.baselines.spectrum_model import Grid, average_spectrum, unaliased, window_px
from deepblur.baselines.spectrum_reader import SpectrumReader
from deepblur.operators import ZernikeBlur

LEAST_SIDE = 16
STEPS = 40
_CORRELATED = 2.0  # the misfit of S is alike over many cells; with it training photographs err by about gamma_std
_LEAST_CURVATURE = 1e-3  # where artanh(γ/η) runs off to infinity
_SETTLED = 1e-3  # of the objective, a logarithm of probability
_EDGE = 1.5  # of artanh(γ/η): further out nothing changes any more, and curvature there would mean false certainty


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for thousands of small steps: more gain 0.1 s, and on a busy machine their barriers cost minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
@torch.no_grad()
def spectral(
    image: np.ndarray | Tensor,
    operator: ZernikeBlur | None = None,
    *,
    psf_size: int = 31,
    seed: int = 0,
    eta_waves: float = 0.15,
    starts: int = 48,
    noise_std: float | None = None,
    seconds: float | None = None,
    steps: int = STEPS,
    reader: SpectrumReader | None = None,
    whole: Tensor | None = None,
) -> Estimate:
    """Estimate the aberrations of a lens from one image, and restore it by TV.

    Args:
        image: (H, W), intensity in [0, 1], data of a valid blur.
        operator: the family of blurs, in focus or not; None takes ZernikeBlur(psf_size=psf_size).
        psf_size: side in pixels, odd, of the PSF where no operator is given.
        seed: of the random starts.
        eta_waves: largest coefficient η, in waves: |γ_k| < η.
        starts: random γ to start from.
        noise_std: standard deviation of the noise, in intensity; None measures it beyond the pupil's passband, where it
            covers noise that follows the signal as well.
        seconds: wall time after which the search returns the best so far (with a time limit results are not
            reproducible); None does all steps.
        steps: of Levenberg–Marquardt: a quarter of them from all starts, the rest from the best quarter of the starts.
        reader: what training adds, where it knows such blurs.
        whole: (H', W'), what the image is a part of and the spectrum is read from; None: the image itself.
    Returns:
        image; psf, that of gamma, or where several are nearly as likely their mean; gamma, the likeliest; gamma_std, in
        waves: within the optimum found by the curvature of the objective, between optima by the spread of the other
        starts, equal PSFs counted as equal and starts weighted by their likelihood.
    Raises:
        ValueError: what `check_image` refuses; a side below 16 pixels; starts or steps below 1; eta_waves, noise_std or
            seconds out of range.
        DivergedError: no finite estimate.
    """
    family = ZernikeBlur(psf_size=psf_size) if operator is None else operator
    y = check_image(image, family.psf_size)
    check_search(eta_waves, starts, steps, noise_std, seconds)
    if min(y.shape) < LEAST_SIDE:
        raise ValueError(
            f"a spectrum needs an image of at least {LEAST_SIDE}x{LEAST_SIDE} pixels; got {y.shape[0]}x{y.shape[1]}; "
            "take a larger crop"
        )
    objective = objective_of(y if whole is None else whole, family, eta_waves, reader, noise_std)
    free, loss = search(objective, starts, steps, seed, math.inf if seconds is None else time.monotonic() + seconds)
    gamma = objective.gamma(free)
    best = sparsest(y, family, gamma, loss, float(objective.spectrum.noise_var) ** 0.5)
    within = _curvature_std(objective, free[best.end])
    std = (within.square() + _spread(family, gamma, loss, gamma[best.end]).square()).sqrt()
    return Estimate(image=best.image, psf=best.psf, gamma=best.gamma, gamma_std=std)


def objective_of(
    y: Tensor,
    family: ZernikeBlur,
    eta_waves: float,
    reader: SpectrumReader | None = None,
    noise_std: float | None = None,
) -> Objective:
    """What `spectral` minimises for an image (H, W), with the reader where it knows such blurs."""
    grid = Grid(min(window_px(family.cutoff), *y.shape), y, unaliased(family.cutoff))
    spectrum = average_spectrum(y, grid, passband=2 * family.cutoff, noise_std=noise_std)
    makes = Objective if reader is None or not reader.knows(family, eta_waves, grid.n) else reader.objective
    return makes(family, eta_waves, grid, spectrum)


@_one_thread()
@torch.no_grad()
def likeliest(
    y: Tensor, family: ZernikeBlur, *, eta_waves: float, starts: int, reader: SpectrumReader | None = None
) -> Tensor:
    """The PSF (h, w) that explains the spectrum of an image (H, W) best; which way it is turned stays open."""
    objective = objective_of(y, family, eta_waves, reader)
    free, loss = search(objective, starts, STEPS, 0)
    return family.psf(objective.gamma(free[loss.argmin()][None]))[0, 0]


@torch.no_grad()
def search(
    objective: Objective, starts: int, steps: int, seed: int, deadline: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Where the search from the best quarter of the starts ended (S, K + 37), and the objective there (S,)."""
    free = objective.starts(starts, torch.Generator().manual_seed(seed))
    free, value = _minimize(objective, free, steps // 4, deadline)
    best = value.argsort()[: math.ceil(starts / 4)]
    return _minimize(objective, free[best], steps - steps // 4, deadline)


def _minimize(objective: Objective, free: Tensor, steps: int, deadline: float) -> tuple[Tensor, Tensor]:
    """Levenberg–Marquardt, each start (S, K + 37) with its own damping: where they end, and the objective there (S,).

    A start whose next step promises less than _SETTLED is left where it is.

    Source: Moré, "The Levenberg–Marquardt algorithm", Lecture Notes in Mathematics 630, 1978.
    """
    damping = torch.ones_like(free[:, 0])
    ends, values = free.clone(), free.new_empty(len(free))
    moving = torch.arange(len(free), device=free.device)
    value, gradient, matrix = objective.gauss_newton(free)
    for _ in range(steps):
        diagonal = matrix.diagonal(dim1=-2, dim2=-1) + _LEAST_CURVATURE
        step = torch.linalg.solve(matrix + torch.diag_embed(damping[:, None] * diagonal), gradient)
        on = 0.5 * (gradient * step).sum(1) > _SETTLED
        ends[moving], values[moving] = free, value
        if not on.any() or time.monotonic() > deadline:
            return ends, values
        moving, free, step, damping, value, gradient, matrix = (
            each[on] for each in (moving, free, step, damping, value, gradient, matrix)
        )
        there = objective.gauss_newton(free - step)
        better = there[0] < value
        free = torch.where(better[:, None], free - step, free)
        value = torch.where(better, there[0], value)
        gradient = torch.where(better[:, None], there[1], gradient)
        matrix = torch.where(better[:, None, None], there[2], matrix)
        damping = torch.where(better, damping / 4, damping * 4).clamp(1e-4, 1e4)
    ends[moving], values[moving] = free, value
    return ends, values


def _curvature_std(objective: Objective, free: Tensor) -> Tensor:
    """(K,), in waves: Laplace's approximation with the Gauss–Newton matrix, at most that of a uniform γ, η/√3."""
    K = objective.sizes[0]
    inside = free.clone()
    inside[:K] = free[:K].clamp(-_EDGE, _EDGE)
    matrix = objective.gauss_newton(inside[None])[2][0].double()
    matrix.diagonal()[:K] += 1
    std = torch.linalg.inv(matrix).diagonal()[:K].sqrt().to(free)
    slope = objective.eta * (1 - torch.tanh(inside[:K]).square())
    return (_CORRELATED * slope * std).clamp_max(objective.eta / math.sqrt(3))


def _spread(family: ZernikeBlur, gammas: Tensor, losses: Tensor, centre: Tensor) -> Tensor:
    """(K,): root weighted mean square distance of all ends (S, K) from `centre`, each in its nearest equivalent."""
    alike = equivalents(family, gammas)  # (E, S, K)
    nearest = (alike - centre).square().sum(-1).argmin(0)
    distance = alike[nearest, torch.arange(len(gammas), device=gammas.device)] - centre
    return (torch.softmax(-losses, 0)[:, None] * distance.square()).sum(0).sqrt()


def check_search(
    eta_waves: float, starts: int, steps: int = 1, noise_std: float | None = None, seconds: float | None = None
) -> None:
    """Raises ValueError for settings of `spectral` that no search can have."""
    if not (eta_waves > 0 and math.isfinite(eta_waves)):
        raise ValueError(f"eta_waves bounds the coefficients and must be positive; got {eta_waves}")
    if starts < 1 or steps < 1:
        raise ValueError(f"the search takes at least one start and one step; got starts={starts}, steps={steps}")
    if noise_std is not None and not 0 <= noise_std < math.inf:
        raise ValueError(f"noise_std is a standard deviation and at least 0; got {noise_std}; None measures it")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds limits the wall time and must be positive; got {seconds}; None sets no limit")
