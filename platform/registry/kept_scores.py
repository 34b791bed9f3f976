"""Scores on the gate's grid that were measured before: beside the models that ship, and in the registry.

They are known by a hash of the model, the grid and the code that measures; where one of these is another, they are
measured again. `python -m deepblur.platform.registry.kept_scores weights/compact` writes those of a model that ships.
"""

import argparse
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from deepblur.platform.models import shipped
from deepblur.platform.models.model import BlindModel, load_model
from deepblur.platform.registry.gate_grid import CELL, GRID, PAIR, GateGrid, score
from deepblur.platform.stages.identity import code_of

FILE = "gate_scores.json"
_MEASURED = ("psnr_db", "ssim", "psf_snr_db", "blurry_psnr_db", "blurry_ssim")


def key_of(model: BlindModel, grid: GateGrid) -> str:
    """32 hexadecimal digits of all that decides about a model's scores."""
    digest = hashlib.blake2b(digest_size=16)
    code = code_of(("platform/registry/gate_grid", "baselines/spectral_identifier"), ())
    said: list[Any] = [grid.fingerprint(), asdict(model.operator), sorted(code.items())]
    for network in (model.identifier, model.deblurrer):
        if network is not None:
            said += [[name, type(part).__name__, _settings(part)] for name, part in network.named_modules()]
            # weights alone: the last bits of what is computed from settings differ from machine to machine
            for name, value in network.state_dict().items():
                digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps(said, sort_keys=True, default=repr).encode())
    return digest.hexdigest()


def _settings(part: nn.Module) -> dict[str, Any]:
    """Plain values of a module of ours; those of torch's layers follow from them, and are others in another torch."""
    if not type(part).__module__.startswith("deepblur."):
        return {}
    plain, own = (bool, int, float, str, tuple, type(None)), vars(part).items()
    return {name: value for name, value in own if isinstance(value, plain) and name[0] != "_" and name != "training"}


def text_of(key: str, scores: pd.DataFrame) -> str:
    """A file of scores."""
    return json.dumps({"key": key, "scores": scores.to_dict("list")})


def read(text: str, key: str, grid: GateGrid) -> pd.DataFrame | None:
    """The scores of a file; None where they are others than the key says, or no scores of this grid."""
    try:
        found = json.loads(text)
        if found["key"] != key:
            return None
        table = pd.DataFrame(found["scores"])[[*CELL, *PAIR, *_MEASURED]]
        wanted = pd.concat([rows for rows, _ in grid.observations()], ignore_index=True)
        return table.astype(dict.fromkeys(_MEASURED, float)) if table[[*CELL, *PAIR]].equals(wanted) else None
    except (ValueError, KeyError, TypeError, RecursionError):  # damaged, or somebody else's
        return None


def of_shipped(key: str, grid: GateGrid) -> pd.DataFrame | None:
    """The scores that lie beside a shipped model of that key."""
    files = (shipped.folder() / name / FILE for name in shipped.names())
    found = (read(file.read_text(encoding="utf-8"), key, grid) for file in files if file.is_file())
    return next((table for table in found if table is not None), None)


def main() -> None:
    """Measure a shipped model, and keep its scores and its hashes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path, help="folder of a model that ships, weights/NAME; takes a minute")
    folder = parser.parse_args().model
    model = load_model(folder)
    (folder / FILE).write_text(text_of(key_of(model, GRID), score(model, GRID)) + "\n", encoding="utf-8")
    shipped.write_sums(folder)


if __name__ == "__main__":
    main()
