"""Does a Fourier transform take longer, the larger it is?

Claim    A kind of study that the package does not know, from this one file: it measures wall time and nothing else.
Measure  Nothing that anybody should quote.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from deepblur.platform.experiment.arm import Stores, StudyArm
from deepblur.platform.experiment.result import Result, header
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Stage, Work
from deepblur.platform.study import Data, Grid, NoiseLevel, Plan, Preset, Study
from deepblur.platform.tracking.names import of_arm


@dataclass(frozen=True, kw_only=True)
class Time(Stage):
    """Transform an image many times."""

    kind: ClassVar[str] = "time"
    title: ClassVar[str] = "timing"
    entry: ClassVar[tuple[str, ...]] = ()

    side_px: int
    repeats: int

    def headline(self, row: Mapping[str, Any]) -> str:
        return f"{row['transform_ms']:.3f} ms a transform"

    def measured(self, result: Mapping[str, Any]) -> dict[str, float]:
        return {"test/transform_ms": result["transform_ms"]}

    def carry_out(self, work: Work, watch: Callable[[], None]) -> dict[str, Any]:
        work.prepare()
        meter = work.begin()
        image, started = torch.zeros(self.side_px, self.side_px), time.perf_counter()
        for _ in range(self.repeats):
            torch.fft.rfft2(image)
        each_ms = 1000 * (time.perf_counter() - started) / self.repeats
        return work.settle(work.unfinished_folder(), {"transform_ms": each_ms}, meter)


@dataclass(frozen=True, kw_only=True)
class Timing(StudyArm):
    """A size to time."""

    side_px: int
    repeats: int

    @property
    def label(self) -> str:
        return f"FFT of {self.side_px} px"

    def stages(self, plan: Plan, seed: int, stores: Stores) -> Sequence[Stage]:
        return [Time(side_px=self.side_px, repeats=self.repeats)]

    @classmethod
    def collect(cls, plan: Plan, graph: Any, ledger: Ledger, facts: dict[str, str]) -> "TimingResult":
        times = {arm: (ledger.done(key) or {})["transform_ms"] for (arm, _), (key,) in graph.results.items()}
        return TimingResult(**header(plan, facts, ledger, graph.works), transform_ms=times)


@dataclass(frozen=True, kw_only=True, eq=False)
class TimingResult(Result):
    """Arm → how long one transform takes."""

    transform_ms: dict[str, float]

    def text(self) -> str:
        return "\n".join([self.title, *(f"{arm:6} {each:.3f} ms" for arm, each in self.transform_ms.items())])

    def metrics(self) -> dict[str, float]:
        return {of_arm(arm, "transform_ms"): each for arm, each in self.transform_ms.items()}


def arm(*, side_px: int, data: Data, seed: int, repeats: int = 3) -> Timing:
    return Timing(side_px=side_px, repeats=repeats)


STUDY = Study(
    name="micro_timing",
    about=__doc__,
    arm=arm,
    arms={"small": {"side_px": 32}, "large": {"side_px": 128}},
    contrast=("small", "large"),
    presets={
        "quick": Preset(
            seeds=(0,),
            grid=Grid(noise=(NoiseLevel("clean", 0.0, 0.0),), eta_waves=(0.05,), images=2, draws=1, crop_px=48),
        )
    },
)

if __name__ == "__main__":
    STUDY.main()
