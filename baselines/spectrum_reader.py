"""What training adds to the spectral likelihood: from one image's spectrum, which |ĥ| is likely, as a Gaussian.

The likelihood knows scenes by 36 numbers with a Gaussian prior. A small network has seen how the spectra of photographs
really look, blurred and in noise: it answers with a mean and a precision of the modulation transfer function |ĥ|, in
coordinates of its principal components. Neither knows a turn of the PSF by 180°. Together they find more than each
alone, most of all in noise, where the likelihood alone is sure of too much.
"""

import math
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn

from deepblur.baselines.spectral_objective import Objective, log_gain
from deepblur.baselines.spectrum_model import Grid, Spectrum, window_px
from deepblur.operators import UniformGamma, ZernikeBlur

CUTOFF = 0.2
"""Of the optics whose |ĥ| gives the coordinates; on cells that are a share of the passband all optics have the same."""
REACH = 26
"""Cells on each side of the zero frequency: a little more than the passband, whatever the cutoff."""
_KNOWN = 1024  # γ whose coordinates are kept to start searches from
_LARGEST = 0.98  # of η, for a start: artanh(1) is infinite
_NEAR = 0.75  # share of the starts that the reader chooses
_MAPS = 3
_MOST_LOOKS = 180.0  # independent windows; of larger images than those of its training it is told no more
_SHARE = 0.25  # of the reader's log probability: the likelihood has seen the same data, and scenes are of more kinds


