"""What is a PSF worth by where its cutoff comes from: told, stated by the file, or read from the image?

Settings  PSFs of K = 7 (Noll 4–10), γ uniform in ±0.15 waves; photographs of the installed packages, 192 × 192
          pixels of them, blurred, above a cutoff of 0.25 on pixels of half the side as in `coarse_pixels.py`; white
          noise of the given σ. The model that ships with deepblur, as `deepblur identify` applies it: with the cutoff
          told, with NA, wavelength and pixel in the file, and with nothing.
Measure   Mean SNR of the PSF in dB, a turn by 180° allowed, against the true one of the true cutoff, with the 10th and
          90th percentile; how often the verdict is good, doubtful, poor; how often a cutoff was read.
Cost      ten minutes of one core
Run       python benchmarks/whose_cutoff.py
Outcome   from the file as told, to the digit; untold up to 9 dB less and never good: docs/results.md
"""

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from coarse_pixels import ETA, recorded
from read_cutoff import cut, scenes
from torch import Tensor
from torch.nn.functional import pad

from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur
from deepblur.operators.pupil import NYQUIST, psf_px
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.restoration.blurs import JudgedBlur
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.images.io import recording_of
from deepblur.restoration.options import EngineChoice, Options
from deepblur.restoration.session import Session

SIDE, WAVELENGTH_NM, PIXEL_NM = 192, 520.0, 65.0
WAYS = ("told", "file", "image")


def blurry(image: np.ndarray, family: ZernikeBlur, gamma: Tensor, noise: float, seed: int) -> Tensor:
    """(SIDE, SIDE)"""
    if family.coarse:
        return recorded(image, family, gamma, noise, SIDE, seed)
    rng = torch.Generator().manual_seed(seed)
    x = cut(image, SIDE + family.psf_size - 1, rng)
    return PoissonGaussian(0.0, noise)(family.forward(x, gamma), rng)[0, 0]


def identified(y: Tensor, cutoff: float, way: str) -> tuple[JudgedBlur, str]:
    """The blur, and whose word its cutoff was in the end."""
    choice = EngineChoice(method="deep-blur", model="compact", cutoff=cutoff if way == "told" else None)
    recording = recording_of(y.numpy())
    if way == "file":
        na = cutoff * WAVELENGTH_NM / PIXEL_NM
        recording = replace(recording, na=na, emission_nm=(WAVELENGTH_NM,), pixel_um=PIXEL_NM / 1000)
    engine, _ = choose_engine(choice)
    session = Session.of(engine, choice, recording, Options(scale="range:0,1"), Path(tempfile.gettempdir()))
    ((blur,),) = session.identified()
    return blur, session.engine.described()["optics"]["known"][0]["cutoff"]["from"]


def snr_db(found: Tensor, true: Tensor) -> float:
    side = max(found.shape[-1], true.shape[-1])
    one, other = (pad(psf[None, None], ((side - psf.shape[-1]) // 2,) * 4) for psf in (found, true))
    return max(float(psf_snr_db(turned, other)) for turned in (one, one.flip(-2, -1)))


def rows(images: list[np.ndarray], cutoff: float, noise: float, draws: int) -> Iterator[dict[str, object]]:
    family = ZernikeBlur(cutoff=cutoff, psf_size=psf_px(cutoff))
    gammas = UniformGamma(ETA, family.num_parameters).sample(draws, torch.Generator().manual_seed(1))
    psfs = family.psf(gammas)[:, 0]
    for draw in range(draws):
        y = blurry(images[draw % len(images)], family, gammas[draw : draw + 1], noise, 1000 + draw)
        for way in WAYS:
            blur, origin = identified(y, cutoff, way)
            yield {"way": way, "db": snr_db(blur.found.psf, psfs[draw]), "verdict": blur.verdict, "from": origin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, help="folder of sharp images (default: the photographs of the installed packages)")
    add("--draws", type=int, default=24, help="for each cutoff and noise (default: 24)")
    add("--cutoffs", type=float, nargs="+", default=(0.1, 0.15, 0.2, 0.25, 0.3, 0.4), help="(default: 0.1 to 0.4)")
    add("--noise", type=float, nargs="+", default=(0.0, 0.01), help="(default: 0 0.01)")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    images = scenes(arguments.data, SIDE + 60, reduce=1)
    fine = [image for image in images if min(image.shape) >= 2 * SIDE + 50]
    print(f"{len(images)} images, {len(fine)} of them for coarse pixels\n", flush=True)
    print(
        "| cutoff | noise | whose | PSF SNR (dB) | good, doubtful, poor | read |\n|---|---|---|---|---|---|", flush=True
    )
    for cutoff in arguments.cutoffs:
        for noise in arguments.noise:
            table = list(rows(fine if cutoff > NYQUIST else images, cutoff, noise, arguments.draws))
            for way in WAYS:
                mine = [row for row in table if row["way"] == way]
                db, verdicts = np.array([row["db"] for row in mine]), Counter(row["verdict"] for row in mine)
                read = sum(row["from"] == "image" for row in mine)
                print(
                    f"| {cutoff:g} | {noise:g} | {way} | {db.mean():.1f} [{np.quantile(db, 0.1):.1f}, "
                    f"{np.quantile(db, 0.9):.1f}] | {', '.join(str(verdicts[v]) for v in ('good', 'doubtful', 'poor'))}"
                    f" | {read if way == 'image' else ''} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
