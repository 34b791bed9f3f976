"""The trained model that other tools load: operator, IN, DN and a card, in one folder that holds no code.

    model.json               operator, configurations of the two networks, card
    identifier.safetensors   weights of IN; absent where the spectral likelihood identifies alone, or nothing does
    deblurrer.safetensors    weights of DN
    README.md                the card for people

Nothing is unpickled: a folder from a stranger can be wrong, but it cannot run anything.
"""

import inspect
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deepblur.baselines import SpectralIdentifier
from deepblur.nets import Deblurrer, Identifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.models.description import check_settings, read_description

FORMAT = "deepblur-model"
VERSION = 1
LARGEST_NODES = 512
"""Quadrature nodes across a pupil of somebody else's operator, whose sizes and focus decide how many it takes."""


@dataclass(frozen=True)
class Restoration:
    """What a model says about a batch of blurry images."""

    image: Tensor
    """(B, 1, H, W), in [0, 1] up to the network's over- and undershoot."""
    gamma: Tensor
    """(B, K), in the operator's unit (waves for Zernike modes)."""
    psf: Tensor
    """(B, 1, h, w), sum 1."""


@dataclass(frozen=True)
class BlindModel:
    """A blur family with the networks trained for it."""

    operator: ZernikeBlur
    """The family that γ belongs to."""
    identifier: nn.Module | None
    """IN, (B, 1, H, W) → γ (B, K); None in a model that needs to be told γ."""
    deblurrer: nn.Module
    """DN, (y, γ, operator) → x̂."""
    card: dict[str, Any]
    """What people should know (data, training, scores), JSON values."""

    @torch.inference_mode()
    def restore(self, y: Tensor, gamma: Tensor | None = None) -> Restoration:
        """Identifies the blur of each image and removes it.

        Args:
            y: (B, 1, H, W), floating point, linear intensity in [0, 1]; noise may exceed that a little.
            gamma: (B, K), the parameters where they are known; default: what IN says.
        Returns:
            Restoration, on the device of y.
        Raises:
            ValueError: y has another shape, is not finite or is far outside [0, 1]; nothing gives gamma.
        """
        _check_images(y)
        if gamma is None:
            if self.identifier is None:
                raise ValueError("this model has no identification network; give gamma, shape (B, K)")
            gamma = self.identifier(y)
        return Restoration(self.deblurrer(y, gamma, self.operator), gamma, self.operator.psf(gamma))


