"""A reader of spectra for any cutoff: train one, and hold it against the likelihood alone on images that it never saw.

The reader that ships knows one cutoff. Here windows are 12.8 / cutoff pixels, so that a cell of the spectrum is the
same share of the passband whatever the cutoff, and |ĥ| is read on the cells of the optics that ours was made for.

    python benchmarks/any_cutoff.py --photographs FOLDER --micrographs FOLDER --held FOLDER --work runs/any_cutoff

Draws (some 130 a second on one core) and the training (an epoch of 160,000 draws takes 5 minutes) go on where they
stopped. At the end: PSF SNR in dB, a turn by 180° allowed, K = 7, η 0.15, 192 × 192 pixels.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from deepblur.baselines.spectral import search
from deepblur.baselines.spectral_objective import Objective
from deepblur.baselines.spectrum_model import Grid, Spectrum, average_spectrum
from deepblur.baselines.spectrum_reader import InformedObjective, SpectrumReader
from deepblur.baselines.spectrum_reader import _picture as picture
from deepblur.operators import PoissonGaussian, ZernikeBlur
from deepblur.platform.data.sources import Folder
from deepblur.platform.data.store import ImageStore, open_store
from deepblur.platform.training.spectrum_reader import BATCH, kept, train

NOLL, CUTOFF, ETA = (4, 5, 6, 7, 8, 9, 10, 11), (0.1, 0.25), (0.02, 0.25)
MICROGRAPHS = 0.4  # share of the draws
KNOWN = ZernikeBlur(noll=NOLL)  # the optics on whose cells |ĥ| is read


def window_px(cutoff: float) -> int:
    return 2 * round(6.4 / cutoff)


class AnyReader(SpectrumReader):
    """Maps (B, 3, 53, 27), zero where nothing is compared, to mean and precision."""

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        mask = (maps[:, 2] != 0) & self.inside
        power, snr, looks = maps.unbind(1)
        level = (power * mask).sum((1, 2), keepdim=True) / mask.sum((1, 2), keepdim=True)
        channels = torch.stack([(power - level) / 2, snr.clamp(-7, 14) / 4, (looks - 4) / 2], 1) * mask[:, None]
        places = self.places.expand(len(maps), -1, -1, -1).clone()
        places[:, 2] = mask.float()
        out = self.head(self.body(torch.cat([channels, places], 1)))
        factor = out.new_zeros(len(out), self.size, self.size)
        factor[:, self.lower[0], self.lower[1]] = out[:, self.size :]
        diagonal = factor.diagonal(dim1=1, dim2=2)
        return out[:, : self.size], factor + torch.diag_embed(diagonal.clamp(-6, 6).exp() - diagonal)

    @staticmethod
    def maps(grid: Grid, spectrum: Spectrum) -> Tensor:
        return picture(SpectrumReader.maps(grid, spectrum)[None])[0]


class AnyObjective(InformedObjective):
    """The likelihood at one cutoff with what the reader says of |ĥ| on the cells that it knows."""

    def __init__(self, family: ZernikeBlur, eta: float, grid: Grid, spectrum: Spectrum, reader: AnyReader) -> None:
        super().__init__(family, eta, grid, spectrum, reader)
        known = ZernikeBlur(noll=family.noll)
        self.known = Objective(known, eta, Grid(window_px(known.cutoff), spectrum.power), spectrum_of(known))

    def starts(self, count: int, rng: torch.Generator) -> Tensor:
        own, self.family = self.family, self.known.family  # whose |ĥ| the reader's coordinates are
        try:
            return super().starts(count, rng)
        finally:
            self.family = own

    def _residual(self, free: Tensor) -> tuple[Tensor, Tensor]:
        modulation = self.reader.modulation(self.known._log_gain(free[:, : self.sizes[0]]))
        return (self.reader.coordinates(modulation) - self.expected) @ self.factor, modulation

    def _inform(self, free: Tensor, slope: Tensor, gradient: Tensor, matrix: Tensor) -> None:
        super()._inform(free, self.known._log_gain_jacobian(free[:, : self.sizes[0]]), gradient, matrix)


def spectrum_of(family: ZernikeBlur) -> Spectrum:
    """Any spectrum on the known cells: only the blur's part of that objective is asked for."""
    y = torch.rand(128, 128, generator=torch.Generator().manual_seed(0))
    return average_spectrum(y, Grid(window_px(family.cutoff), y), passband=2 * family.cutoff)


