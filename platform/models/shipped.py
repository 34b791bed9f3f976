"""Models that come with deepblur: folders of `weights/`, checked against the hashes that were written with them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from deepblur.baselines import SpectralIdentifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.models.model import BlindModel, load_model, save_model
from deepblur.platform.system import source_tree
from deepblur.platform.system.enclosed import inside
from deepblur.platform.system.errors import ModelError
from deepblur.platform.system.seal import sha256

DEFAULT = "compact"
"""The model that restores where nobody names another and the registry has no champion."""
SUMS = "SHA256SUMS"


def folder() -> Path:
    """`weights/` of the source tree or of the installed package."""
    return source_tree.root() / "weights"


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


def reference(name: str, *networks: str) -> str:
    """NAME:NETWORKS:HASH of networks of a shipped model: what a stage is named by; no hash where there is no model.

    Networks are `identifier` and `deblurrer`: whoever trains one anew leaves what the other made.
    """
    model = folder() / name
    if not (model / SUMS).is_file():
        return f"{name}:{'+'.join(networks)}:"
    lines = (line.split() for line in (model / SUMS).read_text(encoding="utf-8").splitlines())
    sums = {file: sha for sha, file in lines}
    config = json.loads((model / "model.json").read_text(encoding="utf-8"))
    meant = [[config.get(part), sums.get(f"{part}.safetensors")] for part in ("operator", *networks)]
    return f"{name}:{'+'.join(networks)}:{hashlib.sha256(json.dumps(meant).encode()).hexdigest()[:16]}"


def reference_for(psf: str, image: str = "none") -> str:
    """`reference` to what a method takes from the default model; empty where it takes nothing.

    Args:
        psf: where the method has its PSF from, as `Method.psf`.
        image: what restores, as `Method.image`.
    """
    networks = [name for name, part in (("identifier", psf), ("deblurrer", image)) if part == "shipped"]
    return reference(DEFAULT, *networks) if networks else ""


@lru_cache(maxsize=2)
def referred(text: str, device: str) -> BlindModel:
    """The model of a `reference`.

    Raises:
        ModelError: the networks are not those that were meant.
    """
    name, networks, _ = text.split(":")
    if reference(name, *networks.split("+")) != text:
        raise ModelError(f"the shipped model {name} is not the one that was meant ({text}); start the study again")
    return shipped(name, device=device)


def check(model: Path) -> None:
    """Raises ModelError where a file is missing or has another hash than SHA256SUMS of the folder says."""
    sums = model / SUMS
    if not sums.is_file():
        raise ModelError(f"{sums} is missing; install deepblur again")
    for line in sums.read_text(encoding="utf-8").splitlines():
        listed, name = line.split(maxsplit=1)
        file = inside(model, name)
        if not file.is_file() or sha256(file) != listed:
            raise ModelError(
                f"{file} is missing or damaged (its SHA-256 is not the shipped one); install deepblur again"
            )


def write_sums(model: Path) -> None:
    """SHA256SUMS of a model folder, in the format of sha256sum."""
    files = sorted(path for path in model.iterdir() if path.is_file() and path.name != SUMS and path.name[0] != ".")
    lines = [f"{sha256(path)}  {path.name}" for path in files]
    (model / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def replace_network(
    folder: Path,
    *,
    card: Mapping[str, Any],
    identifier: tuple[nn.Module, Mapping[str, Any]] | None = None,
    deblurrer: nn.Module | None = None,
) -> None:
    """Gives the model of a folder another network; the folder is written anew, with its hashes.

    Args:
        card: what the model's card says then.
        identifier: with its configuration, as of `save_model`.
        deblurrer: of the model's own configuration.
    Raises:
        ModelError: no such model.
    """
    from deepblur.platform.models.card import render  # which nobody needs who restores

    model, description = load_model(folder), json.loads((folder / "model.json").read_text(encoding="utf-8"))
    network, config = identifier or (model.identifier, description["identifier"])
    save_model(
        folder,
        operator=model.operator,
        identifier_config=config,
        identifier=network,
        deblurrer_config=description["deblurrer"],
        deblurrer=model.deblurrer if deblurrer is None else deblurrer,
        card=card,
        readme=render(card, f"deepblur {folder.name}"),
        half=True,
    )
    write_sums(folder)


def for_optics(model: BlindModel, operator: ZernikeBlur, eta_waves: float) -> BlindModel:
    """A model whose blur the spectral likelihood identifies, for other optics: its DN takes any PSF."""
    identifier = SpectralIdentifier(operator, eta_waves=eta_waves).eval()
    if isinstance(model.identifier, SpectralIdentifier):
        identifier.reader = model.identifier.reader
    trained = {**model.card.get("trained", {}), "eta_waves": eta_waves}
    return replace(model, operator=operator, identifier=identifier, card={**model.card, "trained": trained})
