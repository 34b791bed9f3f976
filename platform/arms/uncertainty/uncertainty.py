"""How sure is γ̂? Several answers under comparison, all from the same readings of held-out draws by trained INs.

Reading is a stage: it is what takes time. Turning readings into standard deviations and scoring them takes seconds and
belongs to the result, `deepblur.platform.arms.uncertainty.result`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pandas as pd
from torch import nn

from deepblur.operators import noise_std_of
from deepblur.platform.data.observations import Degradation
from deepblur.platform.data.sources import Source
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.grid import Cell, cells
from deepblur.platform.evaluation.levels import Grid, NoiseLevel
from deepblur.platform.experiment.arm import Stores, StudyArm
from deepblur.platform.experiment.study import Plan
from deepblur.platform.models.model import BlindModel
from deepblur.platform.models.readings import read
from deepblur.platform.stages.stage import Stage, Work
from deepblur.platform.training.in_process import load_network
from deepblur.platform.training.specification import Identify

Answer = Literal["constant", "views", "views + floor", "ensemble", "ensemble + floor", "head"]


@dataclass(frozen=True, kw_only=True)
class Uncertainty(StudyArm):
    """One way to state the standard deviation of γ̂; the estimate is the mean of all readings of all members.

    Raises:
        ValueError: an ensemble of one.
    """

    gatherer: ClassVar[str] = "platform/arms/uncertainty/collect"

    answer: Answer
    """constant: one number per coefficient; views: the spread over windows, turns and flips; ensemble: that over
    members; + floor: with the error that all share (`deepblur.platform.models.uncertainty`); head: log σ linear in
    the spread, the noise, the contrast and |γ̂|."""
    members: tuple[Identify, ...]
    """The INs, which differ in their seed."""

    def __post_init__(self) -> None:
        if self.answer.startswith("ensemble") and len(self.members) < 2:
            raise ValueError(f"an ensemble has at least two members; got {len(self.members)}")

    @property
    def label(self) -> str:
        return f"IN, {self.answer}"

    def stages(self, plan: Plan, seed: int, stores: Stores) -> Sequence[Stage]:
        grid, data = plan.grid, plan.data
        assert isinstance(grid, Grid)
        return [Read(identify=member, grid=grid, validation=data.validation, test=data.test) for member in self.members]

    @property
    def degradation(self) -> Degradation:
        return self.members[0].degradation


@dataclass(frozen=True, kw_only=True)
class Read(Stage):
    """One IN reads the draws of the grid: on the validation images those within its trained range, on the test images
    all."""

    kind: ClassVar[str] = "read"
    title: ClassVar[str] = "readings"
    entry: ClassVar[tuple[str, ...]] = ("platform/arms/uncertainty/uncertainty", "platform/training/tasks")

    identify: Identify
    grid: Grid
    validation: tuple[Source, ...]
    test: tuple[Source, ...]

    def own_seed(self) -> int | None:
        return self.identify.seed  # the members of an ensemble have their own

    def needs(self) -> tuple[Stage, ...]:
        return (self.identify,)

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.validation, self.test)


def within(degradation: Degradation, noise: NoiseLevel, eta_waves: float) -> bool:
    """Whether a cell of a grid lies in the range that a network was trained on."""
    most = NoiseLevel("most", gain=degradation.noise.gain[1], read_std=degradation.noise.read_std[1])
    return noise.std <= most.std + 1e-9 and eta_waves <= degradation.eta_waves + 1e-9


def carry_out(work: Work, watch: Callable[[], None]) -> dict[str, Any]:
    """Carry out a reading in this process; its folder gets `items.parquet`, one row per draw."""
    work.prepare()
    stage = work.stage
    assert isinstance(stage, Read)
    meter, heartbeat = work.begin(), work.heartbeat()
    degradation = stage.identify.degradation
    network = load_network(work.runs, work.inputs["identify"], stage.identify)
    card = {"trained": {"crop_px": degradation.crop_px}}
    model = BlindModel(degradation.zernike, network, nn.Identity(), card)
    rows: list[dict[str, Any]] = []
    for part, sources in (("validation", stage.validation), ("test", stage.test)):
        for cell in cells(stage.grid, degradation, open_store(sources, work.cache, progress=False)):
            inside = within(degradation, cell.noise, cell.eta_waves)
            if part == "test" or inside:
                heartbeat.alive(len(rows))
                rows += [{"part": part, "inside": inside, **row} for row in _rows(model, cell)]
    temporary = work.unfinished_folder()
    pd.DataFrame(rows).to_parquet(temporary / "items.parquet", index=False)
    return work.settle(temporary, {"draws": len(rows)}, meter)


def _rows(model: BlindModel, cell: Cell) -> Iterator[dict[str, Any]]:
    """Where a draw lies, what IN reads of it, and what an image shows of its own."""
    for i, truth in enumerate(cell.batch.split(1)):
        y = truth.blurry
        found = read(model, y)
        noise = float(noise_std_of(y[0, 0]))
        contrast = math.sqrt(max(float(y.var(correction=0)) - noise**2, 1e-8))
        row = {"noise": cell.noise.name, "eta_waves": cell.eta_waves, "image": cell.image, "draw": i}
        row |= {"noise_std": noise, "contrast": contrast, "brightness": float(y.mean())}
        for k, noll in enumerate(model.operator.noll):
            row |= {f"true_{noll}": float(truth.gamma[0, k]), f"mean_{noll}": float(found.mean[k]),
                    f"spread_{noll}": float(found.spread[k])}  # fmt: skip
        yield row
