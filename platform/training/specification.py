"""What a study trains and measures, as frozen values: a stage is identified by the hash of its full specification.

The hash covers every field, seed included, the fingerprint of the pixels (not their path), the code that the stage
runs, a user's own included, and the stages that it needs. Two arms that need the same stage therefore share it, and a
rerun trains only what is missing.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from deepblur.operators import Blur, NoiseRange
from deepblur.platform.data.sources import Source
from deepblur.platform.stages.identity import canonical, classes_in, code_of

IdentificationLoss = Literal["gamma", "twin", "psf", "half_space", "twin_psf"]


class SettingsError(ValueError):
    """Settings that cannot be carried out, however often it is tried."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """How a sharp crop x becomes an observation y = A(γ)x + b."""

    operator: Blur
    """The family of blur operators, a frozen dataclass of plain values; γ in waves for Zernike modes."""
    eta_waves: float
    """PSF complexity η: for Zernike modes every γ_k is uniform in [−η, η]; see `Blur.draw`."""
    noise: NoiseRange
    """The range that gain and read noise are drawn from, once per image."""
    crop_px: int
    """Side of y; x is larger by what the boundary of the operator needs."""
    gamma_error: float = 0.0
    """Of the γ that DN is told in training, as an identification would: see `told`."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """Adam with the paper's betas (0.9, 0.999), eps 1e-8 and no weight decay; the rest is chosen here."""

    steps: int
    batch: int
    """Images per step over all workers; a multiple of 8, because draws come in blocks of 8, one or more per worker."""
    lr: float = 1e-3
    schedule: Literal["constant", "one_cycle"] = "constant"
    clip_norm: float | None = None
    ema: float | None = None
    """Decay of an exponential moving average of the weights, which is then what is validated and kept."""
    precision: Literal["float32", "bfloat16"] = "float32"
    validations: int = 10
    """How often in the run the network is validated and a checkpoint is kept."""
    validation_draws: int = 64

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.validations < 1:
            raise ValueError(
                f"steps, batch and validations are at least 1; got {self.steps}, {self.batch}, {self.validations}"
            )
        if not self.lr > 0:
            raise ValueError(f"lr must be positive; got {self.lr}")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Anything that is done once and reused: it has a kind, a key and a folder."""

    kind: ClassVar[str]
    entry: ClassVar[tuple[str, ...]]
    """Modules that carry out every stage of this kind; what they import counts with them."""

    def runs(self) -> tuple[str, ...]:
        """Modules that carry out this stage."""
        return self.entry

    def uses(self) -> tuple[Any, ...]:
        """Functions that this stage finds by a name in its specification."""
        return ()

    def code(self) -> dict[str, str]:
        """Module → hash of its code, of all that decides about the result."""
        return code_of(self.runs(), (*classes_in(self), *self.uses()))

    def needs(self) -> tuple["Stage", ...]:
        return ()

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        """The mixtures of sources whose pixels this stage looks at."""
        return ()

    def key(self, fingerprints: Mapping[tuple[Source, ...], str]) -> str:
        """32 hexadecimal digits; fingerprints: pixels' fingerprint of every tuple of sources that the stage names."""
        code = sorted(set(self.code().values()))  # a module may be renamed, and a study file run from elsewhere
        needs = [need.key(fingerprints) for need in self.needs()]  # made by other code than this stage
        spec = {"kind": self.kind, "spec": canonical(self, fingerprints), "code": code, "needs": needs}
        return hashlib.blake2b(json.dumps(spec, sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Training(Stage):
    """Train one network on fresh degradations of sharp images."""

    entry: ClassVar[tuple[str, ...]] = ("platform/training/trainer",)

    train: tuple[Source, ...]
    validation: tuple[Source, ...]
    degradation: Degradation
    optimization: Optimization
    network: dict[str, Any] = field(hash=False)
    """Keywords of deepblur.nets.Identifier, K excepted, of deepblur.nets.Deblurrer or of deepblur.nets.NAFNet."""
    seed: int
    monitor: "Grid | None" = None
    """A fixed grid on which the validation images show the curve too, so that trainings on other noise or another η
    can be told apart while they run; see `deepblur.platform.arms.search.search`."""

    def gives(self) -> tuple[str, ...]:
        """Kinds of the networks that come out of it."""
        return (self.kind,)

    def runs(self) -> tuple[str, ...]:
        return self.entry if self.monitor is None else (*self.entry, "platform/arms/trained/measure")

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.train, self.validation)


@dataclass(frozen=True, kw_only=True)
class Identify(Training):
    """Train the identification network IN: y → γ̂."""

    kind: ClassVar[str] = "identify"

    loss: IdentificationLoss


@dataclass(frozen=True, kw_only=True)
class Deblur(Training):
    """Train the deblurring network DN: (y, γ) → x̂, on true operators or on an IN's estimates."""

    kind: ClassVar[str] = "deblur"

    identify: Identify | None
    """None trains on the true γ; otherwise on this IN's estimates γ̂ = IN(y)."""

    def needs(self) -> tuple[Stage, ...]:
        return () if self.identify is None else (self.identify,)


@dataclass(frozen=True, kw_only=True)
class Joint(Training):
    """Train IN and DN together, by DN's loss through γ̂ = IN(y) plus `weight` times IN's own loss."""

    kind: ClassVar[str] = "joint"

    identify: Identify
    """The IN's network and loss and, where `pretrained`, the training whose weights it starts from."""
    pretrained: bool
    weight: float

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"the weight of IN's loss is at least 0; got {self.weight}")

    def needs(self) -> tuple[Stage, ...]:
        return (self.identify,) if self.pretrained else ()

    def gives(self) -> tuple[str, ...]:
        return ("identify", "deblur")


