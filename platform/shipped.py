"""Models that come with deepblur: folders of `weights/`, checked against the hashes that were written with them."""

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import deepblur
from deepblur.baselines import SpectralIdentifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.inference.failures import ModelError
from deepblur.platform.model import BlindModel, load_model

DEFAULT = "compact"
"""The model that restores where nobody names another and the registry has no champion."""
SUMS = "SHA256SUMS"


def folder() -> Path:
    """`weights/` of the source tree or of the installed package."""
    places = [Path(path) / "weights" for path in deepblur.__path__]
    return next((place for place in places if place.is_dir()), places[0])


def names() -> tuple[str, ...]:
    """What ships, sorted."""
    return tuple(sorted(path.parent.name for path in folder().glob("*/model.json")))


def shipped(name: str, *, device: str = "cpu") -> BlindModel:
    """The model of that name.

    Raises:
        ModelError: no such model, or a file that is not what was shipped.
    """
    if name not in names():
        raise ModelError(f"deepblur ships the models {', '.join(names()) or '(none)'}; got {name!r}")
    check(folder() / name)
    return load_model(folder() / name, device=device)


def reference(name: str) -> str:
    """NAME:HASH of the files of a shipped model: what a stage is named by; no hash where there is no model."""
    sums = folder() / name / SUMS
    return f"{name}:{hashlib.sha256(sums.read_bytes()).hexdigest()[:16] if sums.is_file() else ''}"


def reference_for(*parts: str) -> str:
    """`reference` of the default model if a method's parts name it, else "": new weights leave the rivals' results."""
    return reference(DEFAULT) if "shipped" in parts else ""


@lru_cache(maxsize=2)
def referred(text: str, device: str) -> BlindModel:
    """The model of a `reference`.

    Raises:
        ModelError: the files are not those that were meant.
    """
    name = text.partition(":")[0]
    if reference(name) != text:
        raise ModelError(f"the shipped model {name} is not the one that was meant ({text}); start the study again")
    return shipped(name, device=device)


def check(model: Path) -> None:
    """Raises ModelError where a file is missing or has another hash than SHA256SUMS of the folder says."""
    sums = model / SUMS
    if not sums.is_file():
        raise ModelError(f"{sums} is missing; install deepblur again")
    for line in sums.read_text(encoding="utf-8").splitlines():
        told, name = line.split(maxsplit=1)
        file = model / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != told:
            raise ModelError(
                f"{file} is missing or damaged (its SHA-256 is not the shipped one); install deepblur again"
            )


def write_sums(model: Path) -> None:
    """SHA256SUMS of a model folder, in the format of sha256sum."""
    files = sorted(path for path in model.iterdir() if path.name != SUMS)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    (model / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def told(model: BlindModel, operator: ZernikeBlur, eta_waves: float) -> BlindModel:
    """A model whose blur the spectral likelihood identifies, for other optics: its DN takes any PSF."""
    identifier = SpectralIdentifier(operator, eta_waves=eta_waves).eval()
    if isinstance(model.identifier, SpectralIdentifier):
        identifier.reader = model.identifier.reader
    trained = {**model.card.get("trained", {}), "eta_waves": eta_waves}
    return replace(model, operator=operator, identifier=identifier, card={**model.card, "trained": trained})