def draw(stores: tuple[ImageStore, ImageStore], rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Maps (3, 53, 27) and γ (K,) of one blurry image."""
    u = torch.rand(13, generator=rng).tolist()
    micrograph = u[11] < MICROGRAPHS
    store = stores[micrograph]
    cutoff = CUTOFF[0] + (CUTOFF[1] - CUTOFF[0]) * u[12]
    window, family = window_px(cutoff), ZernikeBlur(noll=NOLL, cutoff=cutoff, pupil_size=20)
    reach, largest = family.psf_size - 1, int(store.heights.minimum(store.widths).max())
    least = max(96, window)
    side = min(round(least + (256 - least) * u[0]), largest - reach)
    room = min(2.0, largest / (side + reach))
    size = int((side + reach) * (1 + (room - 1) * u[1] if u[2] < 0.5 else 1))
    x = store.crops(1, (size, size), rng)
    x = interpolate(x, size=(side + reach,) * 2, mode="bilinear", antialias=True, align_corners=False)
    x = (1 - x if u[3] < (0.1 if micrograph else 0.3) else x).clamp(0, 1) ** (0.6 + u[4])
    gamma = (ETA[0] + (ETA[1] - ETA[0]) * u[5]) * (2 * torch.rand(1, len(NOLL), generator=rng) - 1)
    if u[6] < 0.5:
        gamma[:, NOLL.index(11)] = 0.0
    read = 0.0 if u[7] < 0.15 else 1e-3 * 200 ** u[8]
    gain = 0.0 if u[9] < 0.6 else 1e-3 * 250 ** u[10]
    y = PoissonGaussian(gain, read)(family.forward(x, gamma), rng)[0, 0]
    grid = Grid(window, y)
    return AnyReader.maps(grid, average_spectrum(y, grid, passband=2 * cutoff)).half(), gamma[0]


@torch.no_grad()
def compare(reader: AnyReader, store: ImageStore, cutoff: float, noise: float, images: int) -> Tensor:
    """(N, 3), PSF SNR in dB: likelihood, windows of 64 pixels, of 12.8 / cutoff pixels, and of these with reader."""
    family, rows = ZernikeBlur(noll=NOLL[:7], cutoff=cutoff), []
    side = 192 + family.psf_size - 1
    fits = [i for i in range(len(store)) if min(store.image(i).shape[-2:]) >= side]
    for number, i in enumerate(fits[:: max(1, len(fits) // images)][:images]):
        x, rng = store.image(i)[0], torch.Generator().manual_seed(1000 + number)
        top, left = ((n - side) // 2 for n in x.shape)
        gamma = 0.15 * (2 * torch.rand(1, 7, generator=rng) - 1)
        x = x[None, None, top : top + side, left : left + side]
        y = PoissonGaussian(0.0, noise)(family.forward(x, gamma), rng)[0, 0]
        truth, row = family.psf(gamma)[0, 0], []
        for window, informed in ((64, False), (window_px(cutoff), False), (window_px(cutoff), True)):
            grid = Grid(window, y)
            spectrum = average_spectrum(y, grid, passband=2 * cutoff)
            plain = Objective(family, 0.15, grid, spectrum)
            objective = AnyObjective(family, 0.15, grid, spectrum, reader) if informed else plain
            free, loss = search(objective, 48, 40, 0)
            psf = family.psf(objective.gamma(free[loss.argmin()][None]))[0, 0]
            error = min(float((turned - truth).square().sum()) for turned in (psf, psf.flip(0, 1)))
            row.append(10 * np.log10(float(truth.square().sum()) / error))
        rows.append(row)
    return torch.tensor(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--photographs", type=Path, required=True, help="folder of sharp photographs to learn from")
    add("--micrographs", type=Path, required=True, help="folder of sharp micrographs to learn from")
    add("--held", type=Path, required=True, help="folder of sharp images to compare on, of other sources")
    add("--draws", type=int, default=160_000)
    add("--epochs", type=int, default=8)
    add("--images", type=int, default=12)
    add("--cutoffs", type=float, nargs="+", default=(0.1, 0.13, 0.2, 0.25))
    add("--work", type=Path, default=Path("runs/any_cutoff"), help="draws and checkpoint")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    *learnt, held = (
        open_store((Folder(str(folder)),), arguments.work / "cache")
        for folder in (arguments.photographs, arguments.micrographs, arguments.held)
    )
    reader = AnyReader(eta_waves=ETA[1])
    sources = {"learnt": (learnt[0], learnt[1]), "held": (held, held)}
    sizes = {"learnt": arguments.draws, "held": max(BATCH, arguments.draws // 50)}
    draws, validation = (
        kept(partial(draw, stores), sizes[name], seed, arguments.work / f"draws_{name}")
        for seed, (name, stores) in enumerate(sources.items())
    )
    train(reader, draws, validation, arguments.epochs, 0, arguments.work / "reader.pt")
    for cutoff in arguments.cutoffs:
        for noise in (0.0, 0.01, 0.05, 0.12):
            found = compare(reader, held, cutoff, noise, arguments.images)
            plain, wide, informed = found.mean(0).tolist()
            print(f"cutoff {cutoff:g}, noise {noise:g}: 64 px {plain:.1f} dB, {window_px(cutoff)} px {wide:.1f} dB, "
                  f"with the reader {informed:.1f} dB; {len(found)} images", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
