"""A method under comparison: where its PSF comes from, what restores with it, and the networks and settings it takes.

Every combination is one line of a study, so that rivals share all but what makes them different: ℓ0's own restoration,
TV with IN's PSF, DN with the true operator.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepblur.baselines import METHODS, RESTORERS, Estimate, SpectralIdentifier, patchwise
from deepblur.operators import Blur, EigenPSFBlur, ZernikeBlur
from deepblur.platform.data.observations import Batch, Degradation, mean_psf
from deepblur.platform.data.sources import Source
from deepblur.platform.evaluation.grid import usable_images
from deepblur.platform.evaluation.levels import Grid, NoiseLevel, RealImages
from deepblur.platform.evaluation.measure import Score
from deepblur.platform.experiment.arm import Stores, StudyArm
from deepblur.platform.experiment.study import Plan
from deepblur.platform.models.shipped import for_optics, referred
from deepblur.platform.optics.family import FieldBlur
from deepblur.platform.optics.field_identification import SOURCES, identify_field, nearest
from deepblur.platform.stages.identity import said, with_imports
from deepblur.platform.stages.stage import Stage
from deepblur.platform.training.specification import NETWORKS, Training

FROM_TRUTH = ("true", "odd")
"""PSF sources that only a simulation has: the true γ, and the true γ with all even orders set to zero."""
_GAMMA = ("identify", "true", "odd", "unaberrated", "spectral", "shipped", *SOURCES)
_PSF = ("none", *_GAMMA, "mean", *METHODS)
_IMAGE = ("none", "blurry", "own", "deblur", "shipped", "restore", "patchwise", *RESTORERS)
_NEEDS = {
    **dict.fromkeys(("identify", "patchwise", "patches", "fitted", "average"), "identify"),
    "deblur": "deblur",
    "restore": "restore",
}


@dataclass(frozen=True, kw_only=True)
class Method(StudyArm):
    """One way of blind (or, with the true PSF, informed) deblurring.

    Raises:
        ValueError: an unknown name, a network that is missing, or a restoration that needs what the PSF's source lacks.
    """

    gatherer: ClassVar[str] = "platform/arms/methods/collect"

    degradation: Degradation
    """The operator family that the method may know, the η it expects, and the noise that its networks saw."""
    psf: str | Callable[..., Estimate]
    """identify (IN), shipped (what identifies in `shipped`), true, odd (true odd orders, even ones zero), unaberrated,
    mean (of the family), none, a name of deepblur.baselines.METHODS or, of blurs that vary over the field, of
    deepblur.platform.optics.field_identification.SOURCES; or a function of your own, image (H, W) → Estimate, which is
    given what it takes of psf_size, seed, operator and eta_waves."""
    image: str | Callable[..., Tensor]
    """own (what the blind method restores), deblur (DN), shipped (the DN of `shipped`), restore (NAFNet), patchwise
    (IN and Richardson-Lucy by patches), a name of deepblur.baselines.RESTORERS, blurry (what was
    observed), or none; or a function of your own, (image (H, W), psf (h, w)) → restored image (H, W)."""
    networks: tuple[Training, ...] = ()
    """The trainings of the networks that psf and image name."""
    shipped: str = ""
    """The model out of weights/ that is meant, as `deepblur.platform.models.shipped.reference` names it."""
    knows: FieldBlur | None = None
    """The calibrated family that the method believes in, where that of `degradation`, which blurs, is another."""
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    """Keywords of the handcrafted part: of what finds the PSF where image is "own", else of what restores with it."""
    tuned: tuple[tuple[NoiseLevel, dict[str, Any]], ...] = field(default=(), hash=False)
    """Settings by noise level, which win over `settings`; a level between two takes those of the nearest."""

    def __post_init__(self) -> None:
        for name, value, known in (("psf", self.psf, _PSF), ("image", self.image, _IMAGE)):
            if not callable(value) and value not in known:
                raise ValueError(f"a method's {name} is one of {', '.join(known)}; got {value!r}")
        have = {kind for network in self.networks for kind in network.gives()}
        need = {_NEEDS[part] for part in (self.psf, self.image) if part in _NEEDS}
        if need - have:
            raise ValueError(f"the method psf={self.psf!r}, image={self.image!r} needs a trained {need - have}")
        if self.image == "own" and self.finder is None:
            raise ValueError(f"only a blind method of its own restores its own image; got psf={self.psf!r}")
        if self.image in ("deblur", "shipped") and not callable(self.psf) and self.psf not in _GAMMA:
            raise ValueError(f"DN needs parameters γ, which {self.psf!r} does not estimate; take another restorer")
        if "shipped" in (self.psf, self.image) and not self.shipped:
            raise ValueError("psf or image 'shipped' needs the field shipped, which names the model")
        if self.psf in SOURCES and not isinstance(self.family, FieldBlur):
            raise ValueError(f"{self.psf!r} finds blurs that vary over the field; got {self.family}")
        if self.restorer is not None and self.psf == "none":
            raise ValueError(f"{said(self.image)} needs a PSF; got psf='none'")

    @property
    def label(self) -> str:
        psf, image = (said(part) if callable(part) else NETWORKS.get(part, part) for part in (self.psf, self.image))
        return psf if image in ("own", "none") else image if psf == "none" else f"{psf} + {image}"

    def stages(self, plan: Plan, seed: int, stores: Stores) -> Sequence[Stage]:
        test = plan.data.test
        images = len(usable_images(plan.grid, self.degradation.operator, stores[test]))
        shared: dict[str, Any] = {"method": self, "grid": plan.grid, "test": test, "scores": plan.study.scores}
        return [Assess(position=i, **shared) for i in range(images)]

    @property
    def family(self) -> Blur:
        """The blurs that the method believes in."""
        return self.degradation.operator if self.knows is None else self.knows

    @property
    def finder(self) -> Callable[..., Estimate] | None:
        """The function that finds the PSF, and that restores where image is "own"; None where no function does."""
        return self.psf if callable(self.psf) else METHODS.get(self.psf)

    @property
    def restorer(self) -> Callable[..., Tensor] | None:
        """The function that restores with the PSF; None where no function does."""
        return self.image if callable(self.image) else RESTORERS.get(self.image)

    def handcrafted(self) -> Callable[..., Any] | None:
        """The function that the settings belong to."""
        return self.finder if self.image == "own" else self.restorer

    def code(self) -> tuple[str, ...]:
        """What it alone runs of the package: a change in one method leaves the others' results standing."""
        modules = {function.__module__ for function in self.functions()}
        parts = {module.removeprefix("deepblur.").replace(".", "/") for module in modules if "deepblur." in module}
        if self.shipped:
            parts.add("baselines/spectral_identifier")
        if isinstance(self.family, FieldBlur):
            parts.add("platform/optics/field_identification")
        return with_imports(*parts)

    def functions(self) -> tuple[Callable[..., Any], ...]:
        """What is found by the names of its PSF and image in the baselines."""
        named: list[Callable[..., Any] | None] = [METHODS.get(str(self.psf)), RESTORERS.get(str(self.image))]
        named += [patchwise] if self.image == "patchwise" else []
        return tuple(function for function in named if function is not None)

    def settings_at(self, level: NoiseLevel | None) -> dict[str, Any]:
        """The settings at one noise level; None where the noise is not known, as in real images."""
        if not self.tuned or level is None:
            return self.settings
        nearest = min(self.tuned, key=lambda entry: abs(entry[0].std - level.std))
        return {**self.settings, **nearest[1]}


