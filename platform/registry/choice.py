"""Which model restores: the registry's champion, any of its versions, what a run registered, or a folder.

Of a registered model or a folder only `model.json` and the safetensors beside it are read: no code of the model runs
and nothing is unpickled, so that a folder from a stranger can be wrong but cannot do anything.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepblur.platform.registry import lookup
from deepblur.platform.system.disk import denied
from deepblur.platform.system.errors import ModelError
from deepblur.platform.tracking.connection import first_line, registry_uri

if TYPE_CHECKING:
    from deepblur.platform.models.model import BlindModel

CHAMPION = "models:/deepblur@champion"
_HOW = "make one with a study and 'deepblur models promote', or name a model with --model"


class NoChampionError(ModelError):
    """Nobody named a model, and there is no champion to take instead."""


@dataclass(frozen=True)
class Chosen:
    """A model that is ready to restore.

    name: what people should read, such as "models:/deepblur@champion (version 3)"; version: in the registry, None for a
    folder.
    """

    model: "BlindModel"
    name: str
    version: str | None


def choose_model(
    spec: str | Path | None = None, *, tracking_uri: str | None = None, runs: Path | None = None, device: str = "cpu"
) -> Chosen:
    """The model that a user means.

    Args:
        spec: None for the champion, "models:/NAME/VERSION", "models:/NAME@ALIAS", "runs:/ID" of the run that registered
            it, or a folder: a deepblur model, or an MLflow model that holds one.
        tracking_uri: of the registry; default: see `deepblur.platform.tracking.connection.registry_uri`.
        runs: folder of results whose registry is meant.
        device: where the networks go.
    Raises:
        NoChampionError: spec is None, and there is no registry or no champion in it.
        ModelError: anything else that keeps the model from being used, in one sentence.
    """
    try:
        return _choose(spec, tracking_uri or registry_uri(runs), device)
    except OSError as error:
        raise ModelError(denied(error)) from None


def _choose(spec: str | Path | None, where: str, device: str) -> Chosen:
    text = str(spec) if spec is not None else CHAMPION
    if not text.startswith(("models:", "runs:")):
        return Chosen(_load(_folder(Path(text)), device), text, None)
    with registered(text, where, named=spec is not None) as (folder, found):
        return Chosen(_load(folder, device), _title(text, found), found.version)


@contextmanager
def registered(text: str, where: str, *, named: bool = True) -> Iterator[tuple[Path, "lookup.Found"]]:
    """The folder with `model.json` of a registered model, for the length of the block; raises as `choose_model`."""
    try:
        found = _find(text, where)
    except lookup.MissingError as error:
        if not named:
            raise NoChampionError(f"there is no champion to restore with ({error}); {_HOW}") from None
        raise ModelError(f"{text} cannot be used: {error}; 'deepblur models list' shows what there is") from None
    except ConnectionError as error:
        raise ModelError(f"{text} cannot be looked up: {error}") from None
    with lookup.fetched(found, where) as folder:
        yield folder, found


def _find(text: str, where: str) -> "lookup.Found":
    version = re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@([\w.-]+))", text)
    run = re.fullmatch(r"runs:/([0-9a-f]{32})", text)
    if version is None and run is None:
        raise ModelError(
            f"a model is named models:/NAME/VERSION, models:/NAME@ALIAS, runs:/ID or by its folder; got {text}"
        )
    with lookup.registry(where) as registry:
        if run is not None:
            return registry.of_run(run[1])
        assert version is not None
        name, number, alias = version.groups()
        return registry.version(name, number) if number else registry.alias(name, alias)


def _title(text: str, found: "lookup.Found") -> str:
    if text.startswith("runs:"):
        return f"models:/{found.name}/{found.version} ({text})"
    return f"{text} (version {found.version})" if "@" in text else text


def _folder(given: Path) -> Path:
    """Where in the folder the deepblur model lies."""
    folder = given.expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        raise ModelError(f"{given} {what}; name a model folder, models:/NAME/VERSION, models:/NAME@ALIAS or runs:/ID")
    for inside in (folder, folder / lookup.INSIDE):
        if (inside / "model.json").is_file():
            return inside
    raise ModelError(
        f"{given} holds no model.json, and deepblur runs no code of a model; give the folder that a study left in "
        "RUNS/models, or an MLflow model folder of a deepblur model"
    )


def _load(folder: Path, device: str) -> "BlindModel":
    from deepblur.platform.models.model import load_model

    try:
        return load_model(folder, device=device)
    except (ValueError, FileNotFoundError) as error:
        raise ModelError(str(error)) from None
    except RecursionError:
        raise ModelError(f"{folder}/model.json is nested too deeply to be a model; copy the model again") from None
    except (OSError, RuntimeError, TypeError, OverflowError, MemoryError) as error:  # torch's and the system's own
        raise ModelError(f"the model in {folder} cannot be loaded ({first_line(error)}); copy it again") from None
