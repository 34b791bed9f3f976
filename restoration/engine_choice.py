"""Which engine restores: the model that was named, the champion of the registry, or a method that needs no training.

`platform.models.shipped` has the models that come along, `platform.registry.choice` finds all others, by the help of
`lookup` where they are registered; only here a model becomes an engine, with the optics that the user knows.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deepblur.baselines import SpectralIdentifier
from deepblur.operators.pupil import psf_px
from deepblur.platform.models import shipped
from deepblur.platform.models.model import BlindModel
from deepblur.platform.registry.choice import Chosen, NoChampionError, choose_model
from deepblur.platform.system.errors import ModelError
from deepblur.platform.system.memory import keep_freed_memory
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.engines.given_psf import GivenPSFEngine
from deepblur.restoration.engines.measured_psf import measured_psf
from deepblur.restoration.engines.names import METHODS, RESTORERS, TRAINING_FREE
from deepblur.restoration.engines.optics import ChannelOptics, same_cutoff
from deepblur.restoration.engines.trained import SpectralEngine, TrainedEngine
from deepblur.restoration.engines.training_free import TrainingFreeEngine
from deepblur.restoration.known_optics import told_optics
from deepblur.restoration.options import EngineChoice

OPTICS = {"psf_size": 31, "eta_waves": 0.15, "cutoff": 0.2}
"""What is assumed where neither the user nor a model says it."""


def choose_engine(choice: EngineChoice) -> tuple[Engine, str]:
    """(engine, a sentence about the choice that the user should read, "" if there is nothing to say).

    Raises:
        ModelError: an unknown method or restorer, or a model that cannot be had.
        InputError: a PSF that is none.
    """
    keep_freed_memory()  # the process that asks for an engine restores with it
    for what, value, known in (("method", choice.method, METHODS), ("restorer", choice.restorer, RESTORERS)):
        if value not in known:
            raise ModelError(f"a {what} is one of {', '.join(known)}; got {value!r}")
    if choice.psf is not None:
        return _given(choice)
    if choice.optics is not None:
        return _calibrated(choice), ""
    if choice.method in TRAINING_FREE:
        if choice.model is not None:
            raise ModelError(f"method {choice.method} takes no model; leave out --model {choice.model} or --method")
        return _each(choice, lambda one, support: _training_free(choice.method, choice, one, support)), ""
    device, note = _device(choice.device), ""
    try:
        chosen = _model(choice, device)
    except NoChampionError as error:
        if choice.method == "deep-blur":
            raise
        if shipped.DEFAULT not in shipped.names():
            note = f"no trained model is at hand ({error}); using the training-free method spectral"
            return _each(choice, lambda one, support: _training_free("spectral", choice, one, support)), note
        note = f"using the model that ships with deepblur, {shipped.DEFAULT}: {error}"
        chosen = Chosen(shipped.shipped(shipped.DEFAULT, device=device), shipped.DEFAULT, None)
    return _each(choice, lambda one, support: _trained(chosen.model, chosen.name, choice, one, support, device)), note


def _model(choice: EngineChoice, device: str) -> Chosen:
    """That of a name that ships, unless a folder bears it; else as `choose_model`."""
    name = str(choice.model)
    if name in shipped.names() and not Path(name).exists():
        return Chosen(shipped.shipped(name, device=device), name, None)
    return choose_model(choice.model, tracking_uri=choice.tracking_uri, device=device)


def _each(choice: EngineChoice, make: "_Make") -> Engine:
    """The engine for what the user said of the optics, which can be adapted to what each file says beside."""

    def adapted(optics: tuple[ChannelOptics, ...]) -> Engine:
        """With an engine for each channel where their optics are known one by one, all PSFs of one size."""
        known = [one.cutoff.value for one in optics if one.cutoff is not None]
        support = {"psf_size": psf_px(min(known))} if known else {}  # where the user does not say it
        try:
            engines = [make(one, support) for one in optics]
        except ModelError:
            raise
        except ValueError as error:  # the operator refuses the optics
            raise ModelError(str(error)) from None
        for engine, one in zip(engines, optics, strict=True):
            engine.know(one)
        if len(engines) > 1:
            engines[0].of_channels = tuple(engines)
        if engines[0].operator is not None:
            engines[0].adapted = adapted
        return engines[0]

    return adapted(told_optics(choice))


_Make = Callable[[ChannelOptics, dict[str, Any]], Engine]
"""An engine for what is known of a channel's optics, and for a PSF of the size that follows from it."""


