"""What an image costs: identification, restoration, both; the shipped model, the paper's sizes, deepinv.

Claim    On two CPU threads the shipped model does 512² in at most 2.5 s and networks of the paper's size in at most
         6 s; on a GPU 400² takes at most 10 ms and 1 GB, 2048² at most 0.25 s.
Measure  Each row is a process of its own. first: the first call after the model was loaded; warm: the median of the
         later ones; memory: the most beyond what the process held before the first call. GMAC: multiplications of
         the networks. Networks of the paper's size have random weights, which cost what trained ones do. deepinv's
         unfolded Douglas-Rachford has four DRUNets of the same widths and the same data step, on the image as it is,
         taken for periodic; ours extends it by half a PSF. Both bind the PSF in the call.
         Last, what bfloat16 does to a restoration: PSNR on a photograph with its PSF told, in either precision.
Cost     6 min on 2 cores for each side
Run      python benchmarks/inference.py                 (deepinv's rows need `pip install deepblur[bench]`)
         python benchmarks/inference.py --device cuda --sides 400 2048
Outcome  --sides 512, two threads of a CPU with bfloat16 units, 2026-11-27: compact identifies and restores in 2.48 s
         (first call 2.75), of which 1.94 are the PSF. Networks of the paper's size take 10.7 s, deepinv's unfolded
         network 10.0 s; ours in channels last 7.8 s, and in bfloat16 as well 1.9 s. A DRUNet takes 2.2 s, deepinv's
         2.1. bfloat16 costs compact 0.02 dB and saves nothing; compiling saves 0.14 s and takes 48. So compact meets
         its bound, the paper's size only in bfloat16. Nothing was run on a GPU. All rows: docs/results.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from skimage import data
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import deepblur.nets.torchvision_ops  # noqa: F401  before deepinv, which imports torchvision
from deepblur.nets import Deblurrer, DRUNet, Identifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.evaluation.metrics import psnr_db
from deepblur.platform.models.model import BlindModel
from deepblur.platform.models.shipped import shipped
from deepblur.platform.system.memory import PeakMemory, keep_freed_memory

WIDTHS, BLOCKS, UNROLL = (32, 64, 128, 256), 4, 4
GAMMA = torch.tensor([[0.06, -0.05, 0.04, 0.08, -0.06, 0.03, -0.04]])
NOISE_STD = 0.02
SHARE_OF_FIRST_S = 3.0  # warm calls are repeated for about this long, three times at least
Call = Callable[[Tensor], Tensor]


def blurry(side: int) -> tuple[Tensor, Tensor]:
    """Observation and truth (1, 1, side, side): a photograph, repeated with turns where it is too small."""
    operator = ZernikeBlur()
    sharp = torch.from_numpy(data.camera() / 255.0).float()[None, None]
    while sharp.shape[-1] < side + operator.psf_size - 1:
        sharp = torch.cat([sharp, sharp.flip(-1)], -1)
        sharp = torch.cat([sharp, sharp.flip(-2)], -2)
    sharp = sharp[..., : side + operator.psf_size - 1, : side + operator.psf_size - 1]
    y = operator.forward(sharp, GAMMA)
    margin = operator.psf_size // 2
    noise = NOISE_STD * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    return y + noise, sharp[..., margin:-margin, margin:-margin]


def compact_blind(device: torch.device) -> Call:
    model = shipped("compact", device=str(device))
    return lambda y: model.restore(y).image


def compact_identify(device: torch.device) -> Call:
    identifier = shipped("compact", device=str(device)).identifier
    assert identifier is not None
    return identifier


def compact_told(device: torch.device) -> Call:
    model, gamma = shipped("compact", device=str(device)), GAMMA.to(device)
    return lambda y: model.restore(y, gamma).image


def compact_bf16(device: torch.device) -> Call:
    return _bf16(compact_told(device), device)


def compact_compiled(device: torch.device) -> Call:
    return torch.compile(compact_told(device))


def paper_blind(device: torch.device) -> Call:
    model = BlindModel(ZernikeBlur(), Identifier(7).eval().to(device), Deblurrer(unroll=UNROLL).eval().to(device), {})
    return lambda y: model.restore(y).image


def paper_told(device: torch.device) -> Call:
    network, gamma = Deblurrer(unroll=UNROLL).eval().to(device), GAMMA.to(device)
    return lambda y: network(y, gamma, ZernikeBlur())


def paper_channels_last(device: torch.device) -> Call:
    network = Deblurrer(unroll=UNROLL).eval().to(device, memory_format=torch.channels_last)
    gamma = GAMMA.to(device)
    return lambda y: network(y, gamma, ZernikeBlur())


def paper_bf16(device: torch.device) -> Call:
    return _bf16(paper_channels_last(device), device)


def paper_drunet(device: torch.device) -> Call:
    return DRUNet(widths=WIDTHS, blocks=BLOCKS).eval().to(device)


def deepinv_unfolded(device: torch.device) -> Call:
    from deepinv.models import DRUNet as Theirs
    from deepinv.optim import DRS, L2, PnP
    from deepinv.physics import BlurFFT

    priors = [PnP(denoiser=Theirs(1, 1, nc=WIDTHS, nb=BLOCKS, pretrained=None)) for _ in range(UNROLL)]
    network = DRS(
        data_fidelity=L2(), prior=priors, max_iter=UNROLL, unfold=True, g_first=True, stepsize=20.0, sigma_denoiser=0.05
    )
    network, gamma = network.eval().to(device), GAMMA.to(device)

    def restore(y: Tensor) -> Tensor:
        psf = ZernikeBlur().psf(gamma)
        return network(y, BlurFFT(img_size=y.shape[1:], filter=psf, device=device))

    return restore


def deepinv_drunet(device: torch.device) -> Call:
    from deepinv.models import DRUNet as Theirs

    network = Theirs(1, 1, nc=WIDTHS, nb=BLOCKS, pretrained=None).eval().to(device)
    return lambda y: network(y, NOISE_STD)


def _bf16(call: Call, device: torch.device) -> Call:
    def reduced(y: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return call(y)

    return reduced


ROWS: dict[str, Callable[[torch.device], Call]] = {
    "compact: identify + restore": compact_blind,
    "compact: identify": compact_identify,
    "compact: restore": compact_told,
    "compact: restore, bfloat16": compact_bf16,
    "compact: restore, compiled": compact_compiled,
    "paper's size: identify + restore": paper_blind,
    "paper's size: restore": paper_told,
    "paper's size: restore, channels last": paper_channels_last,
    "paper's size: restore, channels last, bfloat16": paper_bf16,
    "deepinv: unfolded Douglas-Rachford": deepinv_unfolded,
    "paper's size: one DRUNet": paper_drunet,
    "deepinv: the same DRUNet": deepinv_drunet,
}
BESIDE = {
    "deepinv: unfolded Douglas-Rachford": "paper's size: restore",
    "deepinv: the same DRUNet": "paper's size: one DRUNet",
    "paper's size: restore": "compact: restore",
}
"""Row → the row that its time and operations are divided by."""


@torch.no_grad()  # deepinv's step fails in inference mode
def measure(name: str, side: int, device: torch.device, threads: int) -> dict[str, float]:
    """One row, in this process."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as every command
    torch.manual_seed(0)
    y = blurry(side)[0].to(device)
    call = ROWS[name](device)
    memory = PeakMemory(device)
    first = _seconds(call, y)
    warm: list[float] = []
    while len(warm) < 3 or sum(warm) < SHARE_OF_FIRST_S:
        warm.append(_seconds(call, y))
    found = {"first_s": first, "warm_s": statistics.median(warm), "mb": memory.used_mb(), "gmac": float("nan")}
    if "compiled" not in name:  # the counter does not see through a compiled call
        with FlopCounterMode(display=False) as counter:
            call(y)
        found["gmac"] = counter.get_total_flops() / 2e9
    return found