@dataclass(frozen=True, kw_only=True)
class Assess(Stage):
    """Measure one method on one image of the grid: the unit that is distributed, and lost if the method fails."""

    kind: ClassVar[str] = "assess"
    title: ClassVar[str] = "assessment"
    expendable: ClassVar[bool] = True
    entry: ClassVar[tuple[str, ...]] = ("platform/arms/methods/assess", "platform/training/tasks")

    method: Method
    grid: Grid | RealImages
    test: tuple[Source, ...]
    position: int
    """Which of the usable images of the test source."""
    scores: tuple[Score, ...] = ()
    """Of the study's own metrics."""

    def part(self) -> str:
        return f"image {self.position}"

    def runs(self) -> tuple[str, ...]:
        return (*self.entry, *self.method.code())

    def uses(self) -> tuple[Any, ...]:
        return self.method.functions()

    def needs(self) -> tuple[Stage, ...]:
        return self.method.networks

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.test,)


@torch.no_grad()
def estimate(
    method: Method,
    networks: Mapping[str, nn.Module],
    image: Tensor,
    truth: Batch | None,
    *,
    level: NoiseLevel | None,
    seed: int,
) -> Estimate:
    """Run the method on one observation.

    Args:
        networks: kind of network → the finished one, on the image's device.
        image: (H, W).
        truth: a batch of one with what was observed, for the oracles; None for real images.
        level: the noise, where it is known; it only chooses between tuned settings.
        seed: of the method's own random numbers.
    Raises:
        ValueError: the method needs the truth and there is none.
        DivergedError: the method came to no finite estimate.
    """
    settings = method.settings_at(level)
    if method.image == "patchwise":
        # patches of the size that IN was trained on
        settings = {"patch_px": method.degradation.crop_px, **settings}
        return patchwise(image, networks["identify"], method.degradation.operator, **settings)
    if method.psf in SOURCES:
        return _estimate_field(method, networks, image, truth)
    found = _find_psf(method, networks, image, truth, settings if method.image == "own" else {}, seed)
    y = image[None, None]
    if method.image in ("own", "none", "blurry"):
        return found
    if method.image in ("deblur", "shipped"):
        if found.gamma is None:
            raise ValueError(f"DN needs parameters γ, and the Estimate of {said(method.psf)} states none")
        operator, gamma = method.degradation.operator if method.psf in FROM_TRUTH else method.family, found.gamma[None]
        if method.psf in ("shipped", "spectral") and found.psf is not None:  # it need not be that of one γ
            operator, gamma = EigenPSFBlur.of_one(found.psf, operator.boundary)
        shipped = method.image == "shipped"
        deblurrer = referred(method.shipped, str(image.device)).deblurrer if shipped else networks["deblur"]
        restored = deblurrer(y, gamma.to(y), operator)[0, 0]
    elif method.image == "restore":
        restored = networks["restore"](y)[0, 0]
    else:
        assert method.restorer is not None
        if found.psf is None:
            raise ValueError(f"{said(method.image)} needs a PSF, and the Estimate of {said(method.psf)} holds none")
        restored = method.restorer(image, found.psf, **settings)
        if restored.shape != image.shape:
            raise ValueError(f"{said(method.image)} makes {tuple(restored.shape)} of an image {tuple(image.shape)}")
    return Estimate(image=restored.float(), psf=found.psf, gamma=found.gamma, gamma_std=found.gamma_std)


