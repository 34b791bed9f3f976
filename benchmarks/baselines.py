"""How well do the blind methods that need no training find a PSF, and in what time?

Settings  aberrated: PSFs of 31×31 pixels, K = 7 (Noll 4–10), γ uniform in ±0.15 waves, f_c = 0.2, noise σ = 0.01;
          motion: smooth random walks within 15×15 pixels, noise σ = 0.005, at which these methods are at home.
          Both: 256×256 valid convolutions of crops of camera, astronaut and coins in turn; psf_size 31. Every method
          sees the same draws.
Measure   Medians over the draws: SNR of the kernel in dB, raw and after the best shift, its normalised
          cross-correlation, PSNR of the restored image in dB (borders of half a PSF cut) and its gain over the blurry
          one, seconds per image. PSNR forgives no shift: a kernel found a pixel aside restores an image a pixel aside,
          which is the rule in the motion setting. `published` is the registered SNR of the authors' own programs, one
          draw per photograph, not our draws (motion: camera alone).
Cost      a minute for the ℓ0-gradient variants; half an hour for all on one thread
Run       python benchmarks/baselines.py --methods l0_gradient        (the beginning of a name selects its variants)
Outcome   Registered SNR of ℓ0-gradient, 24 draws: aberrated 3.6 dB by default, 4.1 with the basic kernel step, 1.9 with
          the noise-aware settings (published, median of three: 2.5, 4.4, 0.7); motion 10.3 by default (9.5). All below
          the mean PSF's 5.2 in the aberrated setting; only the basic step with its small values cut, 6.4, is above.
          0.1 to 0.3 s per image on one thread.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from skimage import color, data
from torch import Tensor
from torch.nn.functional import conv2d, pad

from deepblur.baselines import METHODS, DivergedError, Estimate
from deepblur.baselines.l0_gradient import tv_final
from deepblur.operators import UniformGamma, ZernikeBlur
from deepblur.platform.evaluation.metrics import psf_ncc, psf_snr_db, psnr_db, registered_psf_snr_db

PHOTOGRAPHS = ("camera", "astronaut", "coins")
SIDE, PSF_SIZE = 256, 31
FINAL_WEIGHT = 400.0
PEN_STD_PX = 0.65  # the lens and the pixel: a path has some thickness

VARIANTS: dict[str, Callable[..., Estimate]] = {
    "l0_gradient basic": partial(METHODS["l0_gradient"], kernel_step="basic"),
    "l0_gradient basic, cut at 5 %": partial(METHODS["l0_gradient"], kernel_step="basic", threshold=0.05),
    "l0_gradient noise-aware": partial(METHODS["l0_gradient"], noise_aware=True),
}

PUBLISHED = {  # registered SNR in dB by (setting, σ)
    ("aberrated", 0.01): {
        "l0_gradient": "0.8 2.5 2.9",
        "l0_gradient basic": "4.4 3.0 4.5",
        "l0_gradient noise-aware": "-0.4 0.7 2.5",
        "goldstein_fattal": "-3.7 -0.6 -2.0",
    },
    ("motion", 0.005): {"l0_gradient": "9.5", "goldstein_fattal": "5.5"},
}


class Draw(NamedTuple):
    photograph: str
    sharp: Tensor  # (256, 256)
    blurry: Tensor  # (256, 256)
    psf: Tensor  # (31, 31)


class Score(NamedTuple):
    photograph: str
    raw_db: float
    registered_db: float
    ncc: float
    psnr_db: float
    gain_db: float
    seconds: float


def motion_psf(rng: torch.Generator, size: int = 15) -> Tensor:
    """(size, size), sum 1: the path of a point whose velocity is a smoothed random walk, drawn with a soft pen.

    The path spans 8 to size − 3 pixels on its longer side, centred in the frame; where it is slow, it is bright.
    """
    steps, smooth = 256, 48
    walk = torch.randn(2, 1, steps + smooth, generator=rng, dtype=torch.float64).cumsum(-1)
    velocity = conv2d(walk[:, None], torch.ones(1, 1, 1, smooth, dtype=torch.float64))[:, 0, 0]
    drift = velocity.mean(-1, keepdim=True) * torch.rand(1, generator=rng, dtype=torch.float64)
    path = (velocity - drift).cumsum(-1)
    low, high = path.amin(-1, keepdim=True), path.amax(-1, keepdim=True)
    span = 8 + (size - 11) * float(torch.rand(1, generator=rng))
    path = (path - (low + high) / 2) * span / (high - low).max() + size // 2
    rows, columns = torch.exp(-((torch.arange(size)[:, None] - path[:, None]) ** 2) / (2 * PEN_STD_PX**2))
    psf = rows @ columns.T
    return (psf / psf.sum()).float()


def photograph(name: str) -> Tensor:
    image = getattr(data, name)() / 255
    return torch.from_numpy(color.rgb2gray(image) if image.ndim == 3 else image).float()


def aberrated_psf(rng: torch.Generator) -> Tensor:
    return ZernikeBlur().psf(UniformGamma(0.15, 7).sample(1, rng))[0, 0]


def draws(psf_of: Callable[[torch.Generator], Tensor], count: int, noise_std: float) -> Iterator[Draw]:
    """Draw i depends on i alone."""
    for i in range(count):
        rng = torch.Generator().manual_seed(i)
        name = PHOTOGRAPHS[i % len(PHOTOGRAPHS)]
        scene, psf = photograph(name), psf_of(rng)
        need = SIDE + psf.shape[-1] - 1
        row, column = (int(torch.randint(n - need + 1, (1,), generator=rng)) for n in scene.shape)
        scene = scene[row : row + need, column : column + need]
        blurry = conv2d(scene[None, None], psf.flip(0, 1)[None, None])[0, 0]
        blurry = blurry + noise_std * torch.randn(blurry.shape, generator=rng)
        r, missing = psf.shape[-1] // 2, (PSF_SIZE - psf.shape[-1]) // 2
        yield Draw(name, scene[r : r + SIDE, r : r + SIDE], blurry, pad(psf, (missing,) * 4))


def fixed(psf: Tensor) -> Callable[[Draw], Estimate]:
    return lambda draw: Estimate(image=tv_final(draw.blurry, psf, FINAL_WEIGHT), psf=psf)


def trivial(psf_of: Callable[[torch.Generator], Tensor]) -> dict[str, Callable[[Draw], Estimate]]:
    """Kernels that no method should fall behind, and the true one; each with TV."""
    rng = torch.Generator().manual_seed(10**6)
    mean = torch.stack([psf_of(rng) for _ in range(500)]).mean(0)
    missing = (PSF_SIZE - mean.shape[-1]) // 2
    return {
        "flat kernel": fixed(torch.full((PSF_SIZE, PSF_SIZE), PSF_SIZE**-2.0)),
        "unaberrated PSF": fixed(ZernikeBlur().psf(torch.zeros(1, 7))[0, 0]),
        "mean PSF of the setting": fixed(pad(mean, (missing,) * 4)),
        "true PSF": lambda draw: Estimate(image=tv_final(draw.blurry, draw.psf, FINAL_WEIGHT), psf=draw.psf),
    }


def score(draw: Draw, method: Callable[[Draw], Estimate]) -> Score | None:
    start = time.perf_counter()
    try:
        estimate = method(draw)
    except DivergedError:
        return None
    seconds = time.perf_counter() - start
    assert estimate.psf is not None
    psf, true = estimate.psf[None, None], draw.psf[None, None]
    blurry, restored, sharp = (image[None, None] for image in (draw.blurry, estimate.image, draw.sharp))
    psnr = psnr_db(restored, sharp, PSF_SIZE // 2).item()
    gain = psnr - psnr_db(blurry, sharp, PSF_SIZE // 2).item()
    raw, registered, ncc = (metric(psf, true).item() for metric in (psf_snr_db, registered_psf_snr_db, psf_ncc))
    return Score(draw.photograph, raw, registered, ncc, psnr, gain, seconds)


def row(name: str, scores: list[Score | None], published: str) -> str:
    good = [s for s in scores if s is not None]
    if not good:
        return f"{name:32} diverged on every draw"
    raw, registered, ncc, psnr, gain, seconds = np.median([s[1:] for s in good], axis=0)
    names = [p for p in PHOTOGRAPHS if any(s.photograph == p for s in good)]
    each = " ".join(f"{np.median([s.registered_db for s in good if s.photograph == p]):.1f}" for p in names)
    line = f"{name:32}{raw:7.2f}{registered:8.2f}{ncc:5.2f}{psnr:7.2f}{gain:+7.2f}{seconds:8.2f}   {each:17}{published}"
    return line + (f"   {len(scores) - len(good)} diverged" if len(good) < len(scores) else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="", help="comma-separated beginnings of names; all by default")
    parser.add_argument("--settings", default="aberrated,motion")
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--sigma", type=float, default=0.01, help="noise of the aberrated setting")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    wanted = tuple(options.methods.split(","))
    methods = {name: method for name, method in sorted((METHODS | VARIANTS).items()) if name.startswith(wanted)}
    if not methods:
        parser.error(f"no method begins with {options.methods}; there are {', '.join(sorted(METHODS | VARIANTS))}")
    settings = {"aberrated": (aberrated_psf, options.sigma), "motion": (motion_psf, 0.005)}
    for setting in options.settings.split(","):
        psf_of, noise_std = settings[setting]
        published = PUBLISHED.get((setting, noise_std), {})
        cases = list(draws(psf_of, options.draws, noise_std))
        print(f"\n{setting}, σ = {noise_std:g}, {len(cases)} draws, {options.threads} threads; median over draws")
        print(
            f"{'':32}{'raw':>7}{'regist.':>8}{'NCC':>5}{'PSNR':>7}{'gain':>7}{'s':>8}   {'by photograph':16}published"
        )
        rows = trivial(psf_of) | {
            name: lambda draw, method=method: method(draw.blurry, psf_size=PSF_SIZE, seed=0)
            for name, method in methods.items()
        }
        for name, method in rows.items():
            scores = []
            for case in cases:
                scores.append(score(case, method))
                if sys.stderr.isatty():
                    print(f"{len(scores):4} of {len(cases)} ", end="\r", file=sys.stderr, flush=True)
            print(row(name, scores, published.get(name, "")), flush=True)
        print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
