"""Restoring with a PSF that the user has: nothing is identified.

TV is the first choice. A network takes any PSF, but what it was not trained for it restores worse than TV does, and may
even spoil the image without a trace in the residual: `benchmarks/given_psf.py` has figures.
"""

from typing import Any

import torch
from torch import Tensor

from deepblur.operators import EigenPSFBlur, noise_std_of
from deepblur.platform.models.light import Removal
from deepblur.platform.models.model import BlindModel
from deepblur.platform.system.errors import InputError
from deepblur.restoration.engines.engine import Engine, IdentifiedBlur, hash_of
from deepblur.restoration.engines.measured_psf import MeasuredPSF
from deepblur.restoration.engines.names import Restorer
from deepblur.restoration.engines.removal import CLASSICAL_BYTES, classical, network_bytes

_SAME_PIXEL = 0.05
"""Relative: pixel sizes that differ by less are equal."""


class GivenPSFEngine(Engine):
    """The same PSF for every image, removed by a classical restorer or a deblurring network.

    Args:
        given: the PSF.
        restorer: what removes it.
        model: whose network `deblur` needs, with its name; None for the classical restorers.
    """

    def __init__(
        self,
        given: MeasuredPSF,
        restorer: Restorer,
        *,
        model: tuple[BlindModel, str] | None = None,
        device: str = "cpu",
    ) -> None:
        self.given, self.restorer, self.device = given, restorer, device
        self.name, self.psf_size = f"PSF of {given.name}", len(given.psf)
        self._psf = torch.from_numpy(given.psf)
        self._model: BlindModel | None = None if model is None else model[0]
        self._model_name = "" if model is None else model[1]
        self.card = {} if self._model is None else self._model.card
        self.bytes_per_px = CLASSICAL_BYTES
        if self._model is not None:
            self.bytes_per_px = network_bytes(self._model.deblurrer)
            energy = self._psf.norm()  # what the PSF weighs of its own direction
            self._blur = EigenPSFBlur((self._psf / energy)[None].to(device), self._model.operator.boundary)
            self._gamma = energy.reshape(1, 1).to(device)

    def check(self, size: tuple[int, int], pixel_um: float | None) -> None:
        if min(size) < self.psf_size:
            raise InputError(
                f"the PSF of {self.psf_size}x{self.psf_size} pixels is larger than the image, {size[0]}x{size[1]}; cut "
                "it with --psf-size"
            )
        own = self.given.pixel_um
        if own and pixel_um and abs(own / pixel_um - 1) > _SAME_PIXEL:
            raise InputError(
                f"a pixel of the image is {pixel_um:.4g} µm wide, one of {self.given.name} {own:.4g} µm; give the PSF "
                "on the image's pixels"
            )

    def described(self) -> dict[str, Any]:
        described = super().described()
        described["psf"] = {"name": self.given.name, "done": self.given.done, "hash": self.given.digest}
        if self._model is None:
            return described
        network = {"model": self._model_name, "weights": hash_of(self._model.deblurrer), "device": self.device}
        return described | network

    def identify(self, y: Tensor) -> IdentifiedBlur:
        return IdentifiedBlur(self._psf, given=True)

    def assumed(self, psfs: int = 1) -> tuple[str, ...]:
        if psfs == 1:
            return ()
        return (f"one PSF was given for all {psfs} channels, but each wavelength has its own: restore them one by one",)

    def limits(self, found: IdentifiedBlur) -> tuple[str, ...]:
        if self._model is None:
            return ()
        cutoff = self._model.operator.cutoff
        return (
            f"the network of {self._model_name} was trained for lenses of the cutoff {cutoff:g}, and removes other "
            "PSFs worse than TV does, or spoils the image: compare with --restorer tv",
        )

    def prepare(self, y: Tensor, found: IdentifiedBlur) -> Removal:
        if self._model is None:
            return classical(self.restorer, y, found.psf)
        network: Any = self._model.deblurrer
        noise = {"noise_std": noise_std_of(y).to(self.device)} if network.asks_for_noise else {}

        @torch.inference_mode()
        def restore(tile: Tensor, place: tuple[int, int]) -> Tensor:
            return network(tile[None, None].to(self.device), self._gamma, self._blur, **noise)[0, 0].float().cpu()

        return Removal(restore, {"restorer": "deblur"} | {name: float(value) for name, value in noise.items()})
