"""What every engine does: identify the blur of one grey image, and remove from its tiles a blur that was identified."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor, nn

from deepblur.baselines.spectrum_end import spectrum_end
from deepblur.operators import ZernikeBlur
from deepblur.operators.pupil import NYQUIST
from deepblur.platform.models.light import Removal
from deepblur.platform.models.reliability import Residual, residual_of
from deepblur.restoration.engines.names import Restorer
from deepblur.restoration.engines.optics import UNKNOWN, ChannelOptics, Quantity


@dataclass(frozen=True)
class IdentifiedBlur:
    """A blur that was identified."""

    psf: Tensor
    """(h, w), sum 1."""
    gamma: Tensor | None = None
    """(K,), in waves."""
    gamma_std: Tensor | None = None
    """(K,), in waves; None where the method states none."""
    calibrated: bool = False
    """Whether the uncertainty was checked against known blurs."""
    agreement_db: float | None = None
    """How like the PSFs of two halves of the image are; None where that was not asked, or the image is too small."""
    network_overtaxed: bool = False
    """Whether TV removes it, for the noise is stronger than the model's network was trained for."""
    given: bool = False
    """Whether the user gave it, and nothing was identified."""


class Engine(ABC):
    """One way to identify and to restore."""

    name: str
    """What people should read, such as "models:/deepblur@champion (version 3)"."""
    restorer: Restorer
    operator: ZernikeBlur | None = None
    psf_size: int
    """Side of the PSF in pixels: no image may be smaller."""
    card: dict[str, Any]
    """What is known of its training; empty without one."""
    bytes_per_px: float
    """Memory that restoring a tile takes, measured."""
    whole_field: bool = False
    """Images are the whole field of a calibrated microscope; a part of one cannot be treated for itself."""
    takes_cutoff: bool = False
    """Whether the cutoff can be said; a network knows that of its training alone."""
    known: ChannelOptics = UNKNOWN
    """What is known of the optics; where that is no cutoff, that of `operator` is an assumption."""
    doubts: tuple[str, ...] = ()
    """Sentences about optics that cannot be right."""
    adapted: "Callable[[tuple[ChannelOptics, ...]], Engine] | None" = None
    """Makes the same engine for other optics, for all channels or for each; None where it knows its own."""
    of_channels: "tuple[Engine, ...]" = ()
    """One for each channel, where each has a cutoff of its own; the first is this one."""

    @abstractmethod
    def identify(self, y: Tensor) -> IdentifiedBlur:
        """The blur of a grey image (H, W)."""

    @abstractmethod
    def prepare(self, y: Tensor, found: IdentifiedBlur) -> Removal:
        """What removes a blur from any tile (h, w) of the image y (H, W); its strength follows the whole of y."""

    def of_channel(self, index: int) -> "Engine":
        """The one for a channel that has a PSF of its own."""
        return self.of_channels[index] if self.of_channels else self

    def know(self, optics: ChannelOptics) -> None:
        """That these are the optics, for whose cutoff the engine was made."""
        self.known = optics

    @property
    def known_or_assumed(self) -> ChannelOptics:
        """With the cutoff of `operator`, for which the PSF is found."""
        if self.operator is None:
            return self.known
        if self.known.cutoff is None:
            return replace(self.known, cutoff=Quantity(self.operator.cutoff, "assumed"))
        return replace(self.known, cutoff=replace(self.known.cutoff, value=self.operator.cutoff))

    def assumed(self, psfs: int = 1) -> tuple[str, ...]:
        """A sentence on what nobody said of the optics; `psfs` is how many channels have one of their own."""
        if self.operator is None:
            return ()
        cutoff = self.operator.cutoff
        if self.doubts:
            return self.doubts
        if self.known.cutoff is None:
            return (
                f"the cutoff of {cutoff:g} cycles per pixel was assumed, and with another one the PSF is worth "
                "nothing: say yours, NA / wavelength * pixel size, with --cutoff",
            )
        if psfs > 1 and not self.of_channels:
            told = self.known.wavelength_nm
            option, value = ("--cutoff", cutoff) if told is None else ("--wavelength-nm", told.value)
            return (
                f"the cutoff {cutoff:g} was told for all {psfs} channels, but each wavelength has its own: say them in "
                f"the channels' order, as in {option} {','.join([f'{value:g}'] * psfs)}",
            )
        return ()

    def aliased(self) -> tuple[str, ...]:
        """A sentence where the pixels are too coarse for the lens."""
        if self.operator is None or not self.operator.coarse:
            return ()
        return (
            f"the pixels are coarse for this lens (its cutoff {self.operator.cutoff:.3g} is above {NYQUIST}): detail "
            "beyond them cannot come back, what lies there shows as false detail, and the PSF is known less well",
        )

    def contradicted(self, y: Tensor) -> tuple[str, ...]:
        """A sentence where the spectrum of an image (H, W) cannot be that of the cutoff that was told."""
        known = self.known.cutoff
        if self.operator is None or known is None or known.origin == "image":
            return ()
        end = spectrum_end(y)
        if end is None:
            return ()
        least, likely = end.beyond(known.value), end.below(known.value)
        said = f"the cutoff {known.value:.3g} ({known.words})"
        if least is not None:
            return (
                f"the image has power beyond {2 * known.value:.3g} cycles per pixel, where a lens of {said} passes no "
                f"light: by its spectrum the cutoff is at least {least:.2g}; check NA, wavelength and pixel size",
            )
        if likely is not None:
            return (
                f"the spectrum of the image ends as that of a lens of the cutoff {likely:.2g}, far below {said}: check "
                "NA, wavelength and pixel size, unless the specimen itself is soft or the image was enlarged",
            )
        return ()

    def described(self) -> dict[str, Any]:
        """What decides about the result beside image and options, as plain values."""
        optics: dict[str, Any] = {"psf_size": self.psf_size}
        if self.operator is not None:
            known = [engine.known_or_assumed for engine in self.of_channels or (self,)]
            cutoffs = [one.cutoff.value for one in known if one.cutoff is not None]
            optics |= asdict(self.operator)
            optics |= {"cutoff": cutoffs if len(cutoffs) > 1 else cutoffs[0]}
            optics |= {"cutoff_assumed": any(engine.known.cutoff is None for engine in self.of_channels or (self,))}
            optics |= {"known": [one.as_json() for one in known]}
        return {"method": self.name, "restorer": self.restorer, "optics": optics}

    def limits(self, found: IdentifiedBlur) -> tuple[str, ...]:
        """Sentences about what the method itself could not have found."""
        return ()

    def check(self, size: tuple[int, int], pixel_um: float | None) -> None:
        """Refuse images of a kind that this engine cannot know; (rows, columns) and pixel in the sample.

        Raises:
            InputError: with the numbers.
        """
        return

    def places(self, found: IdentifiedBlur, size: tuple[int, int]) -> dict[tuple[int, int], IdentifiedBlur]:
        """(row, column) → the blur there, at a few places of an image of this size, where it varies over the field."""
        return {}

    def residual(self, y: Tensor, restored: Tensor, found: IdentifiedBlur) -> Residual:
        """What blur and restored image leave unexplained of a grey image."""
        return residual_of(y, restored, found.psf)


def hash_of(*networks: nn.Module | None) -> str:
    """BLAKE2b of the weights of networks."""
    digest = hashlib.blake2b(digest_size=16)
    for network in networks:
        for value in {} if network is None else network.state_dict().values():
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
