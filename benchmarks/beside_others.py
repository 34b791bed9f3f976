"""What removes a blur, how well and in what time: ours beside scikit-image, deepinv and the published blind methods.

Claim    With a PSF that is told, the network of `compact` restores better than scikit-image's Richardson–Lucy and
         unsupervised Wiener filter and than deepinv's total variation; blind, `compact` restores better than the
         published methods that need no training.
Measure  The photographs on which no preset trains, at half size, as far as observations of 224x224 pixels fit into
         them; K = 7 aberrations of up to 0.15 waves, two draws each, read noise 0.01; all methods see the same. PSNR
         gain over the blurry image with a border of half a PSF cut, its mean and its least; seconds, the median over
         the draws, and their ratio to ours. What has a strength gets the best of a list on the photographs for
         validation: iterations of scikit-image's Richardson–Lucy, weight of deepinv's total variation; ours follow the
         noise. What takes the image for periodic gets it with a mirrored margin. deepinv's trained networks are
         downloads, which this does not do.
Cost     4 min on 2 cores
Run      python benchmarks/beside_others.py             (deepinv's row needs `pip install deepblur[bench]`)
Outcome  both hold, by two to three decibels and more: docs/performance.md
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import skimage.restoration
import torch
from torch import Tensor

import deepblur.nets.torchvision_ops  # noqa: F401  before deepinv, which imports torchvision
from deepblur.baselines import METHODS, RESTORERS
from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur
from deepblur.platform.data.sources import Photos, Split
from deepblur.platform.evaluation.grid import middle
from deepblur.platform.evaluation.metrics import psnr_db
from deepblur.platform.models.shipped import shipped
from deepblur.platform.system.memory import keep_freed_memory
from deepblur.platform.training.found_psfs import AnyPSF

SIDE, NOISE, ETA = 224, 0.01, 0.15
OPERATOR = ZernikeBlur(noll=(4, 5, 6, 7, 8, 9, 10))
BORDER = OPERATOR.psf_size // 2
ITERATIONS, WEIGHTS = (5, 10, 20, 40), (1e-5, 1e-4, 3e-4, 1e-3, 3e-3)
Restore = Callable[[Tensor, Tensor], Tensor]
"""Image (H, W) and PSF (h, w) → image; a blind method looks at the image alone."""


def draws(split: Split) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Blurry, sharp (H, W) and PSF: the middle of each photograph that is large enough, by two aberrations."""
    need = SIDE + OPERATOR.psf_size - 1
    for position, entry in enumerate(Photos(split).entries()):
        image = torch.from_numpy(entry.load()).float()
        if min(image.shape) < need:
            continue
        for draw in range(2):
            rng = torch.Generator().manual_seed(2 * position + draw)
            gamma = UniformGamma(ETA, OPERATOR.num_parameters).sample(1, rng)
            x = middle(image, need)[None, None]
            y = PoissonGaussian(0.0, NOISE)(OPERATOR.forward(x, gamma), rng)
            yield y[0, 0], x[0, 0, BORDER:-BORDER, BORDER:-BORDER], OPERATOR.psf(gamma)[0, 0]


def gain(restored: Tensor, y: Tensor, x: Tensor) -> float:
    images = (image[None, None].float() for image in (restored, y))
    after, before = (float(psnr_db(image, x[None, None], BORDER)[0]) for image in images)
    return after - before


def best_of(values: tuple[float, ...], method: Callable[[float], Restore]) -> tuple[float, Restore]:
    """The value with the largest mean gain on the photographs to tune on, and the method with it."""
    held = list(draws("validation"))
    found = {value: sum(gain(method(value)(y, psf), y, x) for y, x, psf in held) for value in values}
    best = max(found, key=lambda value: found[value])
    return best, method(best)


def mirrored(restore: Restore) -> Restore:
    """For what takes an image for periodic: a margin of a PSF, mirrored, is cut off again."""
    m = OPERATOR.psf_size

    def padded(y: Tensor, psf: Tensor) -> Tensor:
        wide = torch.nn.functional.pad(y[None, None], (m, m, m, m), mode="reflect")[0, 0]
        return restore(wide, psf)[m:-m, m:-m]

    return padded


