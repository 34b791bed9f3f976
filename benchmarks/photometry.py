"""Does restored light stay what it was? `python benchmarks/photometry.py` prints a table in some minutes.

Two made-up fields through a lens with seven aberrations, recorded by a camera with shot noise, a read noise of 2 and a
black level, restored blindly with `compact` and each restorer:

- filaments, 3,000 electrons, black at 100: the share of the pixels more than five deviations of the read noise below
  black, and the light of the whole field over the true one;
- 36 points over two decades of flux on a dim sky, 20,000 electrons, black at 300: the flux within 12 pixels, the sky of
  a ring about it subtracted, over the true one: median, the 16 and 84 % quantiles, and its correlation with log flux.
"""

import argparse

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

import deepblur
from deepblur.operators import ZernikeBlur
from deepblur.restoration.engines import removal

LENS = ZernikeBlur(cutoff=0.2)
EDGE = LENS.psf_size // 2
FILAMENTS = (0.0, 0.09, -0.07, 0.09, -0.04, -0.015, 0.066)
POINTS = (0.05, -0.04, 0.03, 0.06, -0.05, 0.02, 0.04)
READ = 2.0
RESTORERS = ("deblur", "tv", "wiener", "richardson-lucy")


def filaments(side: int, seed: int) -> np.ndarray:
    """Random walks that keep their direction, in [0, 1.5]."""
    rng = np.random.default_rng(seed)
    scene = np.zeros((side, side))
    for _ in range(60 * side**2 // 158**2):
        x, y, angle = *rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        for _ in range(60):
            x, y, angle = x + np.cos(angle), y + np.sin(angle), angle + rng.normal(0, 0.08)
            if 0 <= x < side and 0 <= y < side:
                scene[int(y), int(x)] += 0.3
    return np.clip(2.5 * gaussian_filter(scene, 0.7), 0, 1.5)


def points(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scene, places (36, 2), fluxes (36,))."""
    rng = np.random.default_rng(seed)
    grid = 40 + 41 * np.stack(np.meshgrid(range(6), range(6), indexing="ij"), -1).reshape(-1, 2)
    places, fluxes = grid + rng.integers(-8, 8, grid.shape), 10 ** rng.uniform(-0.7, 1, len(grid))
    scene = np.full((286, 286), 0.02)
    scene[tuple(places.T)] += fluxes
    return scene, places, fluxes


def recorded(scene: np.ndarray, gamma: tuple[float, ...], electrons: float, black: float, seed: int = 0) -> np.ndarray:
    """What the camera stores, float32."""
    rng = np.random.default_rng(seed)
    blurred = LENS.forward(torch.from_numpy(scene)[None, None], torch.tensor([gamma]).double())[0, 0].numpy().clip(0)
    return np.rint(rng.poisson(blurred * electrons) + rng.normal(0, READ, blurred.shape) + black).astype(np.float32)


def fluxes_of(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    found = []
    for row, column in places - EDGE:
        distance = np.hypot(rows - row, columns - column)
        inside, ring = distance < 12, (distance > 14) & (distance < 19)
        found.append(image[inside].sum() - np.median(image[ring]) * inside.sum())
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Does restored light stay what it was?")
    parser.add_argument("--bare", action="store_true", help="without the iterations that keep the light")
    if parser.parse_args().bare:
        removal.STEPS = 0
    scene = filaments(222, 0)
    image = recorded(scene, FILAMENTS, 3000, 100)
    inside = (slice(20, -20), slice(20, -20))
    true = 3000 * scene[EDGE:-EDGE, EDGE:-EDGE][inside].mean()
    field, places, fluxes = points(3)
    sky = recorded(field, POINTS, 20000, 300)
    print("restorer          below black   light   flux of points  16-84 %        with log flux")
    for restorer in RESTORERS:
        made = deepblur.restore(image, model="compact", restorer=restorer, cutoff=0.2).image[inside]
        share = (made < 100 - 5 * READ).mean()
        stars = deepblur.restore(sky, model="compact", restorer=restorer, cutoff=0.2).image
        ratio = fluxes_of(stars.astype(float), places) / (20000 * fluxes)
        low, high = np.quantile(ratio, [0.16, 0.84])
        correlation = np.corrcoef(np.log(fluxes), ratio)[0, 1]
        print(
            f"{restorer:16} {100 * share:9.1f} %   {(made.mean() - 100) / true:.3f}   {np.median(ratio):.3f}"
            f"           {low:.3f}..{high:.3f}   {correlation:+.2f}", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
