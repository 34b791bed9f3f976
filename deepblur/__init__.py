"""deepblur: blind identification and deblurring of optical images, and the platform that proves which method is better.

One import name for the folders of the project: `deepblur.operators`, `deepblur.nets`, `deepblur.baselines`,
`deepblur.platform` and `deepblur.studies`. Importing this module costs no torch, Ray or MLflow import.
"""

from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_root = Path(__file__).resolve().parent.parent
if (_root / "cluster.yaml").is_file():  # a source tree or its Ray upload; a wheel has the folders inside this package
    __path__.append(str(_root))


def __getattr__(name: str) -> Any:
    """`deepblur.restore`, imported when it is asked for: it needs torch."""
    if name == "restore":
        from deepblur.restoration.api import restore

        return restore
    raise AttributeError(f"module 'deepblur' has no attribute {name!r}")
