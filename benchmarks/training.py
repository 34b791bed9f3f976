"""What a training step costs, where its time goes, and what more workers and more machines would give.

Claim    Drawing the data takes at most a tenth of a step; two workers train as many images a second as two threads of
         one; on a GPU the networks reach 35 % of the rate of its matrix product in bfloat16.
Measure  images/s: the median step of the trainer that studies use, data drawn in the step. drawing: its share of that
         time. rate: operations of forward and backward (three times the forward, in the networks alone) a second,
         beside that of a product of two matrices in the same precision on the same device. deepinv's unfolded
         Douglas-Rachford, of the same widths, takes the same batches, loss and optimiser. Workers are processes with
         DistributedDataParallel that share the batch and the threads.
Cost     4 min on 2 cores
Run      python benchmarks/training.py                  (deepinv's row needs `pip install deepblur[bench]`)
         python benchmarks/training.py --device cuda --batch 64 --crop 128 --precision bfloat16 --workers 1
Outcome  two threads of a CPU, 2026-11-27: IN 67 images/s, DN 1.02, compact's DN 20.1; drawing 0.1 to 3.2 % of a step;
         42 to 69 % of the matrix product. deepinv's step takes 0.63 times ours: on crops of 96 pixels the margin of
         half a PSF makes 1.7 times the pixels. Two workers: compact's DN 109 %, IN 70 % of one with both threads. So
         the first claim holds, the second for DN alone, and the third waits for a GPU.
"""

import argparse
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import skimage
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode

import deepblur.nets.torchvision_ops  # noqa: F401  before deepinv, which imports torchvision
from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.data.image_file import read_grey
from deepblur.platform.data.observations import BLOCK, Batch, draw_batch
from deepblur.platform.data.sources import parse_data
from deepblur.platform.data.store import ImageStore, open_store
from deepblur.platform.system.memory import keep_freed_memory
from deepblur.platform.training.specification import Training
from deepblur.platform.training.tasks import DeblurTask, IdentifyTask, Task
from deepblur.platform.training.trainer import Trainer
from deepblur.studies.ablation_true_vs_est import STUDY
from deepblur.studies.compact import SIZE, TOLD

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRODUCT = {"cpu": 1024, "cuda": 8192}
"""Side of the matrices whose product gives the device's rate."""
BACKWARD = 3  # forward and backward together, in forwards

# What the projection assumes of a cluster; all else in it is counted or measured here.
NODES, GPUS, BATCH_PER_GPU = 8, 8, 64
CHIP_OPS, USED = 989e12, 0.35  # bfloat16 of an H100 without sparsity, and the share that the networks are to reach
NVLINK_BPS, NETWORK_BPS = 450e9, 50e9  # bytes a second and direction: of a GPU to its node, of a node to the others
DECODERS = 64  # cores of a node that decode
COCO_IMAGES, COCO_PX = 118_287, 640 * 480


@dataclass
class Place:
    """What the trainer needs to know of a run; nothing is kept."""

    device: torch.device
    rank: int = 0
    world_size: int = 1


def stages(batch: int, crop_px: int, precision: str) -> dict[str, Training]:
    data = parse_data("photos")
    common = {"data": data, "seed": 0, "operator": "true", "crop_px": crop_px, "in_batch": batch, "dn_batch": batch,
              "precision": precision}  # fmt: skip
    paper = STUDY.arm(**common)
    small = STUDY.arm(**common | {k: v for k, v in {**SIZE, **TOLD}.items() if k not in common})
    assert isinstance(paper, Arm)
    assert isinstance(small, Arm)
    return {"IN, paper's size": paper.identify, "DN, paper's size": paper.deblur, "DN, compact": small.deblur}


def task_of(stage: Training) -> Task:
    return IdentifyTask(stage) if stage.kind == "identify" else DeblurTask(stage, None)  # type: ignore[arg-type]


def step_of(stage: Training, place: Place) -> tuple[Callable[[Batch], object], nn.Module]:
    trainer = Trainer(task_of(stage), stage.optimization, stage.seed, place)  # type: ignore[arg-type]
    return trainer.update, trainer.network


