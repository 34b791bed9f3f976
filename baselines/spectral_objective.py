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
_NOISE_LOG_STD, _ALIASED_LOG_STD = 0.3, 1.0  # in an aliased image what is measured may be signal
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
        self.cells = grid.cells  # where ĥ is computed; those of the data come first
        self.scene_mean, self.scene_factor = grid.scene_prior()
        rows, columns = torch.tril_indices(len(self.scene_factor), len(self.scene_factor))
        self.scene_products = (self.scene_factor[rows] * self.scene_factor[columns]).T  # (M, 666)
        self.noise_log_std = _ALIASED_LOG_STD if family.coarse else _NOISE_LOG_STD
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
        return self._parts(free, self._log_gain(free[:, : self.sizes[0]]))[0]

    def __call__(self, free: Tensor) -> Tensor:
        """(S,)."""
        log_gains = self._log_gain(free[:, : self.sizes[0]])
        return self._value(free, self.log_power - self._parts(free, log_gains)[0]) + self._informed(log_gains)

    def gauss_newton(self, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value (S,), gradient (S, P) and the Gauss–Newton matrix (S, P, P) with reweighted squares, P = K + 37."""
        blur = self.sizes[0]
        log_gains, slope = self._log_gain_and_slope(free[:, :blur])
        log_v, signal = self._parts(free, log_gains)
        deviation = self.log_power - log_v
        weight = 2 * self.weight / (self.scale + deviation.square())
        prior = torch.ones_like(free)
        prior[:, :blur], prior[:, -1] = 0.0, self.noise_log_std**-2
        offset = torch.cat([free[:, :-1], free[:, -1:] - self.log_noise], 1)
        # The derivatives of log v are signal·slope, signal·scene_factor and 1 − signal; the blocks one by one, for the
        # scene's derivatives are alike in all starts but for a factor per cell.
        slopes, scene = slope[:, :, : len(self.log_power)], self.scene_factor
        noise = 1 - signal
        both, mixed = weight * signal.square(), weight * signal * noise
        gradient = prior * offset - self._by_each(slopes, weight * signal * deviation, weight * noise * deviation)
        matrix = torch.diag_embed(prior)
        weighted = slopes * both[:, None]
        matrix[:, :blur, :blur] = weighted @ slopes.mT
        matrix[:, :blur, blur:-1] = (weighted.flatten(0, 1) @ scene.T).unflatten(0, (len(free), blur))
        matrix[:, blur:-1, :blur] = matrix[:, :blur, blur:-1].mT
        rows, columns = torch.tril_indices(len(scene), len(scene), device=scene.device)
        matrix[:, blur + rows, blur + columns] += both @ self.scene_products
        matrix[:, blur + columns, blur + rows] = matrix[:, blur + rows, blur + columns]
        matrix[:, -1] += self._by_each(slopes, mixed, weight * noise.square())
        matrix[:, :-1, -1] = matrix[:, -1, :-1]
        value = self._value(free, deviation) + self._inform(log_gains, slope, gradient, matrix)
        return value, gradient, matrix

    def _by_each(self, slopes: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """Sums over the cells of what each free parameter changes: (S, P)."""
        by_blur = (slopes @ signal[..., None])[..., 0]
        return torch.cat([by_blur, signal @ self.scene_factor.T, noise.sum(1, keepdim=True)], 1)

    def _informed(self, log_gains: Tensor) -> Tensor:
        """What else is known of γ, as part of the value: (S,)."""
        return log_gains.new_zeros(len(log_gains))

    def _inform(self, log_gains: Tensor, slope: Tensor, gradient: Tensor, matrix: Tensor) -> Tensor:
        """`_informed`, whose derivatives are added to gradient and matrix; slope is ∂ log|Ĥ|² / ∂a, (S, K, cells)."""
        return self._informed(log_gains)

    def _log_gain(self, a: Tensor) -> Tensor:
        """log|Ĥ|² at a = artanh(γ/η) (S, K): (S, cells)."""
        return log_gain(self.grid, self.family.psf(self.eta * torch.tanh(a))[:, 0], self.cells)

    def _log_gain_and_slope(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """`_log_gain` and its derivatives by a, (S, K, cells)."""
        inside = torch.tanh(a)
        psf, slopes = self.family.psf_and_slopes(self.eta * inside)
        parts = self.grid.transform(torch.cat([psf, slopes], 1), self.cells)
        real, imaginary = (part[:, :1] for part in parts)
        gain = real.square() + imaginary.square()
        change = real * parts[0][:, 1:] + imaginary * parts[1][:, 1:]
        change = torch.where(gain > _TINY, 2 * change / gain.clamp_min(_TINY), 0.0)
        return gain[:, 0].clamp_min(_TINY).log(), change * (self.eta * (1 - inside.square()))[..., None]

    def _parts(self, free: Tensor, log_gains: Tensor) -> tuple[Tensor, Tensor]:
        """log v and the signal's share of v, both (S, M)."""
        _, z, log_noise = free.split(self.sizes, dim=1)
        log_scene = self.scene_mean + z @ self.scene_factor + log_gains[:, : len(self.log_power)]
        log_v = torch.logaddexp(log_scene, log_noise + self.spectrum.unit_noise.log())
        return log_v, (log_scene - log_v).exp()

    def _value(self, free: Tensor, deviation: Tensor) -> Tensor:
        _, z, log_noise = free.split(self.sizes, dim=1)
        misfit = (self.weight * torch.log1p(deviation.square() / self.scale)).sum(1)
        noise = (log_noise[:, 0] - self.log_noise) / self.noise_log_std
        return misfit + 0.5 * z.square().sum(1) + 0.5 * noise.square()


def log_gain(grid: Grid, psf: Tensor, cells: Tensor | None = None) -> Tensor:
    """log|ĥ|² of PSFs (S, h, w) at cells of a grid, (S, M); finite where |ĥ| vanishes."""
    return grid.gain(psf, cells).clamp_min(_TINY).log()
