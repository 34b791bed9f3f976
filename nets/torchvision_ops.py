"""Makes `import torchvision` work beside a CPU-only torch; import this module first.

The torchvision wheel's compiled operators are linked against CUDA and do not load beside a CPU build of torch; its
Python parts (models, transforms, datasets) need none of them, yet registering shape rules for two operators that were
never declared ends the import with "operator torchvision::nms does not exist". Declaring the two schemas first is
enough. Where the compiled operators load, they declare themselves and this module does nothing.
"""

import importlib.util
from pathlib import Path

import torch

_MISSING = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _compiled_operators_load() -> bool:
    """Whether torchvision's own library is usable; loading it here declares its operators, and once is enough."""
    spec = importlib.util.find_spec("torchvision")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for library in (
        file for folder in folders for file in Path(folder).glob("_C*.*") if file.suffix in {".so", ".pyd"}
    ):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    return False


def declare_missing_operators() -> tuple[str, ...]:
    """Declares the operators that `import torchvision` needs and that nobody has declared; returns their names."""
    if _compiled_operators_load():
        return ()
    missing = tuple(name for name in _MISSING if not hasattr(torch.ops.torchvision, name))
    for name in missing:
        torch.library.define(f"torchvision::{name}", _SCHEMA)
    return missing


declare_missing_operators()