def deepinv_step(stage: Training, device: torch.device) -> Callable[[Batch], object]:
    """The same work with deepinv's network: forward, loss, backward, Adam."""
    from deepinv.models import DRUNet
    from deepinv.optim import DRS, L2, PnP
    from deepinv.physics import BlurFFT

    settings = stage.network
    priors = [
        PnP(denoiser=DRUNet(1, 1, nc=settings["widths"], nb=settings["blocks"], pretrained=None))
        for _ in range(settings["unroll"])
    ]
    network = DRS(
        data_fidelity=L2(),
        prior=priors,
        max_iter=settings["unroll"],
        unfold=True,
        g_first=True,
        stepsize=1 / settings["lam"],
        sigma_denoiser=0.05,
    ).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=stage.optimization.lr)
    precision = PRECISIONS[stage.optimization.precision]

    def step(batch: Batch) -> float:
        # its decomposition takes one filter for the batch; the arithmetic per image is the same
        physics = BlurFFT(img_size=batch.blurry.shape[1:], filter=batch.psf[:1], device=device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = mse_loss(network(batch.blurry, physics).float(), batch.sharp)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def seconds(device: torch.device, call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def product_rate(device: torch.device, precision: str) -> float:
    """Operations a second of a matrix product, the fastest of ten."""
    n = PRODUCT[device.type]
    a, b = torch.rand(2, n, n, device=device, dtype=PRECISIONS[precision])
    return 2 * n**3 / min(seconds(device, lambda: a @ b) for _ in range(10))


def operations(stage: Training, network: nn.Module, batch: Batch) -> float:
    """Of a step, in the network, per image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(batch.blurry) if stage.kind == "identify" else network(
            batch.blurry, batch.gamma, stage.degradation.operator
        )
    return BACKWARD * counter.get_total_flops() / len(batch)


def timed(
    stage: Training, store: ImageStore, place: Place, step: Callable[[Batch], object], steps: int
) -> tuple[float, float]:
    """Median seconds of a step, and of its drawing."""
    blocks = stage.optimization.batch // BLOCK
    mine = range(place.rank * blocks // place.world_size, (place.rank + 1) * blocks // place.world_size)
    whole, drawing = [], []
    for i in range(steps + 1):
        batch: list[Batch] = []
        drawn = seconds(
            place.device,
            lambda i=i, batch=batch: batch.append(
                draw_batch(store, stage.degradation, 0, "train", i, mine, place.device)
            ),
        )
        spent = drawn + seconds(place.device, lambda batch=batch: step(batch[0]))
        if i:  # the first one warms up
            whole.append(spent)
            drawing.append(drawn)
    return statistics.median(whole), statistics.median(drawing)


def worker(rank: int, world: int, port: int, stage: Training, cache: str, threads: int, steps: int) -> None:
    """One of several processes that share a batch; the first one writes what a step took."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(max(1, threads // world))
    keep_freed_memory()
    dist.init_process_group("gloo", rank=rank, world_size=world)
    place = Place(torch.device("cpu"), rank, world)
    store = open_store(stage.train, Path(cache), progress=False)
    whole, _ = timed(stage, store, place, step_of(stage, place)[0], steps)
    if rank == 0:
        Path(cache, "step_s").write_text(str(whole))
    dist.destroy_process_group()


def with_workers(stage: Training, world: int, cache: Path, threads: int, steps: int) -> float:
    """Images a second with so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(worker, (world, port, stage, str(cache), threads, steps), nprocs=world)  # type: ignore[attr-defined]
    return stage.optimization.batch / float((cache / "step_s").read_text())


def decoding_s() -> float:
    """Of one JPEG of COCO's size on one core."""
    file = Path(skimage.data.__file__).with_name("rocket.jpg")
    return statistics.median(seconds(torch.device("cpu"), lambda: read_grey(file)) for _ in range(10))


def project(counted: dict[str, tuple[float, int]]) -> None:
    """Prints what a cluster would give; counted: operations per image at this crop, and parameters, of each network."""
    world, decode = NODES * GPUS, decoding_s()
    cache = COCO_IMAGES * COCO_PX
    print(f"\nProjected to {NODES} nodes of {GPUS} GPUs, {BATCH_PER_GPU} images each, all of COCO:")
    print(f"  decode once per node: {COCO_IMAGES} images x {1e3 * decode:.1f} ms / {DECODERS} cores = "
          f"{COCO_IMAGES * decode / DECODERS:.0f} s")  # fmt: skip
    print(f"  cache, grey bytes: {cache / 1e9:.0f} GB on disk per node and in the memory of every GPU; from one store "
          f"over the network {GPUS * cache / NETWORK_BPS:.0f} s, from the node's own cache less")  # fmt: skip
    for name, (work, parameters) in counted.items():
        compute = BATCH_PER_GPU * work / (USED * CHIP_OPS)
        size = 4 * parameters
        inside, between = (2 * (n - 1) / n * size / bps for n, bps in ((GPUS, NVLINK_BPS), (NODES, NETWORK_BPS)))
        reduce = inside + between  # in the node, then one ring over the nodes
        print(f"  {name}: step {BATCH_PER_GPU} x {work / 1e9:.1f} Gop / ({USED:.0%} of {CHIP_OPS / 1e12:.0f} Top/s) = "
              f"{1e3 * compute:.1f} ms; gradients {size / 1e6:.0f} MB, all-reduced in {1e3 * inside:.1f} + "
              f"{1e3 * between:.1f} ms, hidden behind the backward pass where that is longer; "
              f"{world * BATCH_PER_GPU / max(compute, reduce):,.0f} images/s, bound by "
              f"{'computing' if compute > reduce else 'the network'}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", default="cpu")
    add("--batch", type=int, default=16)
    add("--crop", type=int, default=96, help="side of the crops, in pixels (default: 96)")
    add("--precision", default="float32", choices=PRECISIONS)
    add("--threads", type=int, default=2)
    add("--steps", type=int, default=5, help="timed steps of each row; the median counts (default: 5)")
    add("--workers", type=int, nargs="+", default=[1, 2], help="processes that share a batch (CPU; default: 1 2)")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as every stage
    rate = product_rate(device, options.precision)
    card = torch.cuda.get_device_name() if device.type == "cuda" else f"{options.threads} threads"
    print(f"{card}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}, {options.precision}, batch "
          f"{options.batch} of {options.crop}x{options.crop}; matrix product {rate / 1e12:.2f} Top/s\n")  # fmt: skip
    print(f"{'':34}{'images/s':>9}{'drawing':>9}{'Gop/image':>11}{'of the product':>16}")
    with tempfile.TemporaryDirectory(prefix="deepblur-") as cache:
        counted: dict[str, tuple[float, int]] = {}
        wanted = stages(options.batch, options.crop, options.precision)
        for name, stage in wanted.items():
            store = open_store(stage.train, Path(cache), progress=False).to(device)
            place = Place(device)
            step, network = step_of(stage, place)
            batch = draw_batch(store, stage.degradation, 0, "train", 0, range(1), device)
            work = operations(stage, network, batch)
            whole, drawing = timed(stage, store, place, step, options.steps)
            images = options.batch / whole
            counted[name] = work, sum(p.numel() for p in network.parameters())
            print(
                f"{name:34}{images:9.2f}{drawing / whole:9.1%}{work / 1e9:11.1f}{images * work / rate:16.0%}",
                flush=True,
            )
            if name == "DN, paper's size":
                try:
                    theirs, _ = timed(stage, store, place, deepinv_step(stage, device), options.steps)
                except ImportError:
                    print(f"{'deepinv, the same network':34} not installed")
                else:
                    print(f"{'deepinv, the same network':34}{options.batch / theirs:9.2f}   a step takes "
                          f"{theirs / whole:.2f} times ours", flush=True)  # fmt: skip
        if device.type == "cpu":
            print(f"\n{options.threads} threads shared by N workers, images/s, and of one worker with all threads:")
            for name in ("IN, paper's size", "DN, compact"):
                stage = wanted[name]
                found = {
                    n: with_workers(stage, n, Path(cache), options.threads, options.steps) for n in options.workers
                }
                alone = found[min(found)]
                print(
                    f"{name:34}" + "".join(f"  {n}: {v:6.2f} ({v / alone:.0%})" for n, v in found.items()), flush=True
                )
        project(counted)


if __name__ == "__main__":
    main()
