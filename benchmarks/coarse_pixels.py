"""What is found of a lens whose pixels are coarse for it, NA / wavelength * pixel size above 0.25?

Settings  PSFs of K = 7 (Noll 4–10), γ uniform in ±0.15 waves; supports of 6 / cutoff pixels; photographs of the
          installed packages as they are, blurred on their own pixels at half the cutoff, then averaged in squares of
          2 × 2: the image is aliased as a camera's is. SIDE × SIDE pixels, white noise of the given σ.
Measure   Mean SNR of the PSF in dB, a turn by 180° allowed, against the PSF integrated over the pixel; beside it that
          of the mean PSF of all draws, which knows nothing of the image; the share of the draws that it exceeds; and
          the share in which two halves of the image agree too little, which the verdict says (`agreement_db`). Share
          where the right cutoff, told, is contradicted by the spectrum, and where a finer one is read if none is told.
Cost      two seconds of one core a draw
Run       python benchmarks/coarse_pixels.py
Outcome   At a noise of 0.003, cutoffs 0.3 and 0.4: 11.5 and 8.0 dB, the mean PSF 4.9 and 5.3; better than it in 62 %
          of the draws for both, doubted by the halves in 4 %. So the verdict doubts every such image. Right cutoffs are
          contradicted in 4 and 8 %, finer ones read in 0 and 4 %.
"""

import argparse
import os

import numpy as np
import torch
from read_cutoff import scenes
from torch import Tensor
from torch.nn.functional import avg_pool2d

from deepblur.baselines import SpectralIdentifier
from deepblur.baselines.spectral import likeliest
from deepblur.baselines.spectrum_end import spectrum_end
from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur
from deepblur.operators.pupil import psf_px
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.platform.models.reliability import LEAST_AGREEMENT_DB

ETA, STARTS = 0.15, 48


def recorded(image: np.ndarray, family: ZernikeBlur, gamma: Tensor, noise: float, side: int, seed: int) -> Tensor:
    """(side, side), by a camera whose pixels are squares of 2 × 2 of the image's."""
    rng = torch.Generator().manual_seed(seed)
    fine = ZernikeBlur(noll=family.noll, cutoff=family.cutoff / 2, psf_size=2 * family.psf_size + 1)
    least = 2 * side + fine.psf_size - 1
    top, left = (int(torch.randint(0, n - least + 1, (1,), generator=rng)) for n in image.shape)
    x = torch.from_numpy(image[top : top + least, left : left + least].astype(np.float32))[None, None]
    return PoissonGaussian(0.0, noise)(avg_pool2d(fine.forward(x, gamma), 2), rng)[0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--draws", type=int, default=24, help="for each cutoff and noise (default: 24)")
    add("--side", type=int, default=192, help="of the blurry images, pixels (default: 192)")
    add("--cutoffs", type=float, nargs="+", default=(0.3, 0.4), help="(default: 0.3 0.4)")
    add("--noise", type=float, nargs="+", default=(0.003,), help="(default: 0.003)")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    side = arguments.side
    images = scenes(None, 2 * side + 50, reduce=1)
    print(f"{len(images)} images", flush=True)
    for cutoff in arguments.cutoffs:
        family = ZernikeBlur(cutoff=cutoff, psf_size=psf_px(cutoff))
        gammas = UniformGamma(ETA, family.num_parameters).sample(arguments.draws, torch.Generator().manual_seed(1))
        psfs = family.psf(gammas)
        for noise in arguments.noise:
            rows = []
            for draw in range(arguments.draws):
                y = recorded(images[draw % len(images)], family, gammas[draw : draw + 1], noise, side, 1000 + draw)
                with torch.no_grad():
                    psf = likeliest(y, family, eta_waves=ETA, starts=STARTS)[None, None]
                agree = SpectralIdentifier(family, eta_waves=ETA).agreement_db(y)
                truth = psfs[draw : draw + 1]
                both = [float(psf_snr_db(one, truth)) for one in (psf, psf.flip(-2, -1))]
                mean = float(psf_snr_db(psfs.mean(0, keepdim=True), truth))
                end = spectrum_end(y)
                assert end is not None
                hardly = agree is not None and agree < LEAST_AGREEMENT_DB
                rows.append((max(both), mean, hardly, end.below(cutoff) is not None, end.read is not None))
            found, mean, *shares = np.array(rows, float).T
            hardly_known, contradicted, finer = (100 * share.mean() for share in shares)
            print(
                f"cutoff {cutoff:g}, noise {noise:g}, {len(rows)} draws: {found.mean():.1f} dB "
                f"[{np.quantile(found, 0.1):.1f}, {np.quantile(found, 0.9):.1f}], mean PSF {mean.mean():.1f} dB; "
                f"better than it in {100 * np.mean(found > mean):.0f} %, said to be hardly known in "
                f"{hardly_known:.0f} %; right cutoff contradicted in {contradicted:.0f} %, a finer one read in "
                f"{finer:.0f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
