"""How well γ, a scene and a noise explain the power spectrum of a blurry image: what `spectral` minimises.

Source: Lange, Little and Taylor, JASA 84, 1989 (the Student likelihood). The formula stands in `spectral`.
"""

from dataclasses import replace

import torch
from torch import Tensor

from deepblur.baselines.spectrum_model import Grid, Spectrum
from deepblur.operators import ZernikeBlur

_SPARE_NODES = 12  # fewer quadrature nodes than ZernikeBlur takes by itself: 56 dB, beyond what a spectrum can tell
_START_SPREAD = 0.7  # of artanh(γ/η)
_NOISE_LOG_STD = 0.3
_TINY = 1e-12  # |ĥ|² below it is below any noise


class Objective:
    """−log posterior, tempered, of free parameters (S, K + 36 + 1): artanh(γ/η), the scene's z, log N.

    Args:
        family: its psf, computed with fewer quadrature nodes.
        eta_waves: η.
        grid, spectrum: the cells and what was observed there.
        tau: temper of the likelihood, below 1: neighbouring cells are not independent, and S is not exact.
        kappa: degrees of freedom of the Student likelihood.
        misfit: s, by how much log S of a real scene strays from the smooth model, in nepers.
    """

    def __init__(
        self,
        family: ZernikeBlur,
        eta_waves: float,
        grid: Grid,
        spectrum: Spectrum,
        *,
        tau: float = 0.2,
        kappa: float = 1.5,
        misfit: float = 0.2,
    ):
        self.family = replace(family, pupil_size=max(family.nodes - _SPARE_NODES, 8))
        self.eta, self.grid, self.spectrum = eta_waves, grid, spectrum
        self.scene_mean, self.scene_factor = grid.scene_prior()
        self.log_power, self.log_noise = spectrum.power.log(), spectrum.noise_var.log()
        signal = (1 - spectrum.noise_var * spectrum.unit_noise / spectrum.power).clamp(0, 1)
        variance = 1 / spectrum.looks + (misfit * signal).square()
        self.scale = kappa * variance
        self.weight = 0.5 * tau * kappa * grid.multiplicity
        self.sizes = [family.num_parameters, len(self.scene_factor), 1]

    def gamma(self, free: Tensor) -> Tensor:
        """(S, K), in waves."""
        return self.eta * torch.tanh(free[:, : self.sizes[0]])

    def starts(self, count: int, rng: torch.Generator) -> Tensor:
        """Random γ, the average scene at the level of the data, the measured noise: (count, K + 37)."""
        draws = torch.randn(count, self.sizes[0], generator=rng, dtype=torch.float64)
        free = self.log_power.new_zeros(count, sum(self.sizes))
        free[:, : self.sizes[0]] = _START_SPREAD * draws.to(free)
        level = (self.log_power - self.scene_mean).median() + 1.2  # what a typical |Ĥ|² takes away
        free[:, self.sizes[0]] = level / self.scene_factor[0].mean()
        free[:, -1] = self.log_noise
        return free

    def log_model(self, free: Tensor) -> Tensor:
        """log v: (S, M)."""
        return self._parts(free)[0]

    def __call__(self, free: Tensor) -> Tensor:
        """(S,)."""
        return self._value(free, self.log_power - self.log_model(free))

    def gauss_newton(self, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value (S,), gradient (S, P) and the Gauss–Newton matrix (S, P, P) with reweighted squares, P = K + 37."""
        blur = self.sizes[0]
        log_v, signal = self._parts(free)
        slope = self._log_gain_jacobian(free[:, :blur])
        by_blur = slope * signal[:, None]
        by_scene = self.scene_factor * signal[:, None]
        jacobian = torch.cat([by_blur, by_scene, 1 - signal[:, None]], 1)  # (S, P, M)
        deviation = self.log_power - log_v
        weight = 2 * self.weight / (self.scale + deviation.square())
        prior = torch.ones_like(free)
        prior[:, :blur], prior[:, -1] = 0.0, _NOISE_LOG_STD**-2
        offset = torch.cat([free[:, :-1], free[:, -1:] - self.log_noise], 1)
        weighted = jacobian * weight[:, None]
        gradient = prior * offset - (weighted @ deviation[..., None])[..., 0]
        matrix = weighted @ jacobian.mT + torch.diag_embed(prior)
        self._inform(free, slope, gradient, matrix)
        return self._value(free, deviation), gradient, matrix

    def _inform(self, free: Tensor, slope: Tensor, gradient: Tensor, matrix: Tensor) -> None:
        """Adds to gradient and matrix what else is known of γ; slope is ∂ log|Ĥ|² / ∂a, (S, K, M)."""

    @torch.enable_grad()
    def _log_gain_jacobian(self, a: Tensor) -> Tensor:
        """∂ log|Ĥ|² / ∂a at a = artanh(γ/η) (S, K): (S, K, M).

        The transpose product g = Jᵀu is linear in u, so that ∂g_k/∂u is row k of the transposed Jacobian.
        """
        a = a.detach().requires_grad_()
        log_gain = self._log_gain(a)
        u = torch.zeros_like(log_gain).requires_grad_()
        (g,) = torch.autograd.grad(log_gain, a, u, create_graph=True)
        rows = [torch.autograd.grad(g[:, k].sum(), u, retain_graph=True)[0] for k in range(g.shape[1])]
        return torch.stack(rows, 1)

    def _log_gain(self, a: Tensor) -> Tensor:
        return log_gain(self.grid, self.family.psf(self.eta * torch.tanh(a))[:, 0])

    def _parts(self, free: Tensor) -> tuple[Tensor, Tensor]:
        """log v and the signal's share of v, both (S, M)."""
        a, z, log_noise = free.split(self.sizes, dim=1)
        log_scene = self.scene_mean + z @ self.scene_factor + self._log_gain(a)
        log_v = torch.logaddexp(log_scene, log_noise + self.spectrum.unit_noise.log())
        return log_v, (log_scene - log_v).exp()

    def _value(self, free: Tensor, deviation: Tensor) -> Tensor:
        _, z, log_noise = free.split(self.sizes, dim=1)
        misfit = (self.weight * torch.log1p(deviation.square() / self.scale)).sum(1)
        noise = (log_noise[:, 0] - self.log_noise) / _NOISE_LOG_STD
        return misfit + 0.5 * z.square().sum(1) + 0.5 * noise.square()


def log_gain(grid: Grid, psf: Tensor) -> Tensor:
    """log|ĥ|² of PSFs (S, h, w) at a grid's cells, (S, M); finite where |ĥ| vanishes."""
    return grid.gain(psf).clamp_min(_TINY).log()
