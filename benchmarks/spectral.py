"""How well does spectral maximum likelihood find a PSF in natural photographs, and where does it lose?

Settings  PSFs of 31×31 pixels, K = 7 (Noll 4–10), γ uniform in ±0.15 waves, f_c = 0.2; 256×256 valid convolutions of
          random crops of the first photographs of a folder (one crop each; more draws than photographs start again),
          white noise of the given σ.
Measure   Mean and quartiles of the SNR of the PSF in dB; the same with the odd orders' sign told (`sign told`: what the
          sign choice costs) and of the best of all ends of the search, sign told (`oracle`: what choosing among the
          optima costs, with --oracle); share of right signs; seconds per image. `mean PSF`: of 500 draws of γ.
          `calibration`: root mean square of (γ̂ − γ)/gamma_std, γ in its nearest equivalent; 1 is honest.
Cost      a second per image and noise level, two with --oracle, on one thread
Run       python benchmarks/spectral.py --data photographs/val --draws 32 --sigma 0,0.01,0.05
          python benchmarks/spectral.py --learn photographs/train …      prints the prior in `spectrum_model`
Outcome   32 draws each, photographs that nothing was tuned on, mean SNR at σ = 0, 0.01, 0.05: BSDS val 23.0, 12.1, 7.1;
          COCO val 21.9, 12.3, 7.2; the mean PSF 4.2. Right sign 94 to 100 %, calibration 0.9 to 1.4, 0.7 s of one
          core. At σ = 0.01 a quarter of the images stays below 6 dB (BSDS) and 4 dB (COCO).
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepblur.baselines.spectral import search, spectral
from deepblur.baselines.spectral_choice import equivalents
from deepblur.baselines.spectral_objective import Objective
from deepblur.baselines.spectrum_model import ORDERS, POWERS, Grid, average_spectrum, basis
from deepblur.operators import UniformGamma, ZernikeBlur
from deepblur.platform.data.image_file import SUFFIXES, read_grey
from deepblur.platform.evaluation.metrics import psf_snr_db

SIDE = 256
ETA = 0.15
LEARN_BELOW = 0.40  # |f| in cycles per pixel: photographs have little but compression noise beyond
LEVEL_VARIANCE = 4.0  # added to that of the level, which is then free to follow the exposure


def crops(folders: list[Path], count: int, side: int, rng: torch.Generator) -> Iterator[Tensor]:
    """`count` random crops, one per photograph, from the first on; photographs that are too small are passed over."""
    photographs = sorted(path for folder in folders for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    images = [image for image in map(read_grey, photographs) if min(image.shape) >= side]
    if not images:
        raise SystemExit(f"no photograph of at least {side}x{side} pixels in {', '.join(map(str, folders))}")
    for index in range(count or 2 * len(images)):
        image = torch.from_numpy(images[index % len(images)])
        top, left = (int(torch.randint(size - side + 1, (), generator=rng)) for size in image.shape)
        yield image[top : top + side, left : left + side]


def learn(folders: list[Path]) -> None:
    """Prints mean and factor of the scenes' prior, fitted by least squares to the log spectra of sharp photographs."""
    coefficients = []
    for crop in crops(folders, 0, SIDE, torch.Generator().manual_seed(0)):
        grid = Grid(64, crop.double())
        inside = grid.radius[grid.keep] < LEARN_BELOW
        power = average_spectrum(crop.double(), grid, passband=0.5, noise_std=0.0).power
        coefficients.append(torch.linalg.lstsq(basis(grid).T[inside], power.log()[inside, None]).solution[:, 0])
    table = torch.stack(coefficients).unflatten(1, (-1, POWERS))  # (images, angular functions, powers)
    lower = torch.tril_indices(POWERS, POWERS)
    means, factors = [], []
    for place, order in enumerate([ORDERS[0], *np.repeat(ORDERS[1:], 2)]):
        # Turned by 90° or mirrored, a photograph is as likely: only 1, cos 4θ and cos 8θ can have a mean.
        cosine = place == 0 or place % 2 == 1
        mean = table[:, place].mean(0) if cosine and order % 4 == 0 else torch.zeros(POWERS).double()
        centred = table[:, place] - mean
        covariance = centred.T @ centred / len(centred) + 1e-6 * torch.eye(POWERS)
        covariance[0, 0] += LEVEL_VARIANCE * (place == 0)
        means.append(mean)
        factors.append(torch.linalg.cholesky(covariance)[lower[0], lower[1]])
    for name, rows in (("_MEAN", means), ("_FACTOR", factors)):
        print(f"{name} = (")
        for row in rows:
            print("    (" + ", ".join(f"{value:.3f}" for value in row.tolist()) + "),")
        print(")")