class SpectrumReader(nn.Module):
    """Maps of an average spectrum (B, 3, 53, 27) → mean (B, D) and Cholesky factor (B, D, D) of the precision.

    Args:
        noll, cutoffs, eta_waves: the blurs that it was trained on, the smallest and largest cutoff; others it must not
            be asked about, see `knows`.
        coordinates: D, principal components of |ĥ|.
        widths: channels of the convolutions, each after the first halves the sides.
        hidden: units before the output.
    """

    inside: Tensor
    root: Tensor
    places: Tensor
    lower: Tensor
    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(
        self,
        noll: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10, 11),
        cutoffs: tuple[float, float] = (CUTOFF, CUTOFF),
        eta_waves: float = 0.22,
        *,
        coordinates: int = 20,
        widths: tuple[int, ...] = (24, 40, 64, 96),
        hidden: int = 256,
    ):
        super().__init__()
        self.noll, self.cutoffs, self.eta_waves, self.size = noll, tuple(cutoffs), eta_waves, coordinates
        cpu = torch.device("cpu")  # constants have values also where weights have shapes alone
        grid = Grid(window_px(CUTOFF), torch.zeros(1, device=cpu))
        inside = _picture(grid.keep & (grid.radius < (REACH + 0.24) / grid.n))
        self.register_buffer("inside", inside, persistent=False)
        whole_plane = torch.where(inside.nonzero()[:, 1] > 0, 2.0, 1.0)  # the other half repeats all columns but one
        self.register_buffer("root", whole_plane.sqrt(), persistent=False)
        rows, columns = torch.meshgrid(
            torch.linspace(-1, 1, 2 * REACH + 1, device=cpu), torch.linspace(0, 1, REACH + 1, device=cpu), indexing="ij"
        )
        places = torch.stack([rows, columns, inside.float(), torch.hypot(rows, columns)])
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("lower", torch.tril_indices(coordinates, coordinates, device=cpu), persistent=False)
        self.register_buffer("mean", torch.zeros(len(self.root)))
        self.register_buffer("components", torch.zeros(coordinates, len(self.root)))
        self.register_buffer("scale", torch.ones(coordinates))
        self.body = nn.Sequential(*_layers((_MAPS + len(places), *widths)))
        # counted, not tried: a convolution on the device "meta", where a model is checked, costs torch a second
        features = widths[-1] * math.prod(-(-side // 2 ** (len(widths) - 1)) for side in inside.shape)
        outputs = coordinates + coordinates * (coordinates + 1) // 2
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(features, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, outputs)
        )

    def knows(self, family: ZernikeBlur, eta_waves: float, side: int) -> bool:
        """Whether these blurs are among those of the training, and the windows as large."""
        return (
            side == window_px(family.cutoff)
            and not family.z_px
            and set(family.noll) <= set(self.noll)
            and self.cutoffs[0] - 1e-6 < family.cutoff < self.cutoffs[1] + 1e-6
            and eta_waves <= self.eta_waves
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        compared = (maps[:, 2] != 0) & self.inside
        power, snr, looks = maps.unbind(1)
        level = (power * compared).sum((1, 2), keepdim=True) / compared.sum((1, 2), keepdim=True)
        channels = torch.stack([(power - level) / 2, snr.clamp(-7, 14) / 4, (looks - 4) / 2], 1) * compared[:, None]
        places = self.places.expand(len(maps), -1, -1, -1).clone()
        places[:, 2] = compared
        out = self.head(self.body(torch.cat([channels, places], 1)))
        factor = out.new_zeros(len(out), self.size, self.size)
        factor[:, self.lower[0], self.lower[1]] = out[:, self.size :]
        diagonal = factor.diagonal(dim1=1, dim2=2)
        return out[:, : self.size], factor + torch.diag_embed(diagonal.clamp(-6, 6).exp() - diagonal)

    def cells(self, grid: Grid) -> Tensor:
        """The reader's cells among those of a grid's half plane, row by row."""
        rows, columns = self.inside.nonzero().unbind(1)
        return (rows - REACH) % grid.n * len(grid.columns) + columns

    def modulation(self, log_gains: Tensor) -> Tensor:
        """log|ĥ|² at the reader's cells → |ĥ|, weighted for both half planes."""
        return (0.5 * log_gains).exp() * self.root

    def modulation_of(self, family: ZernikeBlur, gamma: Tensor) -> Tensor:
        """`modulation` of the PSFs of many γ (N, K)."""
        grid = Grid(window_px(family.cutoff), gamma)
        cells = self.cells(grid)
        return torch.cat([self.modulation(log_gain(grid, family.psf(part)[:, 0], cells)) for part in gamma.split(256)])

    def coordinates(self, modulation: Tensor) -> Tensor:
        """(S, D)."""
        return (modulation - self.mean) @ self.components.T / self.scale

    def objective(self, family: ZernikeBlur, eta_waves: float, grid: Grid, spectrum: Spectrum) -> Objective:
        """What `spectral` minimises for an image."""
        return InformedObjective(family, eta_waves, grid, spectrum, self)

    @staticmethod
    def maps(grid: Grid, spectrum: Spectrum) -> Tensor:
        """(3, 53, 27): log power, log ratio of power to noise, log number of looks; zero where nothing is compared."""
        found = spectrum.power.new_zeros(_MAPS, *grid.keep.shape)
        ratio = spectrum.power / (spectrum.noise_var * spectrum.unit_noise)
        looks = spectrum.looks.clamp_max(_MOST_LOOKS)
        for row, values in zip(found, (spectrum.power, ratio.clamp(1e-3, 1e9), looks), strict=True):
            row[grid.keep] = values.log()
        return _picture(found)


class InformedObjective(Objective):
    """The spectral objective with what a `SpectrumReader` says: a share of ½‖Lᵀ(c(γ) − μ)‖² is added.

    Args:
        family, eta_waves, grid, spectrum: as for `Objective`.
        reader: that `knows` them.
    """

    def __init__(
        self, family: ZernikeBlur, eta_waves: float, grid: Grid, spectrum: Spectrum, reader: SpectrumReader
    ) -> None:
        super().__init__(family, eta_waves, grid, spectrum)
        own, read = self.cells.tolist(), reader.cells(grid).tolist()
        places = {cell: place for place, cell in enumerate([*own, *sorted(set(read) - set(own))])}
        self.cells = torch.tensor(list(places), device=grid.cells.device)
        self.read = torch.tensor([places[cell] for cell in read], device=grid.cells.device)
        self.reader = reader
        mean, factor = reader(reader.maps(grid, spectrum)[None])
        self.expected, self.factor = mean[0], _SHARE**0.5 * factor[0]

    def starts(self, count: int, rng: torch.Generator) -> Tensor:
        free = super().starts(count, rng)
        gamma, coordinates = _known(self.reader, self.family, self.eta)
        misfit = ((coordinates - self.expected) @ self.factor).square().sum(1)
        nearest = gamma[misfit.argsort()[: int(_NEAR * count)]] / self.eta
        free[: len(nearest), : self.sizes[0]] = torch.atanh(nearest.clamp(-_LARGEST, _LARGEST)).to(free)
        return free

    def _informed(self, log_gains: Tensor) -> Tensor:
        return 0.5 * self._residual(log_gains)[0].square().sum(1)

    def _inform(self, log_gains: Tensor, slope: Tensor, gradient: Tensor, matrix: Tensor) -> Tensor:
        residual, modulation = self._residual(log_gains)
        change = slope[:, :, self.read] * (0.5 * modulation)[:, None]  # (S, K, cells)
        jacobian = (change @ self.reader.components.T / self.reader.scale) @ self.factor
        blur = self.sizes[0]
        gradient[:, :blur] += (jacobian @ residual[..., None])[..., 0]
        matrix[:, :blur, :blur] += jacobian @ jacobian.mT
        return 0.5 * residual.square().sum(1)

    def _residual(self, log_gains: Tensor) -> tuple[Tensor, Tensor]:
        modulation = self.reader.modulation(log_gains[:, self.read])
        return (self.reader.coordinates(modulation) - self.expected) @ self.factor, modulation


@lru_cache(maxsize=4)
@torch.inference_mode(False)
@torch.no_grad()
def _known(reader: SpectrumReader, family: ZernikeBlur, eta_waves: float) -> tuple[Tensor, Tensor]:
    """Fixed draws of γ (N, K) and their coordinates (N, D)."""
    gamma = UniformGamma(eta_waves, family.num_parameters).sample(_KNOWN, torch.Generator().manual_seed(0))
    return gamma, reader.coordinates(reader.modulation_of(family, gamma))


def _picture(maps: Tensor) -> Tensor:
    """(…, n, n/2 + 1) → (…, 53, 27): frequencies up to REACH cells, the zero frequency in the middle row."""
    return torch.cat([maps[..., -REACH:, : REACH + 1], maps[..., : REACH + 1, : REACH + 1]], -2)


def _layers(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for place, (narrow, wide) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(narrow, wide, 3, 2 if place else 1, 1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
        if place > 1:
            layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
    return layers