def _trained(
    model: BlindModel, name: str, choice: EngineChoice, optics: ChannelOptics, support: dict[str, Any], device: str
) -> Engine:
    restorer = "deblur" if choice.restorer == "auto" else choice.restorer
    given = _figures(choice, optics)
    if not isinstance(model.identifier, SpectralIdentifier):
        given.pop("cutoff", None)
        refused = optics.cutoff is not None and optics.cutoff.origin == "told"
        refused = refused and not same_cutoff(optics, model.operator.cutoff)
        if refused or given:
            searched = {option: value for option, value in choice.said.items() if option in ("--psf-size", "--eta")}
            raise ModelError(
                f"{name} finds the blurs that its network was trained for, of the cutoff {model.operator.cutoff:g}; "
                f"leave out {_listed(choice.said if refused else searched)}, or take --model {shipped.DEFAULT} or "
                "--method spectral"
            )
        return TrainedEngine(model, name, restorer, device)
    if given:
        given = support | given
        eta_waves = given.pop("eta_waves", model.identifier.eta_waves)
        model = shipped.for_optics(model, replace(model.operator, **given), eta_waves)
    assert isinstance(model.identifier, SpectralIdentifier)
    return SpectralEngine(model, model.identifier, name, restorer, device, or_tv=choice.restorer == "auto")


def _figures(choice: EngineChoice, optics: ChannelOptics) -> dict[str, Any]:
    """What is said of them: size of the PSF, largest aberration, cutoff."""
    given = {"psf_size": choice.psf_size, "eta_waves": choice.eta_waves}
    given["cutoff"] = None if optics.cutoff is None else optics.cutoff.value
    return {name: value for name, value in given.items() if value is not None}


def _listed(said: Mapping[str, str]) -> str:
    return ", ".join(f"{option} {value}" for option, value in said.items())


def _calibrated(choice: EngineChoice) -> Engine:
    from deepblur.platform.optics.networks import load_trained
    from deepblur.restoration.engines.microscope import OpticsEngine

    assert choice.optics is not None
    if choice.model is not None or choice.method in TRAINING_FREE:
        named = choice.method if choice.model is None else f"--model {choice.model}"
        raise ModelError(f"--optics {choice.optics} brings networks of its own; leave out {named} or --optics")
    if choice.said:
        raise ModelError(f"--optics {choice.optics} knows its PSFs; leave out {_listed(choice.said)} or --optics")
    if choice.restorer not in ("auto", "deblur"):
        raise ModelError(
            f"a blur that varies over the field is removed by its network; got --restorer {choice.restorer}"
        )
    device = _device(choice.device)
    optics = Path(choice.optics)
    return OpticsEngine(load_trained(optics, device=device), optics.name, device)


def _given(choice: EngineChoice) -> tuple[Engine, str]:
    """The engine of a PSF that the user has, and what was done to make it ready."""
    assert choice.psf is not None
    optics = {option: value for option, value in choice.said.items() if option != "--psf-size"}
    others = {"--method": choice.method if choice.method != "auto" else None, "--optics": choice.optics}
    named = [f"{option} {value}" for option, value in others.items() if value is not None]
    if named or optics:
        raise ModelError(
            f"--psf says what the blur is, so nothing is identified; leave out "
            f"{', '.join([*named, *filter(None, [_listed(optics)])])}, or --psf"
        )
    named_model = choice.model is not None
    restorer = ("deblur" if named_model else "tv") if choice.restorer == "auto" else choice.restorer
    if named_model and restorer != "deblur":
        raise ModelError(f"with --psf, --restorer {restorer} takes no model; leave out --model {choice.model}")
    given = measured_psf(choice.psf, choice.psf_size)
    note = f"the PSF of {given.name}: {given.done}"
    if restorer != "deblur":
        return GivenPSFEngine(given, restorer), note
    device = _device(choice.device)
    chosen = _model(replace(choice, model=choice.model or shipped.DEFAULT), device)
    return GivenPSFEngine(given, restorer, model=(chosen.model, chosen.name), device=device), note


def _training_free(method: str, choice: EngineChoice, optics: ChannelOptics, support: dict[str, Any]) -> Engine:
    restorer = "tv" if choice.restorer == "auto" else choice.restorer
    unused = {option: value for option, value in choice.said.items() if method != "spectral" and option != "--psf-size"}
    if unused:
        raise ModelError(f"method {method} finds any PSF and knows no aberrations; leave out {_listed(unused)}")
    return TrainingFreeEngine(method, restorer, **OPTICS | support | _figures(choice, optics))


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"this machine has no CUDA device that torch can use; got --device {name}; use cpu")
    if name != "cpu" and not name.startswith("cuda"):
        raise ModelError(f"a device is auto, cpu, cuda or cuda:N; got {name!r}")
    return name