def _estimate_field(method: Method, networks: Mapping[str, nn.Module], image: Tensor, truth: Batch | None) -> Estimate:
    family = method.family
    assert isinstance(family, FieldBlur)
    if method.psf == "calibrated":
        if truth is None:
            raise ValueError("psf='calibrated' needs the truth, which real images have not; leave this method out")
        gamma = nearest(family, truth.psf[0, 0])
        if method.image == "deblur":
            image = networks["deblur"](image[None, None], gamma, family)[0, 0].float()
        return Estimate(image=image, psf=family.psf(gamma)[0, 0])
    patch_px = next(n.degradation.crop_px for n in method.networks if n.kind == "identify")
    found = identify_field(str(method.psf), networks, image, family, patch_px)
    if method.image == "deblur":
        image = networks["deblur"](image[None, None], found.gamma, found.operator)[0, 0].float()
    return Estimate(image=image, psf=found.psf)


def _find_psf(
    method: Method,
    networks: Mapping[str, nn.Module],
    image: Tensor,
    truth: Batch | None,
    settings: Mapping[str, Any],
    seed: int,
) -> Estimate:
    """The PSF with, of methods that restore by themselves, their image; of the others the observation."""
    degradation, source = method.degradation, method.psf
    operator = degradation.operator if source in FROM_TRUTH else method.family
    if method.finder is not None:
        offered = {
            "psf_size": operator.psf_shape[0],
            "seed": seed,
            "operator": operator,
            "eta_waves": degradation.eta_waves,
        }
        accepted = inspect.signature(method.finder).parameters
        estimate = method.finder(image, **{k: v for k, v in offered.items() if k in accepted}, **settings)
        if not isinstance(estimate, Estimate):
            raise ValueError(f"{said(source)} gives a {type(estimate).__name__}; what finds a PSF gives an Estimate")
        return estimate
    if source == "none":
        return Estimate(image=image)
    if source == "mean":
        return Estimate(image=image, psf=mean_psf(operator, degradation.eta_waves)[0, 0].to(image))
    if source in FROM_TRUTH and truth is None:
        raise ValueError(f"psf={source!r} needs the truth, which real images have not; leave this method out")
    if source == "shipped":
        assert isinstance(operator, ZernikeBlur)
        model = for_optics(referred(method.shipped, str(image.device)), operator, degradation.eta_waves)
        assert isinstance(model.identifier, SpectralIdentifier)
        return model.identifier.estimate(image)
    if source == "identify":
        gamma = operator.settled(networks["identify"](image[None, None]).float())
    elif source == "unaberrated":
        gamma = image.new_zeros(1, operator.num_parameters)
    else:
        assert source in FROM_TRUTH
        assert truth is not None
        gamma = truth.gamma
        if source == "odd":
            assert isinstance(operator, ZernikeBlur)
            gamma = gamma * torch.tensor(operator.even, device=image.device).logical_not()
    return Estimate(image=image, psf=operator.psf(gamma)[0, 0], gamma=gamma[0])
