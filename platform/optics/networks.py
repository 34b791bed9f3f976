"""Networks for one calibrated microscope, in a folder beside its optics: NAME_networks for NAME.safetensors.

    networks.json            configurations of the two networks, the optics' digest, a card
    identifier.safetensors   IN of patches: K = I coefficients of the eigen-PSFs
    deblurrer.safetensors    DN, for the operator of the whole field

As in `deepblur.platform.models.model`, nothing is unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from deepblur.nets import Deblurrer, Identifier
from deepblur.platform.models.description import check_settings, read_description
from deepblur.platform.models.model import complete_or_absent, read_network, weights_of
from deepblur.platform.optics.family import OpticsFile
from deepblur.platform.optics.optics_file import Optics
from deepblur.platform.system.errors import ModelError

FORMAT = "deepblur-optics-networks"
VERSION = 1


@dataclass(frozen=True)
class TrainedOptics:
    """A calibrated microscope and the networks for it."""

    source: OpticsFile
    identifier: nn.Module
    deblurrer: nn.Module
    patch_px: int
    """Side of the patches that IN was trained on."""
    card: dict[str, Any]
    """On what the networks were trained; JSON values."""

    @property
    def optics(self) -> Optics:
        return self.source.optics()


@dataclass(frozen=True)
class _Description:
    format: str
    version: int
    optics: str
    identifier: dict[str, Any]
    deblurrer: dict[str, Any]
    patch_px: int
    card: dict[str, Any]


def networks_folder(optics: Path) -> Path:
    """Where the networks of an optics file lie."""
    return optics.with_name(f"{optics.stem}_networks")


def save_trained(
    source: OpticsFile,
    *,
    identifier_config: Mapping[str, Any],
    identifier: nn.Module,
    deblurrer_config: Mapping[str, Any],
    deblurrer: nn.Module,
    patch_px: int,
    card: Mapping[str, Any],
) -> Path:
    """Writes the networks beside their optics; the folder is complete or what it was before."""
    folder = networks_folder(Path(source.path))
    about = {"format": FORMAT, "version": VERSION, "optics": source.digest, "identifier": dict(identifier_config),
             "deblurrer": dict(deblurrer_config), "patch_px": patch_px, "card": dict(card)}  # fmt: skip
    with complete_or_absent(folder) as unfinished:
        (unfinished / "networks.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")
        save_file(weights_of(identifier), unfinished / "identifier.safetensors")
        save_file(weights_of(deblurrer), unfinished / "deblurrer.safetensors")
    return folder


def load_trained(optics: Path, *, device: torch.device | str = "cpu") -> TrainedOptics:
    """The networks that lie beside an optics file.

    Raises:
        ModelError: no optics, no networks beside them, networks of other optics, or a damaged file.
    """
    source = OpticsFile.of(optics)
    folder = networks_folder(optics)
    file = folder / "networks.json"
    if not file.is_file():
        raise ModelError(
            f"{optics} has no trained networks ({folder.name} is not beside it); train them with: deepblur study "
            f"space_varying --arms 'fitted patches' --set optics={optics}"
        )
    try:
        about = read_description(file)
    except (OSError, ValueError) as error:
        raise ModelError(str(error)) from None
    try:
        if about["format"] != FORMAT or about["version"] != VERSION:
            raise ValueError(f"format {about['format']!r}, version {about['version']!r}; this deepblur reads {VERSION}")
        check_settings(_Description, about)
        if about["optics"] != source.digest:
            raise ModelError(f"{folder} was trained for other optics than {optics}; train it again")
        if about["identifier"].get("num_parameters") != source.optics().shape[0]:
            raise ValueError("IN and the optics have other numbers of eigen-PSFs")
        identifier = read_network(Identifier, about["identifier"], folder / "identifier.safetensors", device)
        if about["patch_px"] < identifier.min_size:
            raise ValueError(f"IN reads patches of at least {identifier.min_size} pixels; got {about['patch_px']}")
        return TrainedOptics(
            source=source,
            identifier=identifier,
            deblurrer=read_network(Deblurrer, about["deblurrer"], folder / "deblurrer.safetensors", device),
            patch_px=about["patch_px"],
            card=about["card"],
        )
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file} cannot be used ({error}); train the networks again") from None
