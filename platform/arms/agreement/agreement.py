"""A method whose PSFs of the parts of one recording are held against one another, and the stage that finds them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from deepblur.baselines import RESTORERS, DivergedError, Estimate, SpectralIdentifier
from deepblur.operators import ZernikeBlur, noise_std_of
from deepblur.platform.arms.methods.method import Method, estimate
from deepblur.platform.data.sources import Source
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.grid import middle, usable_images
from deepblur.platform.evaluation.levels import RealImages
from deepblur.platform.experiment.arm import Stores, StudyArm
from deepblur.platform.experiment.study import Plan
from deepblur.platform.models.light import Removal, in_light, on_dark_ground
from deepblur.platform.models.readings import Identification
from deepblur.platform.models.reliability import BY_TV, at_bound, disagreement, judge, residual_of
from deepblur.platform.models.shipped import for_optics, referred
from deepblur.platform.models.trained_range import largest_noise
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
    """Where its PSF comes from, and what restores with it: by its restored image a PSF is judged. Where it restores
    nothing, there is no verdict."""

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


def verdict_on(method: Method, part: Tensor, found: Estimate) -> tuple[str, str]:
    """good, doubtful or poor, and why, as `deepblur restore` says it of an image whose cutoff the user told.

    Empty where nothing was restored. As there, TV restores in noise that the shipped network has not seen, and images
    on a dark ground keep their light.

    Args:
        part: (H, W), in [0, 1].
        found: what `method` made of it.
    """
    if found.psf is None or method.image in ("none", "blurry"):
        return "", ""
    identifier, card = _searched(method, str(part.device))
    noise_std, most = float(noise_std_of(part)), largest_noise(card, part)
    made, restorer = found.image, {"shipped": "deblur"}.get(str(method.image), str(method.image))
    doubts: tuple[str, ...] = ()
    if method.image == "shipped" and most is not None and noise_std > most:
        made, restorer, doubts = RESTORERS["tv"](part, found.psf), "tv", (BY_TV,)
    removal = Removal(lambda tile, place: made, {"restorer": restorer})
    if on_dark_ground(part):
        removal = in_light(removal, part, found.psf)
    restored = removal(part, (part.shape[0] // 2, part.shape[1] // 2))
    known, family = None, None
    if identifier is not None and found.gamma is not None:
        std = torch.zeros_like(found.gamma) if found.gamma_std is None else found.gamma_std
        known, family = Identification(gamma=found.gamma, std=std, calibrated=False, views=1), identifier.operator
        doubts += at_bound(found.gamma, identifier.eta_waves) + disagreement(identifier.agreement_db(part))
    residual, saturated = residual_of(part, restored, found.psf), float((part >= 1).float().mean())
    _, verdict, why = judge(
        part, residual, known, family, card=card, noise_std=noise_std, saturated=saturated, doubts=doubts
    )
    return verdict, why


def _searched(method: Method, device: str) -> tuple[SpectralIdentifier | None, Mapping[str, Any]]:
    """The likelihood that finds the PSF, if one does, and the card of its model."""
    degradation = method.degradation
    operator, eta_waves = degradation.operator, degradation.eta_waves
    if method.psf == "shipped" and isinstance(operator, ZernikeBlur):
        model = for_optics(referred(method.shipped, device), operator, eta_waves)
        assert isinstance(model.identifier, SpectralIdentifier)
        return model.identifier, model.card
    card = {"trained": {"eta_waves": eta_waves}}
    if method.psf == "spectral" and isinstance(operator, ZernikeBlur):
        return SpectralIdentifier(operator, eta_waves=eta_waves), card
    return None, card


def carry_out(work: Work, watch: Callable[[], None]) -> dict[str, Any]:
    """Find the PSF of each part in this process; the folder gets `parts.npz`.

    Its arrays, where NaN is what a method did not find: psfs (5, h, w); gammas (5, K); image (H, W), the middle; and
    the words verdicts and reasons (5,), empty where there is none.
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
    said = [("", "")] * PARTS
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
        said[i] = verdict_on(stage.method, part, found)
    folder = work.unfinished_folder()
    verdicts, reasons = (np.array(words) for words in zip(*said, strict=True))
    np.savez(folder / "parts.npz", psfs=psfs, gammas=gammas, image=part.numpy(), verdicts=verdicts, reasons=reasons)
    counted = int(np.isfinite(psfs[:, 0, 0]).sum())
    return work.settle(folder, {"image": str(store.names[index]), "found": counted}, meter)
