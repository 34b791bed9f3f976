"""What training adds to the spectral likelihood: from one image's spectrum, which |ĥ| is likely, as a Gaussian.

The likelihood knows scenes by 36 numbers with a Gaussian prior. A small network has seen how the spectra of photographs
really look, blurred and in noise: it answers with a mean and a precision of the modulation transfer function |ĥ|, in
coordinates of its principal components. Neither knows a turn of the PSF by 180°. Together they find more than each
alone, most of all in noise, where the likelihood alone is sure of too much.
"""

from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn

from deepblur.baselines.spectral_objective import Objective, log_gain
from deepblur.baselines.spectrum_model import Grid, Spectrum
from deepblur.operators import UniformGamma, ZernikeBlur

SIDE = 64
"""Of the windows whose spectra are read, in pixels."""
REACH = 26
"""Cells on each side of the zero frequency; with 64 pixels they hold |f| < 0.41, a little beyond a passband of 0.4."""
_KNOWN = 1024  # γ whose coordinates are kept to start searches from
_LARGEST = 0.98  # of η, for a start: artanh(1) is infinite
_NEAR = 0.75  # share of the starts that the reader chooses
_MAPS = 3


class SpectrumReader(nn.Module):
    """Maps of an average spectrum (B, 3, 64, 33) → mean (B, D) and Cholesky factor (B, D, D) of the precision.

    Args:
        noll, cutoff, eta_waves: the blurs that it was trained on; others it must not be asked about, see `knows`.
        coordinates: D, principal components of |ĥ|.
        widths: channels of the convolutions, each after the first halves the sides.
        hidden: units before the output.
    """

    inside: Tensor
    cells: Tensor
    root: Tensor
    places: Tensor
    lower: Tensor
    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(
        self,
        noll: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10, 11),
        cutoff: float = 0.2,
        eta_waves: float = 0.22,
        *,
        coordinates: int = 20,
        widths: tuple[int, ...] = (24, 40, 64, 96),
        hidden: int = 256,
    ):
        super().__init__()
        self.noll, self.cutoff, self.eta_waves, self.size = noll, cutoff, eta_waves, coordinates
        cpu = torch.device("cpu")  # constants have values also where weights have shapes alone
        grid = Grid(SIDE, torch.zeros(1, device=cpu))
        inside = _picture((grid.keep & (grid.radius < (REACH + 0.24) / SIDE))[None, None])[0, 0]
        numbers = torch.full(grid.keep.shape, -1, device=cpu)
        numbers[grid.keep] = torch.arange(int(grid.keep.sum()), device=cpu)
        self.register_buffer("inside", inside, persistent=False)
        self.register_buffer("cells", _picture(numbers[None, None])[0, 0][inside], persistent=False)
        self.register_buffer("root", grid.multiplicity[self.cells].sqrt(), persistent=False)
        rows, columns = torch.meshgrid(
            torch.linspace(-1, 1, 2 * REACH + 1, device=cpu), torch.linspace(0, 1, REACH + 1, device=cpu), indexing="ij"
        )
        places = torch.stack([rows, columns, inside.float(), torch.hypot(rows, columns)])
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("lower", torch.tril_indices(coordinates, coordinates, device=cpu), persistent=False)
        self.register_buffer("mean", torch.zeros(len(self.cells)))
        self.register_buffer("components", torch.zeros(coordinates, len(self.cells)))
        self.register_buffer("scale", torch.ones(coordinates))
        self.body = nn.Sequential(*_layers((_MAPS + len(places), *widths)))
        with torch.no_grad():
            features = self.body(torch.zeros(1, _MAPS + len(places), *inside.shape)).numel()
        outputs = coordinates + coordinates * (coordinates + 1) // 2
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(features, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, outputs)
        )

    def knows(self, family: ZernikeBlur, eta_waves: float, side: int) -> bool:
        """Whether these blurs are among those of the training, and the windows as large."""
        return (
            side == SIDE
            and not family.z_px
            and set(family.noll) <= set(self.noll)
            and abs(family.cutoff - self.cutoff) < 1e-6
            and eta_waves <= self.eta_waves
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        shown = _picture(maps)
        count = self.inside.sum()
        power, snr, looks = shown.unbind(1)
        level = (power * self.inside).sum((1, 2), keepdim=True) / count
        channels = torch.stack([(power - level) / 2, snr.clamp(-7, 14) / 4, (looks - 4) / 2], 1) * self.inside
        out = self.head(self.body(torch.cat([channels, self.places.expand(len(maps), -1, -1, -1)], 1)))
        factor = out.new_zeros(len(out), self.size, self.size)
        factor[:, self.lower[0], self.lower[1]] = out[:, self.size :]
        diagonal = factor.diagonal(dim1=1, dim2=2)
        return out[:, : self.size], factor + torch.diag_embed(diagonal.clamp(-6, 6).exp() - diagonal)

    def modulation(self, log_gains: Tensor) -> Tensor:
        """log|ĥ|² at a grid's cells (S, M) → |ĥ| at the reader's, weighted for both half planes."""
        return (0.5 * log_gains[:, self.cells]).exp() * self.root

    def modulation_of(self, family: ZernikeBlur, gamma: Tensor) -> Tensor:
        """`modulation` of the PSFs of many γ (N, K)."""
        grid = Grid(SIDE, gamma)
        return torch.cat([self.modulation(log_gain(grid, family.psf(part)[:, 0])) for part in gamma.split(256)])

    def coordinates(self, modulation: Tensor) -> Tensor:
        """(S, D)."""
        return (modulation - self.mean) @ self.components.T / self.scale

    def objective(self, family: ZernikeBlur, eta_waves: float, grid: Grid, spectrum: Spectrum) -> Objective:
        """What `spectral` minimises for an image."""
        return InformedObjective(family, eta_waves, grid, spectrum, self)

    @staticmethod
    def maps(grid: Grid, spectrum: Spectrum) -> Tensor:
        """(3, 64, 33): log power, log ratio of power to noise, log number of looks; zero where nothing is compared."""
        found = spectrum.power.new_zeros(_MAPS, *grid.keep.shape)
        ratio = spectrum.power / (spectrum.noise_var * spectrum.unit_noise)
        for row, values in zip(found, (spectrum.power, ratio.clamp(1e-3, 1e9), spectrum.looks), strict=True):
            row[grid.keep] = values.log()
        return found


class InformedObjective(Objective):
    """The spectral objective with what a `SpectrumReader` says: ½‖Lᵀ(c(γ) − μ)‖² is added.

    Args:
        family, eta_waves, grid, spectrum: as for `Objective`.
        reader: that `knows` them.
    """

    def __init__(
        self, family: ZernikeBlur, eta_waves: float, grid: Grid, spectrum: Spectrum, reader: SpectrumReader
    ) -> None:
        super().__init__(family, eta_waves, grid, spectrum)
        self.reader = reader
        mean, factor = reader(reader.maps(grid, spectrum)[None])
        self.expected, self.factor = mean[0], factor[0]

    def starts(self, count: int, rng: torch.Generator) -> Tensor:
        free = super().starts(count, rng)
        gamma, coordinates = _known(self.reader, self.family, self.eta)
        misfit = ((coordinates - self.expected) @ self.factor).square().sum(1)
        nearest = gamma[misfit.argsort()[: int(_NEAR * count)]] / self.eta
        free[: len(nearest), : self.sizes[0]] = torch.atanh(nearest.clamp(-_LARGEST, _LARGEST)).to(free)
        return free

    def _value(self, free: Tensor, deviation: Tensor) -> Tensor:
        residual, _ = self._residual(free)
        return super()._value(free, deviation) + 0.5 * residual.square().sum(1)

    def _inform(self, free: Tensor, slope: Tensor, gradient: Tensor, matrix: Tensor) -> None:
        residual, modulation = self._residual(free)
        change = slope[:, :, self.reader.cells] * (0.5 * modulation)[:, None]  # (S, K, cells)
        jacobian = (change @ self.reader.components.T / self.reader.scale) @ self.factor
        blur = self.sizes[0]
        gradient[:, :blur] += (jacobian @ residual[..., None])[..., 0]
        matrix[:, :blur, :blur] += jacobian @ jacobian.mT

    def _residual(self, free: Tensor) -> tuple[Tensor, Tensor]:
        modulation = self.reader.modulation(self._log_gain(free[:, : self.sizes[0]]))
        return (self.reader.coordinates(modulation) - self.expected) @ self.factor, modulation


@lru_cache(maxsize=4)
@torch.inference_mode(False)
@torch.no_grad()
def _known(reader: SpectrumReader, family: ZernikeBlur, eta_waves: float) -> tuple[Tensor, Tensor]:
    """Fixed draws of γ (N, K) and their coordinates (N, D)."""
    gamma = UniformGamma(eta_waves, family.num_parameters).sample(_KNOWN, torch.Generator().manual_seed(0))
    return gamma, reader.coordinates(reader.modulation_of(family, gamma))


def _picture(maps: Tensor) -> Tensor:
    """(B, C, 64, 33) → (B, C, 53, 27): frequencies up to REACH cells, the zero frequency in the middle row."""
    return torch.cat([maps[..., -REACH:, : REACH + 1], maps[..., : REACH + 1, : REACH + 1]], -2)


def _layers(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for place, (narrow, wide) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(narrow, wide, 3, 2 if place else 1, 1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
        if place > 1:
            layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
    return layers
