"""deepblur: blind identification and deblurring of optical images, and the platform that proves which method is better.

One import name for the folders of the project: `deepblur.operators`, `deepblur.nets`, `deepblur.baselines`,
`deepblur.platform` and `deepblur.studies`. Importing this module costs no torch, Ray or MLflow import.
"""

from pathlib import Path

__version__ = "0.1.0"

_root = Path(__file__).resolve().parent.parent
if (_root / "cluster.yaml").is_file():  # a source tree or its Ray upload; a wheel has the folders inside this package
    __path__.append(str(_root))
