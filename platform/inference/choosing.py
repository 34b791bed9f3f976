"""Which engine restores: the model that was named, the champion of the registry, or a method that needs no training."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from deepblur.baselines import SpectralIdentifier
from deepblur.platform import shipped
from deepblur.platform.inference.engines import (
    TRAINING_FREE,
    Engine,
    Restorer,
    SpectralEngine,
    TrainedEngine,
    TrainingFreeEngine,
)
from deepblur.platform.inference.failures import ModelError
from deepblur.platform.model import BlindModel
from deepblur.platform.release.choice import NoChampionError, choose_model

METHODS = ("auto", "deep-blur", *TRAINING_FREE)
RESTORERS = ("auto", *get_args(Restorer))
OPTICS = {"psf_size": 31, "eta_waves": 0.15, "cutoff": 0.2}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the user asked for."""

    method: str = "auto"
    """auto: the model where one is named or the registry has a champion, else the one that ships with deepblur."""
    model: str | Path | None = None
    """A registry URI, runs:/ID, a folder or the name of a shipped model; None: the champion."""
    restorer: str = "auto"
    """auto: DN with a model, TV without."""
    optics: Path | None = None
    """A calibrated microscope, whose networks then are the model."""
    tracking_uri: str | None = None
    device: str = "auto"
    psf_size: int | None = None
    eta_waves: float | None = None
    cutoff: float | None = None
    """Support in pixels, largest aberration, pupil radius, for whatever identifies by the spectral likelihood; None:
    those that its model was made for, `OPTICS` without one."""


def choose_engine(choice: Choice) -> tuple[Engine, str]:
    """(engine, a sentence about the choice that the user should read, "" if there is nothing to say).

    Raises:
        ModelError: an unknown method or restorer, or a model that cannot be had.
    """
    for what, value, known in (("method", choice.method, METHODS), ("restorer", choice.restorer, RESTORERS)):
        if value not in known:
            raise ModelError(f"a {what} is one of {', '.join(known)}; got {value!r}")
    if choice.optics is not None:
        return _calibrated(choice), ""
    if choice.method in TRAINING_FREE:
        if choice.model is not None:
            raise ModelError(f"method {choice.method} takes no model; leave out --model {choice.model} or --method")
        return _training_free(choice.method, choice), ""
    device = _device(choice.device)
    if str(choice.model) in shipped.names() and not Path(str(choice.model)).exists():
        return _trained(shipped.shipped(str(choice.model), device=device), str(choice.model), choice, device), ""
    try:
        chosen = choose_model(choice.model, tracking_uri=choice.tracking_uri, device=device)
    except NoChampionError as error:
        if choice.method == "deep-blur":
            raise
        if shipped.DEFAULT not in shipped.names():
            note = f"no trained model is at hand ({error}); using the training-free method spectral"
            return _training_free("spectral", choice), note
        note = f"using the model that ships with deepblur, {shipped.DEFAULT}: {error}"
        model = shipped.shipped(shipped.DEFAULT, device=device)
        return _trained(model, shipped.DEFAULT, choice, device), note
    return _trained(chosen.model, chosen.name, choice, device), ""


def _trained(model: BlindModel, name: str, choice: Choice, device: str) -> Engine:
    restorer = "deblur" if choice.restorer == "auto" else choice.restorer
    given = _optics(choice)
    if not isinstance(model.identifier, SpectralIdentifier):
        if given:
            raise ModelError(
                f"{name} finds the blurs that its network was trained for; leave out {_listed(given)}, "
                f"or take --model {shipped.DEFAULT} or --method spectral"
            )
        return TrainedEngine(model, name, restorer, device)
    if given:
        eta_waves = given.pop("eta_waves", model.identifier.eta_waves)
        try:
            model = shipped.told(model, replace(model.operator, **given), eta_waves)
        except ValueError as error:  # the operator refuses the optics
            raise ModelError(str(error)) from None
    assert isinstance(model.identifier, SpectralIdentifier)
    return SpectralEngine(model, model.identifier, name, restorer, device, or_tv=choice.restorer == "auto")


def _optics(choice: Choice) -> dict[str, Any]:
    """What the user said of them."""
    return {name: value for name in OPTICS if (value := getattr(choice, name)) is not None}


def _listed(given: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in given.items())


def _calibrated(choice: Choice) -> Engine:
    from deepblur.platform.inference.engine_optics import OpticsEngine
    from deepblur.platform.optics.trained import load_trained

    assert choice.optics is not None
    if choice.model is not None or choice.method in TRAINING_FREE:
        named = choice.method if choice.model is None else f"--model {choice.model}"
        raise ModelError(f"--optics {choice.optics} brings networks of its own; leave out {named} or --optics")
    if choice.restorer not in ("auto", "deblur"):
        raise ModelError(
            f"a blur that varies over the field is removed by its network; got --restorer {choice.restorer}"
        )
    device = _device(choice.device)
    return OpticsEngine(load_trained(choice.optics, device=device), choice.optics.name, device)


def _training_free(method: str, choice: Choice) -> Engine:
    restorer = "tv" if choice.restorer == "auto" else choice.restorer
    try:
        return TrainingFreeEngine(method, restorer, **OPTICS | _optics(choice))
    except ModelError:
        raise
    except ValueError as error:  # the operator refuses the optics
        raise ModelError(str(error)) from None


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"this machine has no CUDA device that torch can use; got --device {name}; use cpu")
    if name != "cpu" and not name.startswith("cuda"):
        raise ModelError(f"a device is auto, cpu, cuda or cuda:N; got {name!r}")
    return name
