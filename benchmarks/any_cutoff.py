"""What do windows that follow the cutoff, and the reader of spectra, add to the likelihood at each cutoff?

Settings  PSFs of K = 7 (Noll 4–10), γ uniform in ±0.15 waves, supports of 6 / cutoff pixels; the middles of the images
          of a folder, SIDE × SIDE pixels after a valid convolution; white noise of the given σ.
Measure   Mean SNR of the PSF in dB, a turn by 180° allowed: likelihood with windows of 64 pixels, with windows of
          12.8 / cutoff pixels, and the same with the reader; the last two with the 95 % interval of the images'
          paired difference to the row before.
Cost      two seconds of one core a draw
Run       python benchmarks/any_cutoff.py --data coco/val2017 --images 16
Outcome   16 images of COCO val without noise, cutoffs 0.1, 0.13, 0.2 and 0.25: 3.7, 6.2, 21.7 and 17.3 dB with windows
          of 64 pixels; 16.6, 17.1, 23.6 and 19.5 with 12.8 / cutoff pixels and the reader. In noise the reader adds
          nothing that so few images show. All of it is in docs/results.md.
"""

import argparse
import math
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from deepblur.baselines import SpectralIdentifier
from deepblur.baselines.spectral import search
from deepblur.baselines.spectral_objective import Objective
from deepblur.baselines.spectrum_model import Grid, average_spectrum, window_px
from deepblur.baselines.spectrum_reader import SpectrumReader
from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur
from deepblur.operators.pupil import psf_px
from deepblur.platform.data.sources import Folder
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.intervals import mean_interval
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.platform.models.shipped import shipped
from deepblur.platform.training.spectrum_reader import NETWORK

ETA, STARTS, STEPS = 0.15, 48, 40
WAYS = ("64 px", "12.8/cutoff px", "with the reader")


def found_db(y: Tensor, family: ZernikeBlur, gamma: Tensor, window: int, reader: SpectrumReader | None) -> float:
    grid = Grid(min(window, *y.shape), y)
    spectrum = average_spectrum(y, grid, passband=2 * family.cutoff)
    knows = reader is not None and reader.knows(family, ETA, grid.n)
    makes = reader.objective if knows and reader is not None else Objective
    objective = makes(family, ETA, grid, spectrum)
    free, loss = search(objective, STARTS, STEPS, 0)
    psf = family.psf(objective.gamma(free[loss.argmin()][None]))
    truth = family.psf(gamma)
    return max(float(psf_snr_db(each, truth)) for each in (psf, psf.flip(-2, -1)))


@torch.no_grad()
def compare(reader: SpectrumReader, data: Path, cutoff: float, noise: float, images: int, side: int) -> Tensor:
    """(N, 3), PSF SNR in dB."""
    family = ZernikeBlur(cutoff=cutoff, psf_size=psf_px(cutoff))
    store, rows, reach = open_store((Folder(str(data)),), Path("runs/cache")), [], family.psf_size - 1
    fits = [i for i in range(len(store)) if min(store.image(i).shape[-2:]) >= side + reach]
    for number, i in enumerate(fits[:: max(1, len(fits) // images)][:images]):
        x, rng = store.image(i)[0], torch.Generator().manual_seed(1000 + number)
        top, left = ((n - side - reach) // 2 for n in x.shape)
        x = x[None, None, top : top + side + reach, left : left + side + reach]
        gamma = UniformGamma(ETA, family.num_parameters).sample(1, rng)
        y = PoissonGaussian(0.0, noise)(family.forward(x, gamma), rng)[0, 0]
        ways = ((64, None), (window_px(cutoff), None), (window_px(cutoff), reader))
        rows.append([found_db(y, family, gamma, *way) for way in ways])
    return torch.tensor(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of sharp images that the reader never saw")
    add("--images", type=int, default=12, help="of the folder, evenly spread (default: 12)")
    add("--side", type=int, default=192, help="of the blurry images, pixels (default: 192)")
    add("--cutoffs", type=float, nargs="+", default=(0.1, 0.13, 0.2, 0.25), help="(default: 0.1 0.13 0.2 0.25)")
    add("--noise", type=float, nargs="+", default=(0.0, 0.01, 0.05, 0.12), help="(default: 0 0.01 0.05 0.12)")
    add("--reader", type=Path, help="safetensors file of a reader (default: the one that ships)")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if arguments.reader is None:
        identifier = shipped("compact").identifier
        assert isinstance(identifier, SpectralIdentifier)
        assert identifier.reader is not None
        reader = identifier.reader
    else:
        reader = SpectrumReader(**NETWORK)
        reader.load_state_dict(load_file(arguments.reader))
    reader.eval()
    for cutoff in arguments.cutoffs:
        for noise in arguments.noise:
            found = compare(reader, arguments.data, cutoff, noise, arguments.images, arguments.side)
            texts = [f"{WAYS[0]} {found[:, 0].mean():.1f}"]
            for way in (1, 2):
                gain = (found[:, way] - found[:, way - 1]).numpy()
                ends = mean_interval(gain, np.arange(len(gain)), np.random.default_rng(0)) if len(gain) > 1 else None
                spread = "" if ends is None or math.isnan(ends.low) else f" [{ends.low:+.1f}, {ends.high:+.1f}]"
                texts.append(f"{WAYS[way]} {found[:, way].mean():.1f} ({gain.mean():+.1f}{spread})")
            print(f"cutoff {cutoff:g}, noise {noise:g}, {len(found)} images, dB: {', '.join(texts)}", flush=True)


if __name__ == "__main__":
    main()
