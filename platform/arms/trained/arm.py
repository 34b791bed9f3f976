"""A trained arm, an IN and a DN, and the stage that measures it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from deepblur.platform.data.sources import Source
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.stages.stage import Stage
from deepblur.platform.tracking.names import measured
from deepblur.platform.training.specification import Deblur, Identify


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to do blind deblurring that a study compares: an IN and a DN."""

    identify: Identify
    """The training of IN, y → γ̂."""
    deblur: Deblur
    """The training of DN, (y, γ) → x̂; it may rest on the same IN."""

    @property
    def label(self) -> str:
        """What identifies and what restores, for people."""
        return "IN + DN"


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """Measure one trained arm on the grid, with γ̂ = IN(y) and, as the oracle, with the true γ."""

    kind: ClassVar[str] = "evaluate"
    title: ClassVar[str] = "evaluation"
    entry: ClassVar[tuple[str, ...]] = ("platform/arms/trained/evaluate", "platform/training/tasks")

    arm: Arm
    grid: Grid
    test: tuple[Source, ...]

    def headline(self, row: Mapping[str, Any]) -> str:
        return f"test PSNR {row['psnr_db']:.2f} dB (blurry {row['blurry_psnr_db']:.2f})"

    def measured(self, result: Mapping[str, Any]) -> dict[str, float]:
        return measured("test", {name: v for name, v in result.items() if name.endswith(("_db", "ssim", "_ms"))})

    def needs(self) -> tuple[Stage, ...]:
        return (self.arm.identify, self.arm.deblur)

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.test,)