def snr_db(family: ZernikeBlur, gamma: Tensor, truth: Tensor) -> Tensor:
    """(S,), of the PSFs of γ (S, K) against that of `truth` (1, K)."""
    return psf_snr_db(family.psf(gamma), family.psf(truth).expand(len(gamma), -1, -1, -1))


def ends_of_search(y: Tensor, family: ZernikeBlur) -> Tensor:
    grid = Grid(64, y)
    objective = Objective(family, ETA, grid, average_spectrum(y, grid, passband=2 * family.cutoff))
    return objective.gamma(search(objective, 48, 40, 0)[0])


def evaluate(folder: Path, draws: int, sigma: float, seed: int, oracle: bool) -> None:
    family, rng = ZernikeBlur(), torch.Generator().manual_seed(seed)
    mean_psf = family.psf(UniformGamma(ETA, 7).sample(500, rng)).mean(0, keepdim=True)
    rows = []
    for sharp in crops([folder], draws, SIDE + family.psf_size - 1, rng):
        truth = UniformGamma(ETA, 7).sample(1, rng)
        y = family.forward(sharp[None, None], truth)[0, 0]
        y = y + sigma * torch.randn(y.shape, generator=rng)
        start = time.perf_counter()
        found = spectral(y, family, eta_waves=ETA)
        seconds = time.perf_counter() - start
        gamma = found.gamma[None]
        alike = equivalents(family, gamma)[:, 0]
        told = snr_db(family, alike[:2], truth)
        ends = ends_of_search(y, family) if oracle else gamma
        highest = snr_db(family, equivalents(family, ends)[:2].flatten(0, 1), truth).max()
        error = alike - truth
        nearest = error[error.square().sum(1).argmin()] / found.gamma_std
        rows.append((told[0], told.max(), highest, told[0] >= told.max() - 1e-6,
                     psf_snr_db(mean_psf, family.psf(truth))[0], nearest.square().mean(), seconds))  # fmt: skip
    table = np.array(rows, float)
    print(f"{folder}  σ = {sigma:g}, {len(table)} draws")
    for name, column in (("spectral", 0), ("sign told", 1), ("oracle", 2), ("mean PSF", 4)):
        if name == "oracle" and not oracle:
            continue
        low, middle, high = np.percentile(table[:, column], (25, 50, 75))
        print(f"  {name:10} mean {table[:, column].mean():5.1f} dB   quartiles {low:5.1f} {middle:5.1f} {high:5.1f}")
    calibration = np.median(table[:, 5]) ** 0.5
    print(
        f"  right sign {table[:, 3].mean():.0%}   calibration (median image) {calibration:.2f}"
        f"   {np.median(table[:, 6]):.1f} s per image, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of photographs to test on")
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--sigma", default="0,0.01,0.05", help="standard deviations of the noise, with commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--oracle", action="store_true", help="also score the best of all ends; twice the time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--learn", type=Path, nargs="+", help="folders of training photographs: print the prior")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.learn:
        learn(arguments.learn)
    elif arguments.data:
        for sigma in map(float, arguments.sigma.split(",")):
            evaluate(arguments.data, arguments.draws, sigma, arguments.seed, arguments.oracle)
    else:
        parser.error("give --data or --learn a folder")


if __name__ == "__main__":
    main()
