"""A method whose PSFs of the parts of one recording are held against one another, and the stage that finds them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from deepblur.baselines import DivergedError
from deepblur.platform.arms.methods.method import Method, estimate
from deepblur.platform.data.sources import Source
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.grid import middle, usable_images
from deepblur.platform.evaluation.levels import RealImages
from deepblur.platform.experiment.arm import Stores, StudyArm
from deepblur.platform.experiment.study import Plan
from deepblur.platform.stages.stage import Stage, Work
from deepblur.platform.system.seeds import stream

PARTS = 5
"""Four quarters and the whole."""


@dataclass(frozen=True, kw_only=True)
class Agreement(StudyArm):
    """One method, asked about each part of each recording.

    Raises:
        ValueError: the method takes networks that the study would have to train.
    """

    gatherer: ClassVar[str] = "platform/arms/agreement/collect"

    method: Method
    """Where its PSF comes from; what it would restore with does not matter."""

    def __post_init__(self) -> None:
        if self.method.networks:
            raise ValueError("agreement is measured of methods that need no training; give one without networks")

    @property
    def label(self) -> str:
        return self.method.label

    def stages(self, plan: Plan, seed: int, stores: Stores) -> Sequence[Stage]:
        if not isinstance(plan.grid, RealImages):
            raise ValueError("agreement is measured on recordings as they are; give the preset a grid of RealImages")
        images = usable_images(plan.grid, self.method.degradation.operator, stores[plan.data.test])
        return [Identified(method=self.method, grid=plan.grid, test=plan.data.test, position=i)
                for i in range(len(images))]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Identified(Stage):
    """The PSFs of the parts of one recording."""

    kind: ClassVar[str] = "parts"
    title: ClassVar[str] = "parts"
    expendable: ClassVar[bool] = True
    entry: ClassVar[tuple[str, ...]] = ("platform/arms/agreement/agreement",)

    method: Method
    grid: RealImages
    test: tuple[Source, ...]
    position: int
    """Which of the usable images of the test source."""

    def part(self) -> str:
        return f"image {self.position}"

    def headline(self, row: Mapping[str, Any]) -> str:
        return f"{row['found']} of {PARTS} PSFs of {row['image']}"

    def runs(self) -> tuple[str, ...]:
        return (*self.entry, *self.method.code())

    def uses(self) -> tuple[Any, ...]:
        return self.method.functions()

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.test,)


def parts(image: Tensor, crop_px: int) -> Iterator[Tensor]:
    """The four quarters of the image's middle, at most `crop_px` a side, then all of it."""
    whole = middle(image, crop_px // 2 * 2)
    h, w = (side // 2 for side in whole.shape)
    whole = whole[: 2 * h, : 2 * w]
    for rows in whole.split(h, 0):
        yield from (quarter.clone() for quarter in rows.split(w, 1))
    yield whole.clone()


def carry_out(work: Work, watch: Callable[[], None]) -> dict[str, Any]:
    """Find the PSF of each part in this process; the folder gets `parts.npz`.

    Its arrays, where NaN is what a method did not find: psfs (5, h, w); gammas (5, K); image (H, W), the middle.
    """
    work.prepare()
    stage = work.stage
    assert isinstance(stage, Identified)
    meter, heartbeat = work.begin(), work.heartbeat()
    store = open_store(stage.test, work.cache, progress=False)
    operator = stage.method.degradation.operator
    index = usable_images(stage.grid, operator, store)[stage.position]
    psfs = np.full((PARTS, *operator.psf_shape), np.nan, np.float32)
    gammas = np.full((PARTS, operator.num_parameters), np.nan, np.float32)
    for i, part in enumerate(parts(store.image(index)[0], stage.grid.crop_px)):
        heartbeat.alive(i)
        seed = stream(stage.grid.seed, "method", stage.position, i)
        try:
            found = estimate(stage.method, {}, part, None, level=None, seed=seed)
        except DivergedError:  # a flat part says nothing of its blur
            continue
        if found.psf is not None:
            psfs[i] = found.psf.cpu().numpy()
        if found.gamma is not None:
            gammas[i] = found.gamma.cpu().numpy()
    folder = work.unfinished_folder()
    np.savez(folder / "parts.npz", psfs=psfs, gammas=gammas, image=part.numpy())
    counted = int(np.isfinite(psfs[:, 0, 0]).sum())
    return work.settle(folder, {"image": str(store.names[index]), "found": counted}, meter)
