"""Restoring without training: a published method finds the PSF, a classical restorer removes it."""

from typing import Any

from torch import Tensor

from deepblur.baselines import METHODS, DivergedError, SpectralIdentifier
from deepblur.baselines.estimate import READ_PX, richest
from deepblur.operators import ZernikeBlur
from deepblur.platform.models.light import Removal
from deepblur.platform.models.reliability import at_bound, disagreement
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.restoration.engines.engine import Engine, IdentifiedBlur
from deepblur.restoration.engines.names import TRAINING_FREE, Restorer
from deepblur.restoration.engines.removal import CLASSICAL_BYTES, classical


class TrainingFreeEngine(Engine):
    """A published method that reads the PSF from the image alone, and a classical restorer with that PSF."""

    def __init__(self, method: str, restorer: Restorer, *, psf_size: int, eta_waves: float, cutoff: float) -> None:
        if restorer == "deblur":
            raise ModelError(f"method {method} brings no deblurring network; choose the restorer tv")
        self.name, self.restorer, self.psf_size, self._eta_waves = method, restorer, psf_size, eta_waves
        self._method = METHODS[TRAINING_FREE[method]]
        self.operator = ZernikeBlur(psf_size=psf_size, cutoff=cutoff) if method == "spectral" else None
        self.takes_cutoff = self.operator is not None
        # what it searches, in the words of a trained model
        self.card = {} if self.operator is None else {"trained": {"eta_waves": eta_waves}}
        self.bytes_per_px = CLASSICAL_BYTES

    def identify(self, y: Tensor) -> IdentifiedBlur:
        agreement = None
        try:
            if self.operator is not None:
                spectral = SpectralIdentifier(self.operator, eta_waves=self._eta_waves)
                found, agreement = spectral.estimate(y), spectral.agreement_db(y)
            else:
                found = self._method(richest(y, READ_PX), psf_size=self.psf_size, seed=0)
        except DivergedError as error:
            raise InputError(f"{self.name} comes to no result on this image ({error}); try another method") from None
        assert found.psf is not None
        return IdentifiedBlur(found.psf, found.gamma, found.gamma_std, agreement_db=agreement)

    def limits(self, found: IdentifiedBlur) -> tuple[str, ...]:
        return at_bound(found.gamma, self._eta_waves) + disagreement(found.agreement_db)

    def described(self) -> dict[str, Any]:
        described = super().described()
        if self.operator is not None:
            described["optics"]["eta_waves"] = self._eta_waves
        return described

    def prepare(self, y: Tensor, found: IdentifiedBlur) -> Removal:
        return classical(self.restorer, y, found.psf)
