"""Do a thousand images restore as one does, whoever carries it out and whoever dies?

Settings  IMAGES images of 128 × 128 pixels, cut out of the photographs of the installed packages, blurred by a lens of
          K = 7 aberrations; `deepblur restore` as typed: one worker, two, and a Ray cluster of two nodes on this
          machine, of one core each. Once more with two workers and on the cluster, where a process at work is killed
          after a quarter, then the command after a half, and the same command is typed again.
Measure   Seconds and images a second; whether all files are those of one worker to the bit (but the seconds in the
          reports); what standard error says of the death; how many images the second command found done.
Cost      three seconds of one core an image
Run       python benchmarks/many_images.py
Outcome   200 images, two cores, 2026-11-30: one worker, which has both, 3.35 images/s, two 4.10, two nodes 4.97. Of
          1,000 files none differs, undisturbed or killed; each death was said once, and the second command found 100
          images done.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import tifffile
import torch
from read_cutoff import cut, scenes

from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur
from deepblur.platform.cluster.address import private_cluster

SIDE = 128
OPTIONS = ("--method", "spectral", "--cutoff", "0.2", "--restorer", "wiener", "--no-pictures", "--json")
AT_WORK = ("restoration.batch.worker", "ray::on_node")


def write_images(folder: Path, count: int) -> None:
    lens, rng = ZernikeBlur(cutoff=0.2), torch.Generator().manual_seed(0)
    side = SIDE + lens.psf_size - 1
    photos = scenes(None, side)
    folder.mkdir()
    for k in range(count):
        photo = photos[k % len(photos)]
        x = cut(photo, side, rng)
        y = PoissonGaussian(0.0, 0.005)(lens.forward(x, UniformGamma(0.1, 7).sample(1, rng)), rng)
        tifffile.imwrite(folder / f"{k:04}.tif", y[0, 0].numpy())


def command(home: Path, out: str, *more: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "deepblur.cli", "restore", "images", "-o", out, *OPTIONS, *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(line, cwd=home, text=True, **pipes)  # type: ignore[call-overload]


def done(home: Path, out: str) -> int:
    return len(list((home / out).glob("*_report.json")))


def timed(home: Path, out: str, images: int, *more: str) -> str:
    start = time.perf_counter()
    process = command(home, out, *more)
    process.communicate()
    seconds = time.perf_counter() - start
    return f"exit code {process.returncode}, {seconds:.0f} s, {images / seconds:.2f} images/s"


def struck(home: Path, out: str, images: int, *more: str) -> str:
    """A process at work is killed, then the command; the same is typed again."""
    process = command(home, out, *more)
    while done(home, out) < images // 4:
        time.sleep(0.05)
    victim = next(
        one for one in psutil.process_iter(["cmdline"]) if any(word in str(one.info["cmdline"]) for word in AT_WORK)
    )
    victim.kill()
    while done(home, out) < images // 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[1]
    time.sleep(10)  # its workers see that it is gone
    again = command(home, out, *more)
    entries = json.loads(again.communicate()[0])["images"]
    kept = sum(entry["status"] == "kept" for entry in entries)
    return f"of the death was said {said.count('tried once more')} time; then {kept} of {len(entries)} were kept"


def same(one: Path, other: Path) -> str:
    names = {file.name for file in one.iterdir()} | {file.name for file in other.iterdir()}
    pixels = [name for name in names if not name.endswith("_report.json")]
    differ = [n for n in pixels if not (other / n).is_file() or (one / n).read_bytes() != (other / n).read_bytes()]
    return f"{len(names)} files, {len(differ)} differ"


@contextlib.contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a cluster."""
    from deepblur.platform.cluster.connection import set_for_ray

    set_for_ray(private_cluster() | {"RAY_USAGE_STATS_ENABLED": "0"})
    from ray.cluster_utils import Cluster

    cluster = Cluster(head_node_args={"num_cpus": 0, "include_dashboard": False}, initialize_head=True)
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="(default: 200)")
    images = parser.parse_args().images
    os.environ.pop("OMP_NUM_THREADS", None)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_images(home / "images", images)
        print(f"one worker: {timed(home, 'one', images)}", flush=True)
        compare(home, "two workers", images, "--workers", "2")
        with two_nodes() as address:
            compare(home, "two nodes", images, "--ray", address)


def compare(home: Path, name: str, images: int, *more: str) -> None:
    print(f"{name}: {timed(home, name, images, *more)}; {same(home / 'one', home / name)}", flush=True)
    killed = f"{name}, killed"
    print(f"{killed}: {struck(home, killed, images, *more)}; {same(home / 'one', home / killed)}", flush=True)


if __name__ == "__main__":
    main()
