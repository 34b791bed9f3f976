"""The code that a registered version brings along, and whether it is this deepblur's.

Whoever loads a version through MLflow runs it: the file that MLflow calls the model, the copy of the package beside it,
and whatever else `MLmodel` names. Whoever may write to the artifact store may have changed all three.
"""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from deepblur import _version
from deepblur.platform.system.enclosed import files_of, inside
from deepblur.platform.system.seal import sha256

MODEL_CODE = "mlflow_model.py"
DESCRIPTION = "MLmodel"
_PLATFORM = ("models/description.py", "models/model.py", "registry/requests.py", "system/memory.py")
_LARGEST_BYTES = 1_000_000
"""Of MLmodel."""
_FLAVOR = {"loader_module": "mlflow.pyfunc.loaders.code_model", "code": "code", "streamable": False}
"""What MLmodel says of how a version of ours is loaded, beside what runs nothing: artifacts, config, env, versions."""
_PLAIN = {"artifacts", "cloudpickle_version", "config", "env", "model_code_path", "python_version"}
_BESIDE = ("input_example.json", "serving_input_example.json", "requirements.txt", "conda.yaml", "python_env.yaml")


def packed() -> dict[str, Path]:
    """Name in an MLflow model → file of this deepblur, of all that runs where a version is loaded through MLflow."""
    here = Path(__file__).resolve().parent
    platform = here.parent
    face = Path(_version.__file__).parent
    found = {MODEL_CODE: here / MODEL_CODE}
    found |= {f"code/deepblur/{name}": face / name for name in ("__init__.py", "_version.py")}
    found |= {f"code/deepblur/platform/{name}": platform / name for name in _PLATFORM}
    for room in ("operators", "nets", "baselines"):
        folder = platform.with_name(room)
        found |= {
            f"code/deepblur/{room}/{name}": file
            for name, file in files_of(folder).items()
            if "__pycache__" not in Path(name).parts
        }
    return found


def code_hash() -> str:
    """Of the code that this deepblur packs."""
    digest = hashlib.sha256()
    for name, file in sorted(packed().items()):
        digest.update(f"{name} {sha256(file)}\n".encode())
    return digest.hexdigest()


def copy_of(version: Path, place: Path, *, trust: bool) -> list[str]:
    """Copies an MLflow model into an empty folder, for somebody who will load it; names what of its code is not ours.

    Args:
        trust: copy it as it is; else what this deepblur does not know of a version is left out, and so cannot run.
    Raises:
        ValueError: a link leads out of the version.
    """
    names = [DESCRIPTION, *_BESIDE, *packed()]
    for name in list(files_of(version)) if trust else names:
        if inside(version, name).is_file():
            _copy(version / name, place / name)
    if not trust and (version / "artifacts").is_dir():
        for name, file in files_of(version / "artifacts").items():
            _copy(file, place / "artifacts" / name)
    if trust or not (place / DESCRIPTION).is_file():  # nothing to load, so nothing that runs
        return []
    foreign = [n for n, file in packed().items() if not (place / n).is_file() or not _same(place / n, file)]
    return [*([] if _loads_as_ours(place / DESCRIPTION) else [DESCRIPTION]), *foreign]


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(file.read_bytes())


def _same(file: Path, ours: Path) -> bool:
    return file.read_bytes() == ours.read_bytes()


def _loads_as_ours(description: Path) -> bool:
    """Whether MLmodel has MLflow load nothing but the files that `packed` names."""
    if description.stat().st_size > _LARGEST_BYTES:
        return False
    try:
        found: Any = yaml.safe_load(description.read_text(encoding="utf-8"))
        flavor = dict(found["flavors"]["python_function"])
        code = Path(flavor["model_code_path"]).name
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    said = {name: value for name, value in flavor.items() if name not in _PLAIN}
    return code == MODEL_CODE and {"streamable": False, **said} == _FLAVOR
