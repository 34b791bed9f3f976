"""What does it say of a PSF that the two halves of the image agree on it?

Settings  PSFs of K = 7 (Noll 4–10), f_c = 0.2, γ uniform in ±0.15 waves; the middles of the images of a folder, SIDE ×
          SIDE pixels after a valid convolution; white noise of the given σ. Beside them what the search does not allow
          for: lenses of the cutoffs 0.15 and 0.25, a linear motion of 9 pixels, no blur at all.
Measure   SNR of the whole image's PSF and agreement of the halves' PSFs, in dB, a turn by 180° allowed; the share of
          draws whose halves agree less than LEAST_AGREEMENT_DB: of PSFs of 8 dB or more (false alarms), of less than
          6 dB (the mean PSF has 4), and of other blurs.
Cost      a second of one core a draw, 180 draws by default
Run       python benchmarks/halves.py --data photographs/val
Outcome   COCO val, 2026-11-30: halves agree less than 2 dB for 12 % of the PSFs of 8 dB or more (of 26), for 12 % of
          those below 6 dB (of 8), for 28 % of lenses of cutoff 0.15, 11 % of 0.25, 3 % of motions and none of the
          images without blur. So the halves hardly tell a wrong PSF from a right one: what is wrong is wrong in both.
          That they disagree is said, and counts for no more than a doubt.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from deepblur.baselines import SpectralIdentifier
from deepblur.baselines.spectral import likeliest
from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur
from deepblur.platform.data.sources import Folder
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.platform.models.reliability import LEAST_AGREEMENT_DB
from deepblur.platform.models.shipped import shipped

ETA, STARTS, MOTION_PX = 0.15, 48, 9
LENSES = {"right": 0.2, "cutoff 0.15": 0.15, "cutoff 0.25": 0.25}
RIGHT_DB, WRONG_DB = 8.0, 6.0


def motion(size: int, rng: torch.Generator) -> Tensor:
    """The PSF (size, size) of a linear motion in a random direction."""
    angle, psf = math.pi * float(torch.rand(1, generator=rng)), torch.zeros(size, size)
    for step in torch.linspace(-MOTION_PX / 2, MOTION_PX / 2, 200).tolist():
        psf[round(size // 2 + step * math.sin(angle)), round(size // 2 + step * math.cos(angle))] += 1
    return psf / psf.sum()


def psfs(size: int, rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    gamma = UniformGamma(ETA, 7).sample(1, rng)
    for name, cutoff in LENSES.items():
        yield name, ZernikeBlur(cutoff=cutoff, psf_size=size).psf(gamma)[0, 0]
    yield "motion", motion(size, rng)
    yield "no blur", torch.eye(size)[size // 2].outer(torch.eye(size)[size // 2])


@torch.no_grad()
def measure(identifier: SpectralIdentifier, data: Path, images: int, side: int, sigmas: list[float]) -> pd.DataFrame:
    """A row per image, blur and noise: psf_snr_db, agreement_db."""
    family, rows = identifier.operator, []
    size = family.psf_size
    store = open_store((Folder(str(data)),), Path("runs/cache"))
    fits = [i for i in range(len(store)) if min(store.image(i).shape[-2:]) >= side + size - 1]
    for number, i in enumerate(fits[:: max(1, len(fits) // images)][:images]):
        x, rng = store.image(i)[0], torch.Generator().manual_seed(number)
        top, left = ((n - side - size + 1) // 2 for n in x.shape)
        x = x[None, None, top : top + side + size - 1, left : left + side + size - 1]
        for blur, psf in psfs(size, rng):
            for sigma in sigmas:
                y = PoissonGaussian(0.0, sigma)(conv2d(x, psf.flip(0, 1)[None, None]), rng)[0, 0]
                found = likeliest(y, family, eta_waves=ETA, starts=STARTS, reader=identifier.reader)
                both = (found[None, None], found.flip(0, 1)[None, None])
                snr = max(float(psf_snr_db(each, psf[None, None])) for each in both)
                rows.append([number, blur, sigma, snr, identifier.agreement_db(y)])
    return pd.DataFrame(rows, columns=["image", "blur", "sigma", "psf_snr_db", "agreement_db"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of sharp images")
    add("--images", type=int, default=12, help="of the folder, evenly spread (default: 12)")
    add("--side", type=int, default=384, help="of the blurry images, pixels (default: 384)")
    add("--sigma", type=float, nargs="+", default=[0.002, 0.01, 0.05], help="(default: 0.002 0.01 0.05)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    identifier = shipped("compact").identifier
    assert isinstance(identifier, SpectralIdentifier)
    found = measure(identifier, arguments.data, arguments.images, arguments.side, arguments.sigma)
    print(found.groupby(["blur", "sigma"], sort=False)[["psf_snr_db", "agreement_db"]].mean().round(1).to_string())
    found["alarm"] = found["agreement_db"] < LEAST_AGREEMENT_DB
    right = found[found["blur"] == "right"]
    groups = {f"PSFs of {RIGHT_DB:g} dB or more": right[right["psf_snr_db"] >= RIGHT_DB],
              f"PSFs of less than {WRONG_DB:g} dB": right[right["psf_snr_db"] < WRONG_DB],
              **{str(name): rows for name, rows in found.groupby("blur", sort=False) if name != "right"}}  # fmt: skip
    for name, rows in groups.items():
        if len(rows):
            print(f"below {LEAST_AGREEMENT_DB:g} dB of {len(rows)} {name}: {100 * rows['alarm'].mean():.0f} %")
    error = right["psf_snr_db"] - right["agreement_db"]
    print(f"right lens: PSF SNR - agreement = {error.mean():.1f} dB, standard deviation {error.std():.1f}")


if __name__ == "__main__":
    main()
