"""What to train with on a GPU that was just lent: batch, precision and compilation, before any minute is spent.

Claim    bfloat16 on channels_last weights trains more images a second than float32 and TF32 at every batch size.
Measure  50 steps of the trainer that studies use, for IN and DN of the paper's size, at each batch size in float32,
         TF32 and bfloat16 (autocast), with and without torch.compile: images/s of the median step, most memory held,
         and operations a second as a share of a matrix product's in bfloat16. Draws are made on the device, in the
         step. What does not fit into the memory is named. The last lines name the fastest of each network.
Cost     2 min on an H100; `--rehearse` takes seconds of a CPU: small sizes, no TF32, the same code
Run      python benchmarks/first_gpu_call.py
         python benchmarks/first_gpu_call.py --rehearse
Outcome  rehearsed on a CPU only: no GPU has been lent since it was written.
"""

import argparse
import os
import tempfile
from itertools import product
from pathlib import Path

import torch
from training import Place, operations, product_rate, stages, step_of, timed

from deepblur.platform.data.observations import draw_batch
from deepblur.platform.data.store import open_store

IN, DN, SMALL = "IN, paper's size", "DN, paper's size", "DN, compact"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--crop", type=int, default=128, help="side of the crops, in pixels (default: 128)")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="also torch.compile")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, small: whether everything runs")
    options = parser.parse_args()
    device = torch.device("cuda")
    if options.rehearse:
        device, options.batches, options.crop, options.steps, options.compile = torch.device("cpu"), [8], 64, 1, False
    elif not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --rehearse runs the same on the CPU")
    card = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    rate = product_rate(device, "bfloat16")
    print(f"{card}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}; matrix product in bfloat16 "
          f"{rate / 1e12:.2f} Top/s\n\n{'':36}{'images/s':>9}{'MiB':>8}{'of the product':>16}")  # fmt: skip
    fastest: dict[str, tuple[float, str]] = {}
    precisions = ("float32", "bfloat16") if options.rehearse else ("float32", "tf32", "bfloat16")
    with tempfile.TemporaryDirectory(prefix="deepblur-") as cache:
        for network, precision, batch, compiled in product(
            (IN, SMALL if options.rehearse else DN),
            precisions,
            options.batches,
            (False, True) if options.compile else (False,),
        ):
            label = f"{network}, {precision}, {batch}{', compiled' * compiled}"
            try:
                images, held_mb, used = _row(
                    network, precision, batch, compiled, options.crop, options.steps, device, Path(cache), rate
                )
            except torch.OutOfMemoryError:
                print(f"{label:40} does not fit into the memory", flush=True)
                continue
            print(f"{label:36}{images:9.1f}{held_mb:8.0f}{used:16.0%}", flush=True)
            fastest[network] = max(fastest.get(network, (0.0, "")), (images, label))
    for images, label in fastest.values():
        print(f"\nfastest: {label}, {images:.1f} images/s", end="")
    print()


def _row(
    network: str, precision: str, batch: int, compiled: bool, crop_px: int, steps: int, device: torch.device,
    cache: Path, rate: float,
) -> tuple[float, float, float]:  # fmt: skip
    """Images a second, MiB, and the share of the matrix product's operations."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    stage = stages(batch, crop_px, "bfloat16" if precision == "bfloat16" else "float32")[network]
    store, place = open_store(stage.train, cache, progress=False).to(device), Place(device)
    step, module = step_of(stage, place)
    work = operations(stage, module, draw_batch(store, stage.degradation, 0, "train", 0, range(1), device))
    if compiled:
        module.compile()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    whole, _ = timed(stage, store, place, step, steps)
    held = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else float("nan")
    return batch / whole, held, batch / whole * work / rate


if __name__ == "__main__":
    main()