@dataclass(frozen=True, kw_only=True)
class Restore(Training):
    """Train a network that restores without knowing the operator: y → x̂, a NAFNet, the single-stage control."""

    kind: ClassVar[str] = "restore"


@dataclass(frozen=True)
class NoiseLevel:
    """One noise setting of an evaluation grid: Var b = gain·s + read_std², images in [0, 1]."""

    name: str
    gain: float
    read_std: float

    def __post_init__(self) -> None:
        if not self.name or not all(0 <= value < math.inf for value in (self.gain, self.read_std)):
            raise ValueError(f"a noise level has a name, and gain and read noise of at least 0; got {self}")

    @property
    def std(self) -> float:
        """Standard deviation of the noise on a signal of one half, in units of intensity."""
        return math.sqrt(0.5 * self.gain + self.read_std**2)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The fixed evaluation grid: every arm sees the same images, crops, operators and noise draws."""

    noise: tuple[NoiseLevel, ...]
    eta_waves: tuple[float, ...]
    images: int
    """How many test images at most, the first ones of the test source."""
    draws: int
    """Crops per image; each comes with its own γ and noise, the same in every noise × η cell up to scale."""
    crop_px: int
    seed: int = 0
    limit_s: float = 600.0
    """A draw on which a compared method takes longer counts as timed out."""

    def __post_init__(self) -> None:
        if not self.noise or not self.eta_waves or not all(0 < eta < math.inf for eta in self.eta_waves):
            raise ValueError(
                f"a grid needs a noise level and PSF complexities η > 0; got {self.noise}, {self.eta_waves}"
            )


@dataclass(frozen=True, kw_only=True)
class RealImages:
    """Images of the test source as they are: observations whose truth nobody knows."""

    images: int
    """How many at most, the first ones of the test source."""
    crop_px: int
    """At most this many rows and columns, from the middle."""
    seed: int = 0
    limit_s: float = 600.0
    """An image on which a method takes longer counts as timed out."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to do blind deblurring that a study compares: an IN and a DN."""

    identify: Identify
    deblur: Deblur


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """Measure one trained arm on the grid, with γ̂ = IN(y) and, as the oracle, with the true γ."""

    kind: ClassVar[str] = "evaluate"
    entry: ClassVar[tuple[str, ...]] = ("platform/stages/work",)

    arm: Arm
    grid: Grid
    test: tuple[Source, ...]

    def needs(self) -> tuple[Stage, ...]:
        return (self.arm.identify, self.arm.deblur)

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.test,)
