"""What a person waits for who types `deepblur restore` once: where the seconds of a cold process go.

Claim    One image of 512x512 pixels is restored within 2.5 s of a cold process, pictures included; `deepblur.restore`
         is there within 1.2 s.
Measure  The command in a process of its own, five times, each with a folder of results of its own; the file system's
         cache is warm. Phases are told by the process itself, at the calls that begin and end them; the median of each.
         "imports" is until the command does its work: torch, SciPy, and deepblur's own modules apart.
Cost     half a minute on two quiet cores
Run      python benchmarks/cold_start.py
Outcome  two cores, quiet, 2026-11-30: 3.0 s with pictures, 2.3 s without, and 0.1 s for the process to end; it was 4.7
         s. `deepblur.restore` is there after 1.0 s. So the claim holds for the import, not for the command: torch
         takes 0.8 s, SciPy and our own modules 0.35, identification 0.6 and the deblurring network 0.35, as in a warm
         process; Matplotlib and its two pictures 0.7.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import skimage.data
import tifffile

PHASES = """
import sys, time
began = float(sys.argv.pop(1))
def mark(name):
    print(f"mark {name} {time.time() - began:.3f}", file=sys.stderr)
mark("interpreter")
import torch; mark("import torch")
import scipy.fft; mark("import SciPy")
import deepblur.cli, deepblur.restoration.batch.restore; mark("import deepblur")
import deepblur.restoration.batch.restoring as batch, deepblur.restoration.frame as frame
import deepblur.restoration.session as session
def told(module, name, before, after):
    function = getattr(module, name)
    def wrapped(*given, **named):
        mark(before)
        result = function(*given, **named)
        mark(after)
        return result
    setattr(module, name, wrapped)
told(session, "restore_frame", "model and image", "rim, verdict")
told(frame, "restore_part", "identification", "deblurring")
told(batch, "_write", "image written", "pictures and report")
try:
    deepblur.cli.main()
finally:
    mark("end")
"""


def phases(image: Path, folder: Path, *options: str) -> dict[str, float]:
    """Seconds of each phase of one run, in their order; they sum to the whole."""
    command = [sys.executable, "-c", PHASES, str(time.time()), "restore", str(image), "-o", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, before = {}, 0.0
    for line in done.stderr.splitlines():
        if line.startswith("mark "):
            name, _, at = line.removeprefix("mark ").rpartition(" ")
            found[name] = float(at) - before
            before = float(at)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="deepblur-") as scratch:
        image = Path(scratch) / "camera.tif"
        tifffile.imwrite(image, skimage.data.camera())
        for label, options in {"with pictures": (), "--no-pictures": ("--no-pictures",)}.items():
            found = [phases(image, Path(scratch) / f"{label}{i}", *options) for i in range(runs)]
            whole = statistics.median(sum(run.values()) for run in found)
            print(f"deepblur restore, 512x512, {label}: {whole:.2f} s")
            for name in found[0]:
                print(f"  {name:24}{statistics.median(run[name] for run in found):6.2f}")
        line = "import time; t = time.time(); import deepblur; deepblur.restore; print(time.time() - t)"
        imports = [float(subprocess.check_output([sys.executable, "-c", line], text=True)) for _ in range(runs)]
        print(f"import deepblur, and its restore: {statistics.median(imports):.2f} s")


if __name__ == "__main__":
    main()