def save_model(
    folder: Path,
    *,
    operator: ZernikeBlur,
    identifier_config: Mapping[str, Any] | None,
    identifier: nn.Module | None,
    deblurrer_config: Mapping[str, Any],
    deblurrer: nn.Module,
    card: Mapping[str, Any],
    readme: str = "",
    half: bool = False,
) -> None:
    """Writes a model so that `load_model(folder)` gives it back; the folder is complete or not there at all.

    Args:
        folder: replaced if it exists; its parents are created.
        operator: a frozen dataclass of plain values.
        identifier_config, deblurrer_config: the keyword arguments that build `Identifier` and `Deblurrer`; for a
            `SpectralIdentifier` its own, and "method": "spectral".
        half: write the weights in half precision, half as large.
        identifier, deblurrer: the trained networks; identifier and its configuration may both be None.
        card: JSON values; a tuple comes back as a list here, as a tuple in the configurations.
        readme: the card for people, README.md of the folder.
    Raises:
        ValueError: a value is not JSON, or a configuration does not build the network that it comes with.
    """
    if (identifier is None) != (identifier_config is None):
        raise ValueError("identifier and identifier_config belong together; give both, or None for both")
    description = {
        "format": FORMAT,
        "version": VERSION,
        "operator": {"type": type(operator).__name__, **asdict(operator)},
        "identifier": identifier_config and dict(identifier_config),
        "deblurrer": dict(deblurrer_config),
        "card": dict(card),
    }
    try:
        text = json.dumps(description, indent=2, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a model's configuration and card hold JSON values only; {error}") from None
    with complete_or_absent(folder) as unfinished:
        (unfinished / "model.json").write_text(text + "\n", encoding="utf-8")
        if readme:
            (unfinished / "README.md").write_text(readme, encoding="utf-8")
        for name, network in (("identifier", identifier), ("deblurrer", deblurrer)):
            if network is not None and (weights := weights_of(network)):
                if half:
                    weights = {
                        key: value.half() if value.is_floating_point() else value for key, value in weights.items()
                    }
                save_file(weights, unfinished / f"{name}.safetensors")
        load_model(unfinished)  # a configuration that does not fit its weights must fail here, not at the user's desk


def load_model(folder: Path, *, device: torch.device | str = "cpu") -> BlindModel:
    """The model that `save_model` wrote, in evaluation mode.

    Args:
        folder: model.json and the weights; nothing in it is executed.
        device: where the networks go.
    Raises:
        FileNotFoundError: the folder lacks a file.
        ValueError: not a deepblur model, another format version, an unknown key, or weights that do not fit.
    """
    folder = Path(folder)
    description = _description(_existing(folder / "model.json"))
    operator_type = description["operator"].pop("type", None)
    if operator_type != ZernikeBlur.__name__:
        raise ValueError(f"{folder}/model.json: operators of type {operator_type!r} cannot be loaded; update deepblur")
    operator = _build(ZernikeBlur, description["operator"], folder)
    identifier = None
    if description["identifier"] is not None:
        identifier = _identifier(description["identifier"], operator, folder, device)
        if identifier.num_parameters != operator.num_parameters:
            raise ValueError(
                f"{folder}/model.json: IN estimates {identifier.num_parameters} parameters, the operator has "
                f"{operator.num_parameters}; save the networks with the operator they were trained for"
            )
    return BlindModel(
        operator=operator,
        identifier=identifier,
        deblurrer=read_network(Deblurrer, description["deblurrer"], folder / "deblurrer.safetensors", device),
        card=description["card"],
    )


def _identifier(config: dict[str, Any], operator: ZernikeBlur, folder: Path, device: torch.device | str) -> nn.Module:
    if "method" not in config:
        return read_network(Identifier, config, folder / "identifier.safetensors", device)
    settings = {key: value for key, value in config.items() if key != "method"}
    if config["method"] != "spectral" or "operator" in settings:
        raise ValueError(f"{folder}/model.json: no identifier of method {config['method']!r}; update deepblur")
    kind = partial(SpectralIdentifier, operator)
    if settings.get("reader") is None:
        return _build(kind, settings, folder)
    return read_network(kind, settings, folder / "identifier.safetensors", device)


def _check_images(y: Tensor) -> None:
    if y.ndim != 4 or y.shape[1] != 1 or not y.is_floating_point():
        raise ValueError(f"restore takes floating-point grey images (B, 1, H, W); got {y.dtype} {tuple(y.shape)}")
    if not torch.isfinite(y).all():
        raise ValueError("restore takes finite images; got NaN or infinite pixels; replace them first")
    if y.numel() and (y.min() < -1 or y.max() > 2):  # noise leaves [0, 1], only a wrong scale leaves [-1, 2]
        raise ValueError(
            f"restore takes intensities in [0, 1]; got {float(y.min()):.4g} to {float(y.max()):.4g}; "
            "subtract the black level and divide by the white level"
        )


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """What a file of weights holds."""
    # channels_last weights are not contiguous, and safetensors stores contiguous ones only
    return {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}


@contextmanager
def complete_or_absent(folder: Path) -> Iterator[Path]:
    """A fresh folder beside `folder` that takes its name when the block ends well and vanishes when it does not."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            os.rename(folder, Path(scratch) / "old")  # a folder cannot be renamed onto one with content
        os.rename(fresh, folder)


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; a model folder is what save_model wrote, all of it")
    return file


def _description(file: Path) -> dict[str, Any]:
    description = read_description(file)
    if description.get("format") != FORMAT:
        raise ValueError(f"{file} does not describe a deepblur model; give the folder that save_model wrote")
    if description.get("version") != VERSION:
        raise ValueError(
            f"{file} has format version {description.get('version')!r}, this deepblur reads version {VERSION}; "
            "load it with the deepblur that wrote it"
        )
    for key in ("operator", "identifier", "deblurrer", "card"):
        if key not in description:
            raise ValueError(f"{file} lacks {key}; copy the model again")
        if not isinstance(description[key], dict) and not (key == "identifier" and description[key] is None):
            raise ValueError(f"{file}: {key} is not a JSON object; copy the model again")
    return description


def read_network(
    kind: Callable[..., nn.Module], config: dict[str, Any], file: Path, device: torch.device | str
) -> nn.Module:
    """The network of a configuration with the weights of a file, in evaluation mode.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the configuration builds nothing, or the weights do not fit it.
    """
    try:
        weights = {name: value.float() if value.dtype == torch.float16 else value
                   for name, value in load_file(_existing(file)).items()}  # fmt: skip
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}); copy the model again") from None
    with torch.device("meta"):  # shapes alone: a wrong configuration is refused before it takes memory
        expected = _build(kind, config, file.parent).state_dict()
    for name in [*expected, *(weights.keys() - expected.keys())]:
        there, wanted = _kind(weights.get(name)), _kind(expected.get(name))
        if there != wanted:
            raise ValueError(
                f"{file} does not fit the configuration in model.json: {name} is {there}, but {wanted} is needed; "
                "the two must come from the same save_model"
            )
    network = _build(kind, config, file.parent)
    network.load_state_dict(weights)
    return network.to(device).eval()


def _kind(value: Tensor | None) -> str:
    return "nothing" if value is None else f"{value.dtype} {tuple(value.shape)}"


def _build(kind: Callable[..., Any], config: dict[str, Any], folder: Path) -> Any:
    name = (kind.func if isinstance(kind, partial) else kind).__name__
    unknown = sorted(config.keys() - inspect.signature(kind).parameters.keys())
    if unknown:
        raise ValueError(f"{folder}/model.json: {name} has no setting {', '.join(unknown)}; update deepblur")
    try:
        check_settings(kind, config)
        built = kind(**{key: _tuples(value) for key, value in config.items()})
        if isinstance(built, ZernikeBlur) and built.nodes > LARGEST_NODES:
            raise ValueError(f"its pupil would take {built.nodes} quadrature nodes, more than {LARGEST_NODES}")
        return built
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"{folder}/model.json: {name} cannot be built; {error}") from None


def _tuples(value: Any) -> Any:
    """JSON has no tuples; the keyword arguments have no lists."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
