"""How a blurry image is restored: with a trained model, or with a published method that needs no training.

An engine identifies the blur of one grey image and removes a blur that was identified; what is large is its callers'
matter, who give it tiles.
"""

import hashlib
import inspect
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from deepblur.baselines import METHODS, DivergedError, SpectralIdentifier
from deepblur.baselines.estimate import READ_PX, richest
from deepblur.operators import ZernikeBlur, noise_std_of
from deepblur.platform.models.model import BlindModel
from deepblur.platform.models.readings import identify
from deepblur.platform.models.trained_range import largest_noise
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.restoration.reliability import Residual, residual_of
from deepblur.restoration.removal import CLASSICAL_BYTES, Removal, Restorer, classical, network_bytes

TRAINING_FREE = {"spectral": "spectral", "l0": "l0_gradient", "goldstein-fattal": "goldstein_fattal"}
"""What people type → name in deepblur.baselines.METHODS."""
NEAR_BOUND = 0.9
"""Of η: a search that is bounded by η ends below it."""


@dataclass(frozen=True)
class Found:
    """A blur that was identified."""

    psf: Tensor
    """(h, w), sum 1."""
    gamma: Tensor | None = None
    """(K,), in waves."""
    gamma_std: Tensor | None = None
    """(K,), in waves; None where the method states none."""
    calibrated: bool = False
    """Whether the uncertainty was checked against known blurs."""
    network_overtaxed: bool = False
    """Whether TV removes it, for the noise is stronger than the model's network was trained for."""


class Engine(ABC):
    """One way to identify and to restore."""

    name: str
    """What people should read, such as "models:/deepblur@champion (version 3)"."""
    restorer: Restorer
    operator: ZernikeBlur | None = None
    card: dict[str, Any]
    bytes_per_px: float
    """Memory that restoring a tile takes, measured."""
    whole_field: bool = False
    """Images are the whole field of a calibrated microscope; a part of one cannot be treated for itself."""
    cutoff_given: bool = False
    """Whether the user said the cutoff; without, that of `operator` is an assumption."""
    of_channels: "tuple[Engine, ...]" = ()
    """One for each channel, where each has a cutoff of its own; the first is this one."""

    @abstractmethod
    def identify(self, y: Tensor) -> Found:
        """The blur of a grey image (H, W)."""

    @abstractmethod
    def prepare(self, y: Tensor, found: Found) -> Removal:
        """What removes a blur from any tile (h, w) of the image y (H, W); its strength follows the whole of y."""

    @property
    @abstractmethod
    def psf_size(self) -> int:
        """Side of the PSF in pixels: no image may be smaller."""

    def of_channel(self, index: int) -> "Engine":
        """The one for a channel that has a PSF of its own."""
        return self.of_channels[index] if self.of_channels else self

    def assumed(self, psfs: int = 1) -> tuple[str, ...]:
        """A sentence on what nobody said of the optics; `psfs` is how many channels have one of their own."""
        if self.operator is None:
            return ()
        cutoff = self.operator.cutoff
        if not self.cutoff_given:
            return (
                f"the cutoff of {cutoff:g} cycles per pixel was assumed, and with another one the PSF is worth "
                "nothing: say yours, NA / wavelength * pixel size, with --cutoff",
            )
        if psfs > 1 and not self.of_channels:
            return (
                f"the cutoff {cutoff:g} was told for all {psfs} channels, but each wavelength has its own: say them in "
                f"the channels' order, as in --cutoff {','.join([f'{cutoff:g}'] * psfs)}",
            )
        return ()

    def described(self) -> dict[str, Any]:
        """What decides about the result beside image and options, as plain values."""
        of_channels = [engine.operator for engine in self.of_channels or (self,) if engine.operator is not None]
        optics: dict[str, Any] = {"psf_size": self.psf_size}
        if self.operator is not None:
            cutoffs = [operator.cutoff for operator in of_channels]
            optics |= asdict(self.operator)
            optics |= {"cutoff": cutoffs if len(cutoffs) > 1 else cutoffs[0], "cutoff_assumed": not self.cutoff_given}
        return {"method": self.name, "restorer": self.restorer, "optics": optics}

    def limits(self, found: Found) -> tuple[str, ...]:
        """Sentences about what the method itself could not have found."""
        return ()

    def check(self, size: tuple[int, int], pixel_um: float | None) -> None:
        """Refuse images of a kind that this engine cannot know; (rows, columns) and pixel in the sample.

        Raises:
            InputError: with the numbers.
        """
        return

    def places(self, found: Found, size: tuple[int, int]) -> dict[tuple[int, int], Found]:
        """(row, column) → the blur there, at a few places of an image of this size, where it varies over the field."""
        return {}

    def residual(self, y: Tensor, restored: Tensor, found: Found) -> Residual:
        """What blur and restored image leave unexplained of a grey image."""
        return residual_of(y, restored, found.psf)

    @abstractmethod
    def fingerprint(self) -> str:
        """What decides about the result, beside the image and the options."""


