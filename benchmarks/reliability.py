"""How often is `residual_of` wrong about a PSF, in both directions?

Settings  PSFs of 31×31 pixels, K = 7 (Noll 4–10), f_c = 0.2, γ uniform in ±η; valid convolutions of one crop of up to
          256×256 pixels of every photograph, white noise of the given σ.
          Right: the true PSF, at η = 0, 0.05, 0.10 and 0.15; also after JPEG compression of quality 90.
          Wrong, at η = 0.15: an error of 0.04 waves in every coefficient (about 7 dB), the PSF of another draw (1 dB),
          no aberration at all; and, of a scene blurred by a linear motion of 9 pixels, the PSF of a draw.
Measure   The whiteness that 95 % of the right PSFs stay below (to be entered in LARGEST_WHITENESS), and the share of
          draws that the built-in thresholds call unexplained: false alarms of the right PSFs, detections of the wrong.
          With --restorers, the largest share of an image's variance that a restoration with the right PSF leaves
          unexplained (to stay below UNEXPLAINED).
Cost      3 min on one thread, three times as much with --restorers
Run       python benchmarks/reliability.py --restorers
Outcome   18 photographs, one crop each, at σ = 0.001, 0.003, 0.01, 0.03, 0.1: 95 % of the right PSFs below 0.146,
          0.131, 0.128, 0.121, 0.089. Called unexplained: right PSFs 6 % on average at every σ and η (η = 0.15 up
          to 11 %; after JPEG 0 to 11 %); motion 100, 94, 83, 61, 28 %; another draw 50, 33, 22, 22, 0 %; off by
          0.04 waves 44, 22, 22, 22, 0 %; no aberration 6, 0, 0, 0, 0 %. --restorers: not run yet.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from deepblur.baselines import RESTORERS
from deepblur.operators import ZernikeBlur
from deepblur.platform.data.sources import Photos, parse_test
from deepblur.platform.data.store import ImageStore, open_store
from deepblur.platform.models.reliability import largest_whiteness, residual_of, witness_whiteness

LENS = ZernikeBlur()
SIDE = 286
ETAS = (0.0, 0.05, 0.10, 0.15)
SIGMAS = (0.001, 0.003, 0.01, 0.03, 0.1)


def scenes(store: ImageStore, draws: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Random crops (1, 1, h, w), `draws` of every photograph."""
    for _ in range(draws):
        for index in range(len(store)):
            image = store.image(index)
            h, w = (min(SIDE, side) for side in image.shape[-2:])
            top, left = (int(torch.randint(n - m + 1, (), generator=rng))
                         for n, m in zip(image.shape[-2:], (h, w), strict=True))  # fmt: skip
            yield image[None, :, top : top + h, left : left + w]


def cases(scene: Tensor, rng: torch.Generator) -> Iterator[tuple[str, Tensor, Tensor, bool]]:
    """(what it is, blurred scene (H, W), PSF to judge, whether to compress)."""
    unit, other = (2 * torch.rand(1, 7, generator=rng) - 1 for _ in range(2))
    error = 0.04 * torch.randn(1, 7, generator=rng)
    psf = {eta: LENS.psf(eta * unit)[0, 0] for eta in ETAS}
    signal = {eta: LENS.forward(scene, eta * unit)[0, 0] for eta in ETAS}
    for eta in ETAS:
        yield f"right, η {eta:g}", signal[eta], psf[eta], False
    yield "right, JPEG 90", signal[0.10], psf[0.10], True
    for name, gamma in {"off by 0.04": 0.15 * unit + error, "another draw": 0.15 * other, "none": 0 * unit}.items():
        yield f"wrong, {name}", signal[0.15], LENS.psf(gamma)[0, 0], False
    line = torch.zeros(31, 31)
    line[15, 11:20] = 1 / 9
    moved = torch.nn.functional.conv2d(scene, line[None, None])[0, 0]
    yield "wrong, motion", moved, LENS.psf(0.15 * other)[0, 0], False


def compressed(y: Tensor, quality: int = 90) -> Tensor:
    file = io.BytesIO()
    Image.fromarray((255 * y.clamp(0, 1)).round().byte().numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file)) / 255.0).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="photographs to take, as of --test of a study (default: all that ship)")
    parser.add_argument("--draws", type=int, default=1, help="crops per photograph")
    parser.add_argument("--sigma", default=",".join(map(str, SIGMAS)), help="noise levels")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/deepblur-benchmark"), help="folder of decoded images")
    parser.add_argument("--csv", type=Path, help="where every draw is written")
    parser.add_argument("--restorers", action="store_true", help="also judge restorations with the right PSF")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photos = tuple(Photos(part) for part in ("train", "validation", "test"))
    store = open_store(parse_test(arguments.data) if arguments.data else photos, arguments.cache)
    rng = torch.Generator().manual_seed(0)
    rows = []
    for scene in scenes(store, arguments.draws, rng):
        for name, signal, psf, compress in cases(scene, rng):
            white = torch.randn(signal.shape, generator=rng)
            for sigma in map(float, arguments.sigma.split(",")):
                y = signal + sigma * white
                y = compressed(y) if compress else y
                rows.append({"case": name, "sigma": sigma, **witness_whiteness(y, psf)})
                if arguments.restorers and name == f"right, η {ETAS[-1]:g}":
                    rows[-1] |= {
                        n: residual_of(y, restore(y, psf), psf).unexplained for n, restore in RESTORERS.items()
                    }
    table = pd.DataFrame(rows)
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
    table["alarm"] = table["whiteness"] > table["noise_std"].map(largest_whiteness)
    right = table[table["case"].str.startswith("right, η")]
    print("whiteness that 95 % of the right PSFs stay below")
    print(right.groupby("sigma")["whiteness"].quantile(0.95).round(4).to_string())
    print("share called unexplained (%)")
    shares = 100 * table.pivot_table("alarm", "case", "sigma", sort=False)
    print(shares.round(0).astype(int).to_string())
    if arguments.restorers:
        print("largest share of the variance left unexplained with the right PSF (%)")
        print((100 * table.groupby("sigma")[list(RESTORERS)].max()).round(2).to_string())


if __name__ == "__main__":
    main()
