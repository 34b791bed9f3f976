"""A trained arm, an IN and a DN, and the stage that measures it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from deepblur.operators import ZernikeBlur
from deepblur.platform.data.sources import Source
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.evaluation.measure import Score, name_of
from deepblur.platform.experiment.arm import Stores, StudyArm
from deepblur.platform.experiment.study import Plan
from deepblur.platform.stages.identity import said
from deepblur.platform.stages.stage import Stage
from deepblur.platform.tracking.names import measured
from deepblur.platform.training.specification import Deblur, Identify
from deepblur.platform.training.tasks import identifier_config


@dataclass(frozen=True, kw_only=True)
class Arm(StudyArm):
    """One way to do blind deblurring that a study compares: an IN and a DN."""

    gatherer: ClassVar[str] = "platform/arms/trained/collect"

    identify: Identify
    """The training of IN, y → γ̂."""
    deblur: Deblur
    """The training of DN, (y, γ) → x̂; it may rest on the same IN."""

    @property
    def label(self) -> str:
        return "IN + DN"

    def stages(self, plan: Plan, seed: int, stores: Stores) -> Sequence[Stage]:
        assert isinstance(plan.grid, Grid)
        return [Evaluate(arm=self, grid=plan.grid, test=plan.data.test, scores=plan.study.scores)]

    def no_model(self) -> str:
        """Why `save_model` would refuse the networks."""
        operator = self.identify.degradation.operator
        if type(operator) is not ZernikeBlur:
            return f"their operator is a {type(operator).__name__} and a model's is a ZernikeBlur"
        if own := [said(part) for stage in (self.identify, self.deblur) if (part := stage.own())]:
            return f"{' and '.join(own)} {'is' if len(own) == 1 else 'are'} the study's own and a model holds no code"
        try:
            json.dumps([asdict(operator), identifier_config(self.identify), self.deblur.network])
        except (TypeError, ValueError) as error:
            return f"their settings are not JSON values ({error})"
        return ""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """Measure one trained arm on the grid, with γ̂ = IN(y) and, as the oracle, with the true γ."""

    kind: ClassVar[str] = "evaluate"
    title: ClassVar[str] = "evaluation"
    entry: ClassVar[tuple[str, ...]] = ("platform/arms/trained/evaluate", "platform/training/tasks")

    arm: Arm
    grid: Grid
    test: tuple[Source, ...]
    scores: tuple[Score, ...] = ()
    """Of the study's own metrics."""

    def headline(self, row: Mapping[str, Any]) -> str:
        return f"test PSNR {row['psnr_db']:.2f} dB (blurry {row['blurry_psnr_db']:.2f})"

    def measured(self, result: Mapping[str, Any]) -> dict[str, float]:
        own = tuple(map(name_of, self.scores))
        return measured("test", {k: v for k, v in result.items() if k.endswith(("_db", "ssim", "_ms")) or k in own})

    def needs(self) -> tuple[Stage, ...]:
        return (self.arm.identify, self.arm.deblur)

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.test,)
