"""What is trained, IN, DN, both together and NAFNet, behind one small interface for the trainer."""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from deepblur.nets import Deblurrer, Identifier, NAFNet
from deepblur.operators import Blur
from deepblur.platform.data.observations import Batch, mean_psf
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.platform.stages.identity import said
from deepblur.platform.system.errors import SettingsError
from deepblur.platform.training.losses import LOSSES
from deepblur.platform.training.specification import Deblur, Identify, Joint, Restore, Training


class Task(Protocol):
    """What the trainer needs to know of a network: how to build it, its loss and how to measure it."""

    def network(self) -> nn.Module: ...

    def loss(self, network: nn.Module, batch: Batch) -> Tensor: ...

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Names → (B,) values on a batch of the fixed validation draws; a baseline stands beside every metric."""
        ...


class IdentifyTask:
    """IN: y → γ̂."""

    def __init__(self, stage: Identify) -> None:
        self.stage = stage
        self.operator = stage.degradation.operator
        self.eta_waves = stage.degradation.eta_waves
        self._loss = LOSSES[stage.loss]

    def network(self) -> nn.Module:
        return build(self.stage)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        gamma = checked(network(batch.blurry), batch.gamma, self.stage)
        return self._loss(gamma, batch, self.operator, self.eta_waves)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return _identification(network(batch.blurry).float(), batch, self.operator, self.eta_waves)


class DeblurTask:
    """DN: (y, γ) → x̂, with γ the truth or IN's estimate."""

    def __init__(self, stage: Deblur, identifier: nn.Module | None) -> None:
        self.stage = stage
        self.operator = stage.degradation.operator
        self.identifier = None if identifier is None else identifier.eval().requires_grad_(False)

    def network(self) -> nn.Module:
        return build(self.stage)

    def _gamma(self, batch: Batch) -> Tensor:
        if self.identifier is None:
            return batch.given_gamma
        with torch.no_grad():
            return self.identifier(batch.blurry).float()

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        restored = checked(network(batch.blurry, self._gamma(batch), self.operator), batch.sharp, self.stage)
        return mse_loss(restored, batch.sharp)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        restored = network(batch.blurry, self._gamma(batch), self.operator).float()
        return _restoration(restored, batch)


class Blind(nn.Module):
    """IN and DN as one network: (y, operator) → γ̂ (B, K), x̂ (B, 1, H, W)."""

    def __init__(self, identify: nn.Module, deblur: nn.Module) -> None:
        super().__init__()
        self.identify, self.deblur = identify, deblur

    def forward(self, y: Tensor, operator: Blur) -> tuple[Tensor, Tensor]:
        gamma = self.identify(y).float()
        return gamma, self.deblur(y, gamma, operator).float()


class JointTask:
    """IN and DN together: ‖DN(y, IN(y)) − x‖², whose gradient reaches IN through γ̂, plus IN's own weighted loss."""

    def __init__(self, stage: Joint, identifier: Mapping[str, Tensor] | None) -> None:
        self.stage, self.identifier = stage, identifier
        self.operator = stage.degradation.operator
        self.eta_waves = stage.degradation.eta_waves
        self._loss = LOSSES[stage.identify.loss]

    def network(self) -> nn.Module:
        network = build(self.stage)
        if self.identifier is not None:
            network.get_submodule("identify").load_state_dict(self.identifier)
        return network

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        gamma, restored = network(batch.blurry, self.operator)
        gamma = checked(gamma, batch.gamma, self.stage.identify)
        restored = checked(restored, batch.sharp, self.stage)
        identification = self._loss(gamma, batch, self.operator, self.eta_waves)
        return mse_loss(restored, batch.sharp) + self.stage.weight * identification

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        gamma, restored = network(batch.blurry, self.operator)
        return _restoration(restored, batch) | _identification(gamma, batch, self.operator, self.eta_waves)


class RestoreTask:
    """NAFNet: y → x̂, by the loss that DN has."""

    def __init__(self, stage: Restore) -> None:
        self.stage = stage

    def network(self) -> nn.Module:
        return build(self.stage)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return mse_loss(checked(network(batch.blurry), batch.sharp, self.stage), batch.sharp)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return _restoration(network(batch.blurry).float(), batch)


def checked(output: Tensor, like: Tensor, stage: Training) -> Tensor:
    """What a network gives, as float32, if it has the shape that it must have: a loss would stretch another one.

    Raises:
        SettingsError: another shape.
    """
    if output.shape != like.shape:
        who = "" if stage.own() is None else f" {said(stage.own())}"
        raise SettingsError(
            f"the network{who} gives {tuple(output.shape)} where {stage.title} must give {tuple(like.shape)}; mend "
            "what its forward returns"
        )
    return output.float()


def identifier_config(stage: Identify) -> dict[str, Any]:
    """Keywords of Identifier: those of the stage, K, and where γ lies if the family says so."""
    operator = stage.degradation.operator
    assert isinstance(stage.network, dict)
    known: dict[str, Any] = {"num_parameters": operator.num_parameters, **stage.network}
    if operator.origin is not None and operator.spread is not None:
        known["output_offset"] = tuple(operator.origin.tolist())
        known["output_scale"] = tuple((stage.degradation.eta_waves * operator.spread).tolist())
    return known


def build(stage: Training) -> nn.Module:
    """The untrained network of a training stage."""
    if isinstance(stage, Joint):
        return Blind(build(stage.identify), _made(stage))
    return _made(stage)


def _made(stage: Training) -> nn.Module:
    """The one network that a stage's field `network` says."""
    if isinstance(stage.network, dict):
        if isinstance(stage, Identify):
            return Identifier(**identifier_config(stage))
        return (NAFNet if isinstance(stage, Restore) else Deblurrer)(**stage.network)
    takes = inspect.signature(stage.network).parameters
    known = {"num_parameters": stage.degradation.operator.num_parameters} if isinstance(stage, Identify) else {}
    network = stage.network(**{name: value for name, value in known.items() if name in takes})
    if not isinstance(network, nn.Module):
        raise SettingsError(f"{said(stage.network)} makes a {type(network).__name__}; a network is a torch.nn.Module")
    return network


def _identification(gamma: Tensor, batch: Batch, operator: Blur, eta_waves: float) -> dict[str, Tensor]:
    baseline = mean_psf(operator, eta_waves).to(batch.psf)
    return {
        "val_psf_snr_db": psf_snr_db(operator.psf(gamma), batch.psf),
        "val_mean_psf_snr_db": psf_snr_db(baseline.expand_as(batch.psf), batch.psf),
    }


def _restoration(restored: Tensor, batch: Batch) -> dict[str, Tensor]:
    return {
        "val_psnr_db": _psnr_db(restored, batch.sharp),
        "val_blurry_psnr_db": _psnr_db(batch.blurry, batch.sharp),
    }


def _psnr_db(estimate: Tensor, truth: Tensor) -> Tensor:
    """(B,) on the device: the curve's cheap signal; evaluation measures with scikit-image and a cut border."""
    return -10 * (estimate - truth).square().mean((1, 2, 3)).log10()
