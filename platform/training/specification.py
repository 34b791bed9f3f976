"""What is trained, as frozen values: how a network is optimised, and the four trainings that there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from deepblur.platform.data.observations import Degradation
from deepblur.platform.data.sources import Source
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.stages.stage import Stage

IdentificationLoss = Literal["gamma", "twin", "psf", "half_space", "twin_psf"]

NETWORKS = {"identify": "IN", "deblur": "DN", "joint": "joint", "restore": "NAFNet"}
"""Kind of a training → what people call its network."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """Adam with the paper's betas (0.9, 0.999), eps 1e-8 and no weight decay; the rest is chosen here.

    Raises:
        ValueError: steps, batch or validations below 1, or a learning rate that is not positive.
    """

    steps: int
    """Of the optimiser, in all."""
    batch: int
    """Images per step over all workers; a multiple of 8, because draws come in blocks of 8, one or more per worker."""
    lr: float = 1e-3
    """Learning rate; of a one-cycle schedule the largest."""
    schedule: Literal["constant", "one_cycle"] = "constant"
    """How the learning rate runs over the steps."""
    clip_norm: float | None = None
    """Norm to which a larger gradient is cut; None: none is."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, which is then what is validated and kept."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the networks' arithmetic; weights and data steps stay in float32."""
    validations: int = 10
    """How often in the run the network is validated and a checkpoint is kept."""
    validation_draws: int = 64
    """Degraded crops that a validation measures, the same each time."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.validations < 1:
            raise ValueError(
                f"steps, batch and validations are at least 1; got {self.steps}, {self.batch}, {self.validations}"
            )
        if not self.lr > 0:
            raise ValueError(f"lr must be positive; got {self.lr}")


@dataclass(frozen=True, kw_only=True)
class Training(Stage):
    """Train one network on fresh degradations of sharp images."""

    processes: ClassVar[int | None] = None
    entry: ClassVar[tuple[str, ...]] = ("platform/training/in_process", "platform/training/trainer")

    train: tuple[Source, ...]
    """Sharp images to learn from."""
    validation: tuple[Source, ...]
    """Sharp images that decide which weights are kept."""
    degradation: Degradation
    """Operator family, η, noise and size of the crops."""
    optimization: Optimization
    """Steps, batch and learning rate."""
    network: dict[str, Any] | Callable[..., Any] = field(hash=False)
    """Keywords of deepblur.nets.Identifier, K excepted, of deepblur.nets.Deblurrer or of deepblur.nets.NAFNet; or a
    network of your own: a class or function that makes a torch module, `functools.partial` of it to give it settings.
    IN maps y (B, 1, H, W) → γ̂ (B, K), and is told K where it takes `num_parameters`; DN maps (y, γ, operator), and what
    restores maps y, → x̂ (B, 1, H, W)."""
    seed: int
    """Of weights, crops, operators and noise."""
    monitor: Grid | None = None
    """A fixed grid on which the validation images show the curve too, so that trainings on other noise or another η
    can be told apart while they run; see `deepblur.platform.arms.search.search`."""

    def own(self) -> Any | None:
        """What makes its network where that is of the study's own; None where deepblur has it."""
        return getattr(self.network, "func", self.network) if callable(self.network) else None

    def gives(self) -> tuple[str, ...]:
        """Kinds of the networks that come out of it."""
        return (self.kind,)

    def own_seed(self) -> int | None:
        return self.seed

    def steps(self) -> int:
        return self.optimization.steps

    def headline(self, row: Mapping[str, Any]) -> str:
        if "val_psf_snr_db" in row:
            return f"PSF SNR {row['val_psf_snr_db']:.1f} dB (mean PSF {row['val_mean_psf_snr_db']:.1f})"
        return f"PSNR {row['val_psnr_db']:.2f} dB (blurry {row['val_blurry_psnr_db']:.2f})"

    def runs(self) -> tuple[str, ...]:
        return self.entry if self.monitor is None else (*self.entry, "platform/evaluation/grid")

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.train, self.validation)


@dataclass(frozen=True, kw_only=True)
class Identify(Training):
    """Train the identification network IN: y → γ̂."""

    kind: ClassVar[str] = "identify"
    title: ClassVar[str] = "IN"

    loss: IdentificationLoss
    """What is small where γ̂ is right, in γ or in the PSF; see `deepblur.platform.training.losses`."""


@dataclass(frozen=True, kw_only=True)
class Deblur(Training):
    """Train the deblurring network DN: (y, γ) → x̂, on true operators or on an IN's estimates."""

    kind: ClassVar[str] = "deblur"
    title: ClassVar[str] = "DN"

    identify: Identify | None
    """None trains on the true γ; otherwise on this IN's estimates γ̂ = IN(y)."""

    def needs(self) -> tuple[Stage, ...]:
        return () if self.identify is None else (self.identify,)


@dataclass(frozen=True, kw_only=True)
class Joint(Training):
    """Train IN and DN together, by DN's loss through γ̂ = IN(y) plus `weight` times IN's own loss.

    Raises:
        ValueError: a negative weight.
    """

    kind: ClassVar[str] = "joint"
    title: ClassVar[str] = "IN and DN"

    identify: Identify
    """The IN's network and loss and, where `pretrained`, the training whose weights it starts from."""
    pretrained: bool
    """Whether IN starts from its own training's weights."""
    weight: float
    """Of IN's own loss, at least 0."""

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
    title: ClassVar[str] = "NAFNet"