class TrainedEngine(Engine):
    """IN and DN of a model; or IN, and a classical restorer with its PSF."""

    def __init__(self, model: BlindModel, name: str, restorer: Restorer, device: str) -> None:
        if model.identifier is None:
            raise ModelError(f"{name} has no identification network and cannot restore blindly; choose another model")
        self.model, self.name, self.restorer = model, name, restorer
        self.operator, self.card, self.device = model.operator, model.card, device
        self.bytes_per_px = network_bytes(model.deblurrer) if restorer == "deblur" else CLASSICAL_BYTES

    @property
    def psf_size(self) -> int:
        return self.model.operator.psf_size

    def fingerprint(self) -> str:
        return f"{self.weights} {self.restorer}"

    @cached_property
    def weights(self) -> str:
        """Hash of both networks' weights."""
        return hash_of(self.model.identifier, self.model.deblurrer)

    def described(self) -> dict[str, Any]:
        described = super().described() | {"weights": self.weights, "device": self.device}
        trained = self.card.get("trained")
        described["optics"]["eta_waves"] = trained.get("eta_waves") if isinstance(trained, dict) else None
        return described

    def identify(self, y: Tensor) -> Found:
        found = identify(self.model, y[None, None].to(self.device))
        psf = self.model.operator.psf(found.gamma[None])[0, 0]
        return Found(psf.cpu(), found.gamma.cpu(), found.std.cpu(), found.calibrated)

    def prepare(self, y: Tensor, found: Found) -> Removal:
        if self.restorer != "deblur":
            return classical(self.restorer, y, found.psf)
        assert found.gamma is not None
        gamma = found.gamma[None].to(self.device)
        network: Any = self.model.deblurrer
        noise = {"noise_std": noise_std_of(y).to(self.device)} if network.asks_for_noise else {}

        @torch.inference_mode()
        def restore(tile: Tensor, place: tuple[int, int]) -> Tensor:
            return network(tile[None, None].to(self.device), gamma, self.model.operator, **noise)[0, 0].float().cpu()

        return Removal(restore, {"restorer": "deblur"} | {name: float(value) for name, value in noise.items()})


class SpectralEngine(TrainedEngine):
    """A model whose blur is identified by the spectral likelihood: its search has a bound, and its optics can be given.

    Args:
        identifier: the model's.
        or_tv: where the noise is stronger than its network was trained for, TV restores, which is better there
            (studies/protocol.py).
    """

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

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} {self.identifier.eta_waves} {self.operator}{' or tv' * self._or_tv}"

    def limits(self, found: Found) -> tuple[str, ...]:
        by_tv = ("TV restored it, not the network, which has not seen such noise",) if found.network_overtaxed else ()
        return by_tv + _at_bound(found, self.identifier.eta_waves)

    def identify(self, y: Tensor) -> Found:
        estimate = self.identifier.estimate(y.to(self.device))
        assert estimate.psf is not None
        assert estimate.gamma is not None
        assert estimate.gamma_std is not None
        most = largest_noise(self.card, y)
        overtaxed = self._or_tv and most is not None and float(noise_std_of(y)) > most
        return Found(estimate.psf.cpu(), estimate.gamma.cpu(), estimate.gamma_std.cpu(), network_overtaxed=overtaxed)

    def prepare(self, y: Tensor, found: Found) -> Removal:
        return classical("tv", y, found.psf) if found.network_overtaxed else super().prepare(y, found)


class TrainingFreeEngine(Engine):
    """A published method that reads the PSF from the image alone, and a classical restorer with that PSF."""

    def __init__(self, method: str, restorer: Restorer, *, psf_size: int, eta_waves: float, cutoff: float) -> None:
        if restorer == "deblur":
            raise ModelError(f"method {method} brings no deblurring network; choose the restorer tv")
        self.name, self.restorer, self._psf_size, self._eta_waves = method, restorer, psf_size, eta_waves
        self._method = METHODS[TRAINING_FREE[method]]
        self.operator = ZernikeBlur(psf_size=psf_size, cutoff=cutoff) if method == "spectral" else None
        self.card: dict[str, Any] = {}
        if self.operator is not None:
            self.card = {"trained": {"eta_waves": eta_waves}}  # what it searches, in the words of a trained model
        self.bytes_per_px = CLASSICAL_BYTES

    @property
    def psf_size(self) -> int:
        return self._psf_size

    def identify(self, y: Tensor) -> Found:
        offered = {"psf_size": self._psf_size, "operator": self.operator, "eta_waves": self._eta_waves, "seed": 0}
        accepted = inspect.signature(self._method).parameters
        try:
            found = self._method(richest(y, READ_PX), **{k: v for k, v in offered.items() if k in accepted})
        except DivergedError as error:
            raise InputError(f"{self.name} comes to no result on this image ({error}); try another method") from None
        assert found.psf is not None
        return Found(found.psf, found.gamma, found.gamma_std)

    def limits(self, found: Found) -> tuple[str, ...]:
        return _at_bound(found, self._eta_waves)

    def described(self) -> dict[str, Any]:
        described = super().described()
        if self.operator is not None:
            described["optics"]["eta_waves"] = self._eta_waves
        return described

    def fingerprint(self) -> str:
        return f"{self.name} {self.restorer} {self._psf_size} {self._eta_waves} {self.operator}"

    def prepare(self, y: Tensor, found: Found) -> Removal:
        return classical(self.restorer, y, found.psf)


def _at_bound(found: Found, eta_waves: float) -> tuple[str, ...]:
    if found.gamma is None or float(found.gamma.abs().max()) < NEAR_BOUND * eta_waves:
        return ()
    return (
        f"an aberration reaches {eta_waves:g} waves, the most that the search allows: the true one may be "
        "larger, or the image not blurred in this way at all (--eta allows more)",
    )


def hash_of(*networks: nn.Module | None) -> str:
    """BLAKE2b of the weights of networks."""
    digest = hashlib.blake2b(digest_size=16)
    for network in networks:
        for value in {} if network is None else network.state_dict().values():
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
