"""What `deepblur restore` costs, from a cold start, and how far its result depends on tiles.

    python benchmarks/restore.py                        # the registry's champion
    python benchmarks/restore.py --model FOLDER

Each image is restored by a process of its own; seconds are wall time from its start to its end, memory is the most that
it held. The seam test restores one image whole and in tiles of several sizes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from skimage import data
from skimage.transform import resize

ROOT = Path(__file__).resolve().parent.parent
MEASURE = """
import sys
from pathlib import Path
from deepblur.cli import main
code = main(sys.argv[1:])
held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(int(held.split()[1]) / 1024, file=sys.stderr)
sys.exit(code)
"""
"""Linux; not by getrusage, whose largest size is also that of the process that started this one."""


def photograph(side: int) -> np.ndarray:
    """(side, side) uint16: a photograph, enlarged so that it is smooth, with a little noise."""
    sharp = resize(data.camera() / 255.0, (side, side), order=1, anti_aliasing=True)
    noisy = sharp + 0.005 * np.random.default_rng(0).standard_normal(sharp.shape)
    return (4095 * noisy.clip(0, 1)).astype(np.uint16)


def run(image: Path, out: Path, options: list[str]) -> tuple[float, float]:
    """(seconds, MiB) of one cold command."""
    command = [sys.executable, "-c", MEASURE, "restore", str(image), "-o", str(out), "--again", *options]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr)
    return seconds, float(done.stderr.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as of deepblur restore (default: the champion, else what ships)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the median counts (default: 3)")
    given = parser.parse_args()
    options = ["--model", given.model] if given.model else []
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {given.repeat} runs each, median")
    with tempfile.TemporaryDirectory() as folder:
        for side, more in ((512, []), (512, ["--no-pictures"]), (2048, []), (2048, ["--max-memory", "1"])):
            image = Path(folder) / f"photo{side}.tif"
            tifffile.imwrite(image, photograph(side))
            runs = [run(image, Path(folder) / "out", [*options, *more]) for _ in range(given.repeat)]
            seconds, peak = (float(np.median(column)) for column in zip(*runs, strict=True))
            print(f"{side}x{side} {' '.join(more):18} {seconds:6.1f} s {peak:7.0f} MiB")
        image = Path(folder) / "seams.tif"
        tifffile.imwrite(image, photograph(900))
        results = {}
        for tile in ("1024", "640", "384", "256"):
            run(image, Path(folder) / tile, [*options, "--tile", tile, "--no-pictures"])
            results[tile] = tifffile.imread(Path(folder) / tile / "seams_restored.tif").astype(float) / 4095
        for tile, result in results.items():
            difference = np.abs(result - results["1024"])
            print(f"tiles of {tile:>4}: differs from the whole by {difference.max():.5f} at most, "
                  f"{np.sqrt((difference**2).mean()):.6f} rms, of white")  # fmt: skip


if __name__ == "__main__":
    main()
