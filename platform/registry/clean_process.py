"""Whether a registered version works where only MLflow is known: loaded as a stranger would, in a process of its own.

This file is that process too: run as a script it loads a version through MLflow, restores the version's input example
and leaves example and results in a file. It gets a copy of the version and neither the registry nor the user's secrets.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepblur.platform.models.model import BlindModel

LIMIT_S = 300
TOLERANCE = 1e-3
"""Largest difference between the two processes, of images in [0, 1], PSFs of sum 1 and γ in waves: the threads may
differ, and with them the last bits of every sum."""


def works_in_a_clean_process(version: Path, model: "BlindModel") -> str:
    """What goes wrong when a version is loaded afresh; "" if it restores its input example as `model` does.

    Args:
        version: folder of its MLflow model, whose code is run: see `packed_code.copy_of`.
        model: the same version as it was loaded here.
    """
    from deepblur.platform.system import (
        child,  # not where this file is the process: it is to import the version's deepblur
    )

    with tempfile.TemporaryDirectory(prefix="deepblur-") as scratch:
        results = Path(scratch) / "results.npz"
        environment = child.environment()
        for name in ("PYTHONPATH", "PYTHONHOME"):
            environment.pop(name, None)
        environment |= {
            "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }
        # -P: not the folder of this file, where modules have the names of Python's own
        command = [sys.executable, "-P", str(Path(__file__).resolve()), str(version), str(results)]
        try:
            done = subprocess.run(
                command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"in a clean process it does not load within {LIMIT_S} s"
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            return f"in a clean process it does not load ({said})"
        return _differences(results, model)


def _differences(results: Path, model: "BlindModel") -> str:
    import numpy as np
    import torch

    with np.load(results, allow_pickle=False) as there:
        here = model.restore(torch.from_numpy(there["example"]))
        for name in ("image", "gamma", "psf"):
            mine = getattr(here, name).numpy()
            if mine.shape != there[name].shape:
                return f"in a clean process its {name} has shape {there[name].shape} and here {mine.shape}"
            difference = float(np.abs(mine - there[name]).max())
            if not difference <= TOLERANCE:
                return f"in a clean process its {name} differs by {difference:.2g} from what it gives here"
    return ""


def main(version: str, results: str) -> None:
    import logging

    import mlflow
    import numpy as np

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    model = mlflow.pyfunc.load_model(version)
    example = model.input_example
    if example is None:
        raise SystemExit("it was registered without an input example")
    np.savez(results, example=example, **model.predict(example))


if __name__ == "__main__":
    main(*sys.argv[1:])
