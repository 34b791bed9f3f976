"""Restoring with a trained model: its identification network or the spectral likelihood, and its deblurring network."""

from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from deepblur.baselines import SpectralIdentifier
from deepblur.operators import Blur, EigenPSFBlur, noise_std_of
from deepblur.platform.models.light import Removal
from deepblur.platform.models.model import BlindModel
from deepblur.platform.models.readings import identify
from deepblur.platform.models.reliability import BY_TV, at_bound, disagreement
from deepblur.platform.models.shipped import DEFAULT
from deepblur.platform.models.trained_range import largest_noise
from deepblur.platform.system.errors import ModelError
from deepblur.restoration.engines.engine import Engine, IdentifiedBlur, hash_of
from deepblur.restoration.engines.names import Restorer
from deepblur.restoration.engines.optics import ChannelOptics, same_cutoff
from deepblur.restoration.engines.removal import CLASSICAL_BYTES, classical, network_bytes


class TrainedEngine(Engine):
    """IN and DN of a model; or IN, and a classical restorer with its PSF."""

    def __init__(self, model: BlindModel, name: str, restorer: Restorer, device: str) -> None:
        if model.identifier is None:
            raise ModelError(f"{name} has no identification network and cannot restore blindly; choose another model")
        self.model, self.name, self.restorer = model, name, restorer
        self.operator, self.psf_size = model.operator, model.operator.psf_size
        self.card, self.device = model.card, device
        self.bytes_per_px = network_bytes(model.deblurrer) if restorer == "deblur" else CLASSICAL_BYTES

    def know(self, optics: ChannelOptics) -> None:
        if self.takes_cutoff or same_cutoff(optics, self.model.operator.cutoff):
            super().know(optics)
            return
        super().know(replace(optics, cutoff=None))
        self.doubts = (
            f"{optics.words} is not the cutoff {self.model.operator.cutoff:g} that the network of {self.name} was "
            f"trained for, so the PSF is worth nothing: take --model {DEFAULT} or --method spectral",
        )

    @cached_property
    def weights(self) -> str:
        """Hash of both networks' weights."""
        return hash_of(self.model.identifier, self.model.deblurrer)

    def described(self) -> dict[str, Any]:
        described = super().described() | {"weights": self.weights, "device": self.device}
        trained = self.card.get("trained")
        known = trained.get("eta_waves") if isinstance(trained, dict) else None
        described["optics"]["eta_waves"] = getattr(self.model.identifier, "eta_waves", known)
        return described

    def identify(self, y: Tensor) -> IdentifiedBlur:
        found = identify(self.model, y[None, None].to(self.device))
        psf = self.model.operator.psf(found.gamma[None])[0, 0]
        return IdentifiedBlur(psf.cpu(), found.gamma.cpu(), found.std.cpu(), found.calibrated)

    def prepare(self, y: Tensor, found: IdentifiedBlur) -> Removal:
        if self.restorer != "deblur":
            return classical(self.restorer, y, found.psf)
        operator, gamma = self._blur(found)
        gamma = gamma.to(self.device)
        network: Any = self.model.deblurrer
        noise = {"noise_std": noise_std_of(y).to(self.device)} if network.asks_for_noise else {}

        @torch.inference_mode()
        def restore(tile: Tensor, place: tuple[int, int]) -> Tensor:
            return network(tile[None, None].to(self.device), gamma, operator, **noise)[0, 0].float().cpu()

        return Removal(restore, {"restorer": "deblur"} | {name: float(value) for name, value in noise.items()})

    def _blur(self, found: IdentifiedBlur) -> tuple[Blur, Tensor]:
        """What the network removes: an operator and γ (1, K)."""
        assert found.gamma is not None
        return self.model.operator, found.gamma[None]


class SpectralEngine(TrainedEngine):
    """A model whose blur is identified by the spectral likelihood: its search has a bound, and its optics can be given.

    Args:
        identifier: the model's.
        or_tv: where the noise is stronger than its network was trained for, TV restores, which is better there
            (studies/protocol.py).
    """

    takes_cutoff = True

    def __init__(
        self,
        model: BlindModel,
        identifier: SpectralIdentifier,
        name: str,
        restorer: Restorer,
        device: str,
        *,
        or_tv: bool = False,
    ) -> None:
        super().__init__(model, name, restorer, device)
        self.identifier, self._or_tv = identifier, or_tv
        if or_tv:
            self.bytes_per_px = max(self.bytes_per_px, CLASSICAL_BYTES)

    def limits(self, found: IdentifiedBlur) -> tuple[str, ...]:
        by_tv = (BY_TV,) if found.network_overtaxed else ()
        return by_tv + at_bound(found.gamma, self.identifier.eta_waves) + disagreement(found.agreement_db)

    def identify(self, y: Tensor) -> IdentifiedBlur:
        estimate = self.identifier.estimate(y.to(self.device))
        assert estimate.psf is not None
        assert estimate.gamma is not None
        assert estimate.gamma_std is not None
        most = largest_noise(self.card, y)
        overtaxed = self._or_tv and most is not None and float(noise_std_of(y)) > most
        psf, gamma, gamma_std = (part.cpu() for part in (estimate.psf, estimate.gamma, estimate.gamma_std))
        return IdentifiedBlur(
            psf, gamma, gamma_std, agreement_db=self.identifier.agreement_db(y), network_overtaxed=overtaxed
        )

    def _blur(self, found: IdentifiedBlur) -> tuple[Blur, Tensor]:
        return EigenPSFBlur.of_one(
            found.psf.to(self.device), self.model.operator.boundary
        )  # it may be a mean of several

    def prepare(self, y: Tensor, found: IdentifiedBlur) -> Removal:
        return classical("tv", y, found.psf) if found.network_overtaxed else super().prepare(y, found)
