"""How much more does a whole frame tell of its blur than a part of it?

Settings  PSFs of K = 7 (Noll 4–10), γ uniform in ±0.15 waves at a cutoff of 0.2; large scenes, each put together of
          3 × 3 crops of the images of a folder; white noise of the given σ. The model that ships, shown the richest
          part of each blurry image, of so many pixels a side, and the whole.
Measure   Mean SNR of the PSF in dB, of the part and of the whole, and the mean of their paired difference with its 95 %
          interval over scenes.
Cost      two seconds of one core a draw, 64 draws by default
Run       python benchmarks/whole_frame.py --data photographs/val
Outcome   24 scenes: COCO val, σ 0, 0.01, 0.05, 0.12: +0.8, +3.2, +2.0, +1.6 dB for 930×930 pixels instead of 512×512;
          micrographs of unseen sources (--crop 340, 990×990): +0.5, +3.7, +0.8, +0.5. Intervals in docs/results.md.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from deepblur.baselines import SpectralIdentifier
from deepblur.baselines.estimate import richest
from deepblur.operators import PoissonGaussian, UniformGamma
from deepblur.platform.data.sources import Folder
from deepblur.platform.data.store import ImageStore, open_store
from deepblur.platform.evaluation.intervals import mean_interval
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.platform.models.shipped import shipped
from deepblur.platform.system.seeds import generator

ETA, ACROSS = 0.15, 3


def scene(store: ImageStore, crop_px: int, rng: torch.Generator) -> Tensor:
    """(1, 1, 3·crop_px, 3·crop_px)"""
    crops = store.crops(ACROSS**2, (crop_px, crop_px), rng).reshape(ACROSS, ACROSS, crop_px, crop_px)
    return crops.transpose(1, 2).reshape(1, 1, ACROSS * crop_px, ACROSS * crop_px)


@torch.no_grad()
def measure(
    identifier: SpectralIdentifier, store: ImageStore, scenes: int, crop_px: int, part_px: int, sigmas: list[float]
) -> pd.DataFrame:
    """A row per scene and noise: PSF SNR of the part and of the whole, in dB."""
    family, rows = identifier.operator, []
    for number in tqdm(range(scenes), desc="scenes"):
        rng = generator(0, "whole frame", number)
        sharp, gamma = scene(store, crop_px, rng), UniformGamma(ETA, family.num_parameters).sample(1, rng)
        blurry, psf = family.forward(sharp, gamma), family.psf(gamma)
        for sigma in sigmas:
            y = PoissonGaussian(0.0, sigma)(blurry, rng)[0, 0]
            snr = []
            for shown in (richest(y, part_px), y):
                found = identifier.estimate(shown).psf
                assert found is not None
                snr.append(float(psf_snr_db(found[None, None], psf)))
            rows.append([number, sigma, *snr])
    return pd.DataFrame(rows, columns=["scene", "sigma", "part", "whole"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of sharp images")
    add("--scenes", type=int, default=16, help="(default: 16)")
    add("--crop", type=int, default=320, help="side of each of the nine crops in pixels (default: 320)")
    add("--part", type=int, default=512, help="side of the part in pixels (default: 512)")
    add("--sigma", type=float, nargs="+", default=[0.0, 0.01, 0.05, 0.12], help="(default: 0 0.01 0.05 0.12)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    identifier = shipped("compact").identifier
    assert isinstance(identifier, SpectralIdentifier)
    store = open_store((Folder(str(arguments.data)),), Path("runs/cache"))
    found = measure(identifier, store, arguments.scenes, arguments.crop, arguments.part, arguments.sigma)
    side = ACROSS * arguments.crop - identifier.operator.psf_size + 1
    part = f"{arguments.part}×{arguments.part} pixels"
    print(f"| noise | {part} | all {side}×{side} | difference |\n| --- | --- | --- | --- |")
    for sigma, rows in found.groupby("sigma"):
        more = mean_interval(rows["whole"] - rows["part"], rows["scene"], np.random.default_rng(0))
        means = f"{rows['part'].mean():.1f} | {rows['whole'].mean():.1f}"
        print(f"| {sigma:g} | {means} | {more.mean:+.1f} [{more.low:+.1f}, {more.high:+.1f}] |")


if __name__ == "__main__":
    main()
