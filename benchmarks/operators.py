"""How fast are the blur operators beside deepinv's?

Claim    On two CPU threads: 16 PSFs in ≤ 2 ms; product-convolution (I = J = 4, batch 2, 256²) forward and adjoint in
         ≤ 1.5 ms each and R by 20 steps of CG in ≤ 45 ms; R in closed form (batch 8, 256²) in ≤ 2 ms.
Measure  Median wall time of five calls in a row. All rows and both libraries take turns, so that a busy machine slows
         them alike; the quietest of many rounds counts. γ is bound beforehand on both sides (deepinv's filters hold
         it), except for the PSFs. The last column is the relative difference of the two libraries' results.
Cost     a minute
Run      python benchmarks/operators.py            (deepinv's column needs `pip install deepblur[bench]`)
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import deepblur.nets.torchvision_ops  # noqa: F401  before deepinv, which imports torchvision
from deepblur.operators import ProductConvolutionBlur, UniformGamma, ZernikeBlur, eigen_psfs

try:
    import deepinv
    from deepinv.physics import BlurFFT, SpaceVaryingBlur
    from deepinv.physics.generator import DiffractionBlurGenerator
except ImportError:
    deepinv = None

LAM = 0.01
Call = Callable[[], Tensor]


@dataclass
class Row:
    """One task, done by both libraries."""

    name: str
    ours: Call
    theirs: Call | None
    goal_ms: float | None
    ours_ms: float = float("inf")
    theirs_ms: float = float("inf")


def psf_rows(rng: torch.Generator) -> list[Row]:
    operator, gamma = ZernikeBlur(), UniformGamma(0.15, 7).sample(16, rng)
    theirs = None
    if deepinv:
        generator = DiffractionBlurGenerator((31, 31), zernike_index=operator.noll, fc=operator.cutoff)
        theirs = lambda: generator.step(16, coeff=gamma)["filter"]  # noqa: E731
    return [Row("16 PSFs of 31x31 from γ", lambda: operator.psf(gamma), theirs, 2.0)]


def closed_form_rows(rng: torch.Generator) -> list[Row]:
    operator, gamma = ZernikeBlur(boundary="circular"), UniformGamma(0.15, 7).sample(8, rng)
    x, u = torch.rand(2, 8, 1, 256, 256, generator=rng)
    bound = operator.bind(gamma)
    y = bound.forward(x)
    step = bound.prox(y, LAM)
    theirs = None
    if deepinv:
        # Its decomposition takes one filter for the batch; the arithmetic per image is the same.
        physics = BlurFFT(img_size=(1, 256, 256), filter=operator.psf(gamma[:1]))
        theirs = lambda: physics.prox_l2(u, y, 1 / LAM)  # noqa: E731
    return [
        Row("R closed form, 8x256², A known", lambda: bound.regularized_inverse(y, u, LAM), theirs, 2.0),
        Row("R closed form, 8x256², A and y known", lambda: step(u), theirs, None),
    ]


def product_convolution_rows(rng: torch.Generator) -> list[Row]:
    psfs, _ = eigen_psfs(ZernikeBlur().psf(UniformGamma(0.15, 7).sample(100, rng)), 4)
    way = torch.linspace(0, torch.pi, 256)
    maps = torch.stack([torch.cos(k * way)[:, None] * torch.cos((3 - k) * way) for k in range(4)])
    operator = ProductConvolutionBlur(psfs, maps, cg_iterations=20, cg_tolerance=0.0)
    gamma = torch.randn(2, 16, generator=rng)
    x, u = torch.rand(2, 2, 1, 256, 256, generator=rng)
    y = operator.forward(x, gamma)
    bound = operator.bind(gamma)
    theirs: list[Call | None] = [None] * 3
    if deepinv:
        filters = (gamma.reshape(2, 4, 4, 1, 1) * psfs[:, None]).reshape(2, 1, 16, 31, 31)
        physics = SpaceVaryingBlur(filters, maps.repeat(4, 1, 1)[None, None], padding="valid", use_fft=True)
        theirs = [
            lambda: physics.A(x),
            lambda: physics.A_adjoint(y),
            lambda: physics.prox_l2(u, y, 1 / LAM, solver="CG", max_iter=20, tol=0.0),
        ]
    shape = "I = J = 4, 2x256²"
    return [
        Row(f"product-convolution forward, {shape}", lambda: bound.forward(x), theirs[0], 1.5),
        Row(f"product-convolution adjoint, {shape}", lambda: bound.adjoint(y), theirs[1], 1.5),
        Row(f"product-convolution R by CG-20, {shape}", lambda: bound.regularized_inverse(y, u, LAM), theirs[2], 45.0),
    ]


def median_ms(call: Call, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def measure(rows: list[Row], rounds: int) -> None:
    for turn in range(rounds):
        for row in rows:
            row.ours_ms = min(row.ours_ms, median_ms(row.ours))
            # A call of hundreds of milliseconds averages over the noise by itself: single calls, in fewer rounds.
            if row.theirs is not None and (row.theirs_ms < 30 or turn < 20):
                row.theirs_ms = min(row.theirs_ms, median_ms(row.theirs, 5 if row.theirs_ms < 30 else 1))


def difference(row: Row) -> float:
    assert row.theirs is not None
    ours, theirs = row.ours(), row.theirs()
    return ((ours - theirs)[:1].norm() / ours[:1].norm()).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        rows = psf_rows(rng) + product_convolution_rows(rng) + closed_form_rows(rng)
        load = os.getloadavg()[0]
        measure(rows, options.rounds)
        peer = f"deepinv {deepinv.__version__}" if deepinv else "deepinv not installed"
        print(f"torch {torch.__version__}, {peer}, {options.threads} threads, {platform.machine()}, load {load:.1f}")
        print(f"{'':54}{'ours ms':>9}{'goal':>7}{'deepinv ms':>12}{'ratio':>8}{'differ':>9}")
        for row in rows:
            goal = "" if row.goal_ms is None else f"{row.goal_ms:g}"
            line = f"{row.name:54}{row.ours_ms:9.2f}{goal:>7}"
            if row.theirs is not None:
                line += f"{row.theirs_ms:12.1f}{row.theirs_ms / row.ours_ms:8.1f}{difference(row):9.0e}"
            print(line + ("" if row.goal_ms is None or row.ours_ms <= row.goal_ms else "   goal missed"))


if __name__ == "__main__":
    main()
