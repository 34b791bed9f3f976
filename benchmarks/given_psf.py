"""What should remove a PSF that is known? `python benchmarks/given_psf.py` prints a table in a few minutes.

Mean gain in PSNR (dB) over the blurry image on four images that scikit-image ships, with the right PSF, at noise of
0.003, 0.01 and 0.03: the network of `compact`, trained for lenses of the cutoff 0.2 with aberrations up to 0.15 waves,
beside the classical restorers.
"""

import argparse

import numpy as np
import torch
from scipy import ndimage
from skimage import color, data, transform
from torch import Tensor

from deepblur.baselines import RESTORERS
from deepblur.operators import EigenPSFBlur, UniformGamma, ZernikeBlur, noise_std_of
from deepblur.operators.pupil import psf_px
from deepblur.platform.evaluation.metrics import psnr_db
from deepblur.platform.models import shipped

NOISES = (0.003, 0.01, 0.03)


def lens(cutoff: float, eta: float, rng: torch.Generator) -> np.ndarray:
    operator = ZernikeBlur(cutoff=cutoff, psf_size=psf_px(cutoff))
    return operator.psf(UniformGamma(eta, 7).sample(1, rng))[0, 0].numpy()


def gauss(sigma: float, side: int) -> np.ndarray:
    point = np.zeros((side, side))
    point[side // 2, side // 2] = 1
    return ndimage.gaussian_filter(point, sigma)


def psfs(rng: torch.Generator) -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[-7:8, -7:8]
    found = {
        "lens, cutoff 0.2, 0 waves": lens(0.2, 0, rng),
        "the same, 0.1 waves": lens(0.2, 0.1, rng),
        "the same, 0.3 waves": lens(0.2, 0.3, rng),
        "lens, cutoff 0.1, 0.1 waves": lens(0.1, 0.1, rng),
        "lens, cutoff 0.25, 0 waves": lens(0.25, 0, rng),
        "confocal, cutoff 0.2": lens(0.2, 0, rng) ** 2,
        "Gaussian, σ 1 px": gauss(1, 15),
        "Gaussian, σ 2 px": gauss(2, 21),
        "disc, radius 4 px": (np.hypot(rows, columns) <= 4).astype(float),
        "motion, 9 px": ((rows == 0) & (abs(columns) <= 4)).astype(float),
    }
    return {name: psf / psf.sum() for name, psf in found.items()}


def scenes() -> list[np.ndarray]:
    cell = transform.resize(data.cell() / 255, (330, 275))
    return [
        data.camera()[60:316, 120:376] / 255,
        cell[20:276, 10:266],
        color.rgb2gray(data.immunohistochemistry())[100:356, 100:356],
        data.coins()[:256, :256] / 255,
    ]


def gains(psf: np.ndarray, noise: float, rng: torch.Generator) -> list[float]:
    """dB of the network, TV, Wiener and Richardson–Lucy."""
    kernel = torch.from_numpy(psf).float()
    energy = kernel.norm()
    blur, gamma = EigenPSFBlur((kernel / energy)[None]), energy.reshape(1, 1)
    network = shipped.shipped(shipped.DEFAULT).deblurrer
    h, w = (side // 2 for side in psf.shape)
    found = []
    for scene in scenes():
        x = torch.from_numpy(scene).float()[None, None]
        y = blur.forward(x, gamma)
        y = y + noise * torch.randn(y.shape, generator=rng)

        def score(image: Tensor, truth: Tensor = x[..., h:-h, w:-w]) -> float:
            return float(psnr_db(image.reshape(truth.shape), truth, h))

        with torch.inference_mode():
            restored = [network(y, gamma, blur, noise_std_of(y)[:, 0])]
        restored += [RESTORERS[name](y[0, 0], kernel) for name in ("tv", "wiener", "richardson_lucy")]
        found.append([score(image) - score(y) for image in restored])
    return np.mean(found, axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    rng = torch.Generator().manual_seed(parser.parse_args().seed)
    print("| PSF | noise | network | TV | Wiener | Richardson–Lucy |\n|---|---|---|---|---|---|")
    for name, psf in psfs(rng).items():
        for noise in NOISES:
            row = (f"{gain:+.1f}".replace("-", "−") for gain in gains(psf, noise, rng))
            print(f"| {name} | {noise} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
