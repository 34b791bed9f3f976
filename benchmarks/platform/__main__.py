"""What does the platform cost beside the work that it manages?

Claim    A stage of a minute takes less than 3 % longer on Ray than in a bare PyTorch loop, and less than 5 s besides.
Measure  overhead  one training on one thread, bare, with --local and on Ray, each in a process of its own; all must end
                   with the same weights. The bare loop runs first and last: the two differ by the noise.
         reuse     12 arms that differ in DN only, each as a study by itself and all as one.
         trials    what a trial costs that does nothing: in the search loop, and on Ray Tune, two at a time.
         mlflow    8 processes that write at once, to a server and to a sqlite file, as `tracking/tracker.py` does it
                   and one call a point. Every point is counted afterwards.
         memory    a driver that goes on with a search of 1,000 trials.
Cost     10 min on two quiet cores; on busy ones the ratios of `overhead` mean nothing
Run      python benchmarks/platform                  (the folder: a file platform.py would hide Python's own module)
         python benchmarks/platform --only overhead,mlflow --quick
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from memory import memory
from overhead import overhead
from records import records
from reuse import reuse
from trials import trials

SECTIONS = {"overhead": overhead, "reuse": reuse, "trials": trials, "mlflow": records, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/platform", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between (default: all)")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    options = parser.parse_args()
    chosen = options.only.split(",")
    for name in chosen:
        if name not in SECTIONS:
            parser.error(f"--only takes {', '.join(SECTIONS)}; got {name}")
    with tempfile.TemporaryDirectory(prefix="dbp", ignore_cleanup_errors=True) as folder:
        # a Ray cluster of its own, whatever else runs here; its socket paths must stay short
        os.environ |= {"RAY_ADDRESS": "local", "RAY_TMPDIR": f"{folder}/r",
                       "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}  # fmt: skip
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        for name in chosen:
            place = Path(folder) / name
            place.mkdir()
            start = time.time()
            print(f"\n{name}")
            for line in SECTIONS[name](place, options.quick):
                print(f"  {line}", flush=True)
            print(f"  {time.time() - start:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
