"""Space-varying blur on whole camera fields: time and memory beside deepinv's.

Claim    Forward and adjoint of a product-convolution (I = J = 4) take a sixth of deepinv's best path or less at 256²,
         1024² and 2048², R a tenth at equal residual, and memory grows linearly with the pixels.
Measure  Both libraries hold the same operator (deepinv as 16 filters and 16 maps). Time: the best of several calls that
         take turns. Memory: the most that a process of its own held above what it held after its imports: operator,
         images and work. R by CG: the time until the relative residual is below 1e-3.
Cost     nine minutes, nearly all of them deepinv's R
Run      python benchmarks/space_varying.py            (deepinv's columns need `pip install deepblur[bench]`)
Outcome  2 threads of a quiet machine, 2026-11-26, deepinv 0.5.0's time over ours at 256², 1024², 2048²: forward 12, 30,
         21; adjoint 7.0, 6.5, 6.7; R 9.2, 17, 10.6 (so a tenth is missed at 256²). Ours in ms: forward 0.6, 12, 64;
         adjoint 0.9, 12, 79; R 102, 1913, 14103. MiB at 2048²: 296, 313 and 563 against 427, 422 and 679; from 1024²
         to 2048² they grow by the pixels' 4.0. Preconditioning CG by the mean PSF's circulant saved no time.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

import deepblur.nets.torchvision_ops  # noqa: F401  before deepinv, which imports torchvision
from deepblur.operators import ProductConvolutionBlur, UniformGamma, ZernikeBlur, eigen_psfs

LAM, RESIDUAL = 0.01, 1e-3
TASKS = ("forward", "adjoint", "R")
Call = Callable[[], Tensor]


def problem(side: int) -> tuple[ProductConvolutionBlur, Tensor, Tensor]:
    """(operator, gamma, image): smooth maps around a PSF that is nearly the same everywhere."""
    rng = torch.Generator().manual_seed(0)
    psfs, _ = eigen_psfs(ZernikeBlur().psf(UniformGamma(0.15, 7).sample(100, rng)), 4)
    way = torch.linspace(0, torch.pi, side)
    maps = torch.stack([torch.cos(k * way)[:, None] * torch.cos((k % 2) * way) for k in range(4)])
    gamma = 0.1 * torch.randn(1, 16, generator=rng)
    gamma[0, 0] = 1.0
    image = avg_pool2d(torch.rand(1, 1, side + 4, side + 4, generator=rng), 5, stride=1)  # no optics shows white noise
    return ProductConvolutionBlur(psfs, maps), gamma, image


def data(x: Tensor) -> Tensor:
    """An image on the grid of the data."""
    return x[..., 15:-15, 15:-15].contiguous()


def ours(side: int, task: str) -> Call:
    operator, gamma, x = problem(side)
    if task == "R":
        operator = replace(operator, cg_iterations=100, cg_tolerance=RESIDUAL)
    bound = operator.bind(gamma)
    y, zero = data(x), torch.zeros_like(x)
    return {
        "forward": lambda: bound.forward(x),
        "adjoint": lambda: bound.adjoint(y),
        "R": lambda: bound.regularized_inverse(y, zero, LAM),
    }[task]


def theirs(side: int, task: str) -> Call:
    from deepinv.physics import SpaceVaryingBlur

    operator, gamma, x = problem(side)
    filters = (gamma.reshape(1, 4, 4, 1, 1) * operator.eigen_psfs[:, None]).reshape(1, 1, 16, 31, 31)
    maps = operator.space_maps.repeat(4, 1, 1)[None, None]
    physics = SpaceVaryingBlur(filters, maps, padding="valid", use_fft=True)
    y, zero = data(x), torch.zeros_like(x)
    return {
        "forward": lambda: physics.A(x),
        "adjoint": lambda: physics.A_adjoint(y),
        # its CG compares the squared residual with tol, ours the residual: both stop at 1e-3 of the right side
        "R": lambda: physics.prox_l2(zero, y, 1 / LAM, solver="CG", max_iter=100, tol=RESIDUAL),
    }[task]


LIBRARIES = {"ours": ours, "theirs": theirs}


def residual(side: int, solution: Tensor) -> float:
    """‖Aᵀy − (AᵀA + λ)x‖ / ‖Aᵀy‖."""
    operator, gamma, x = problem(side)
    bound = operator.bind(gamma)
    right = bound.adjoint(data(x))
    return float((right - bound.adjoint(bound.forward(solution)) - LAM * solution).norm() / right.norm())


def best_ms(calls: dict[str, Call], rounds: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """The shortest time of each call, and what it gave."""
    best, results = dict.fromkeys(calls, float("inf")), {}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            results[name] = call()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best, results


def peak_mib(library: str, side: int, task: str) -> float:
    """What operator, images and one call take, beyond what the libraries take."""
    command = [sys.executable, __file__, "--memory-of", library, str(side), task]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def report_memory(library: str, side: int, task: str) -> None:
    from deepblur.platform.system.memory import PeakMemory

    with suppress(ImportError):
        import deepinv  # noqa: F401  so that both begin with the same
    with torch.no_grad():
        LIBRARIES[library](64, task)()  # first use of everything
        meter = PeakMemory(torch.device("cpu"))
        LIBRARIES[library](side, task)()
        print(meter.used_mb() * 1e6 / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 1024, 2048])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        library, side, task = options.memory_of
        return report_memory(library, int(side), task)
    try:
        import deepinv

        peer, libraries = f"deepinv {deepinv.__version__}", ("ours", "theirs")
    except ImportError:
        peer, libraries = "deepinv not installed", ("ours",)
    print(f"torch {torch.__version__}, {peer}, {options.threads} threads, {platform.machine()}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"{'':22}{'ours ms':>9}{'deepinv ms':>12}{'ratio':>7}{'ours MiB':>10}{'deepinv MiB':>13}")
    with torch.no_grad():
        for side in options.sides:
            for task in TASKS:
                calls = {name: LIBRARIES[name](side, task) for name in libraries}
                times, results = best_ms(calls, 1 if task == "R" and side > 256 else 5)
                memory = {name: peak_mib(name, side, task) for name in libraries}
                line = f"{f'{task}, {side}²':22}{times['ours']:9.1f}"
                if "theirs" in libraries:
                    line += f"{times['theirs']:12.1f}{times['theirs'] / times['ours']:7.1f}"
                line += f"{memory['ours']:10.0f}" + (f"{memory['theirs']:13.0f}" if "theirs" in libraries else "")
                if task == "R":
                    reached = ", ".join(f"{residual(side, result):.1e}" for result in results.values())
                    line += f"   residuals {reached}"
                print(line, flush=True)


if __name__ == "__main__":
    main()