def _seconds(call: Call, y: Tensor) -> float:
    started = time.perf_counter()
    call(y)
    if y.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


@torch.inference_mode()
def precision(device: torch.device, side: int = 256) -> tuple[float, float, float]:
    """PSNR of the input, and of its restoration by `compact` with the PSF told in float32 and in bfloat16."""
    y, sharp = blurry(side)
    y, sharp = y.to(device), sharp.to(device)
    images = (y, compact_told(device)(y), compact_bf16(device)(y).float())
    blind, single, half = (float(psnr_db(image, sharp, 15)) for image in images)
    return blind, single, half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sides", type=int, nargs="+", default=[256, 512], help="of the images, in pixels (default: 256 512)")
    add("--device", default="cpu")
    add("--threads", type=int, default=2)
    add("--rows", default="", help="only rows whose name contains this")
    add("--row", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.row:
        print(json.dumps(measure(options.row, options.sides[0], device, options.threads)))
        return
    card = torch.cuda.get_device_name() if device.type == "cuda" else f"{options.threads} threads"
    print(f"{card}, {os.cpu_count()} cores, torch {torch.__version__}, load {os.getloadavg()[0]:.1f} at the start")
    for side in options.sides:
        print(f"\n{side}x{side:<43}{'first s':>9}{'warm s':>9}{'MB':>8}{'GMAC':>9}   ratio")
        found: dict[str, dict[str, float]] = {}
        for name in ROWS:
            if options.rows not in name:
                continue
            again = [sys.executable, str(Path(__file__)), "--row", name, "--sides", str(side)]
            again += ["--device", options.device, "--threads", str(options.threads)]
            done = subprocess.run(again, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name:47} failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
                continue
            found[name] = row = json.loads(done.stdout.splitlines()[-1])
            line = f"{name:47}{row['first_s']:9.3f}{row['warm_s']:9.3f}{row['mb']:8.0f}{row['gmac']:9.2f}"
            if (other := found.get(BESIDE.get(name, ""))) is not None:
                line += f"   {row['warm_s'] / other['warm_s']:.2f} times '{BESIDE[name]}'"
                line += f", {row['gmac'] / other['gmac']:.1f} times its operations"
            print(line, flush=True)
    before, single, half = precision(device)
    print(f"\nPSNR of a 256x256 photograph: {before:.2f} dB, restored {single:.3f} in float32, {half:.3f} in bfloat16")


if __name__ == "__main__":
    main()
