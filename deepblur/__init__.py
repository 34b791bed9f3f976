"""deepblur: blind identification and deblurring of optical images, and the platform that proves which method is better.

One import name for the folders of the project: `deepblur.operators`, `deepblur.nets`, `deepblur.baselines`,
`deepblur.platform`, `deepblur.restoration` and `deepblur.studies`. Importing this module costs no torch, Ray or MLflow
import.

In a source tree those folders lie beside this package, and Python finds them there. The links to them in this package
are for editors and type checkers, which read no `__path__`; nothing that runs needs them or goes through them.
"""

from pathlib import Path
from typing import Any

from deepblur._version import __version__ as __version__

_root = Path(__file__).resolve().parent.parent
if (_root / "cluster.yaml").is_file():  # a source tree or its Ray upload; a wheel has the folders inside this package
    __path__.insert(0, str(_root))  # before the links, so that every module has one file, with or without them


def __getattr__(name: str) -> Any:
    """`deepblur.restore`, imported when it is asked for: it needs torch."""
    if name == "restore":
        from deepblur.platform.system.imports import unobserved

        with unobserved():
            from deepblur.restoration.restore import restore
        return restore
    raise AttributeError(f"module 'deepblur' has no attribute {name!r}")