def scikit_rl(iterations: float) -> Restore:
    def restore(y: Tensor, psf: Tensor) -> Tensor:
        light = y.clamp_min(0).numpy()
        found = skimage.restoration.richardson_lucy(light, psf.numpy(), num_iter=int(iterations), clip=False)
        return torch.from_numpy(found)

    return mirrored(restore)


def scikit_wiener(y: Tensor, psf: Tensor) -> Tensor:
    restored, _ = skimage.restoration.unsupervised_wiener(y.numpy(), psf.numpy(), clip=False, rng=0)
    return torch.from_numpy(np.ascontiguousarray(restored))


def deepinv_tv(weight: float) -> Restore:
    from deepinv.optim import HQS, L2, TVPrior
    from deepinv.physics import BlurFFT

    def restore(y: Tensor, psf: Tensor) -> Tensor:
        physics = BlurFFT(img_size=(1, *y.shape), filter=psf[None, None])
        solver = HQS(data_fidelity=L2(), prior=TVPrior(n_it_max=20), lambda_reg=weight, stepsize=1.0, max_iter=30)
        with torch.no_grad():
            return solver(y[None, None], physics)[0, 0]

    return mirrored(restore)


def methods() -> dict[str, tuple[str, Restore]]:
    """Name → kind and method; ours first, which the others are held against."""
    model = shipped("compact")

    def compact(y: Tensor, psf: Tensor) -> Tensor:
        return model.restore(y[None, None]).image[0, 0]

    def network(y: Tensor, psf: Tensor) -> Tensor:
        with torch.inference_mode():
            return model.deblurrer(y[None, None], psf.reshape(1, -1), AnyPSF(psf.shape[-1]))[0, 0]

    def blind(name: str) -> Restore:
        def restore(y: Tensor, psf: Tensor) -> Tensor:
            found = METHODS[name](y, psf_size=OPERATOR.psf_size, seed=0)
            return RESTORERS["tv"](y, found.psf)

        return restore

    iterations, rl = best_of(ITERATIONS, scikit_rl)
    found: dict[str, tuple[str, Restore]] = {"compact's network": ("told", network)}
    found |= {
        f"{name.replace('_', ' ')} (ours)": ("told", RESTORERS[name]) for name in ("tv", "wiener", "richardson_lucy")
    }
    found[f"scikit-image Richardson–Lucy, {iterations:.0f} iterations"] = ("told", rl)
    found["scikit-image unsupervised Wiener"] = ("told", mirrored(scikit_wiener))
    try:
        weight, tv = best_of(WEIGHTS, deepinv_tv)
    except ImportError:
        print("deepinv is not installed: pip install deepblur[bench]", flush=True)
    else:
        found[f"deepinv TV (HQS), weight {weight:g}"] = ("told", tv)
    found["compact"] = ("blind", compact)
    found |= {
        f"{name.replace('_', ' ')} + TV": ("blind", blind(name))
        for name in ("spectral", "l0_gradient", "goldstein_fattal")
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    keep_freed_memory()  # as every command
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, scikit-image {skimage.__version__}, load "
          f"{os.getloadavg()[0]:.1f}; {SIDE}x{SIDE} pixels, noise {NOISE}\n")  # fmt: skip
    print(f"{'':48}{'PSNR gain (dB)':>15}{'least':>8}{'seconds':>9}{'ratio':>8}")
    reference: dict[str, float] = {}
    for name, (kind, restore) in methods().items():
        gains, seconds = [], []
        for y, x, psf in draws("test"):
            started = time.perf_counter()
            restored = restore(y, psf)
            seconds.append(time.perf_counter() - started)
            gains.append(gain(restored, y, x))
        took = statistics.median(seconds)
        if kind not in reference:
            print("the PSF is told" if kind == "told" else "blind")
        reference.setdefault(kind, took)
        print(f"  {name:46}{statistics.mean(gains):+15.2f}{min(gains):+8.2f}{took:9.3f}"
              f"{took / reference[kind]:8.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
