"""The blur of a calibrated microscope as an operator family: what networks are trained on and restore with.

Images of any size show the whole field: the spatial maps are stretched over them. PSFs stay what they are, in pixels.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from deepblur.operators import Blur, Boundary, EigenPSFBlur
from deepblur.operators.blur import BoundBlur
from deepblur.operators.convolution import Window, check_boundary
from deepblur.operators.microscope import Microscope, MicroscopeState
from deepblur.platform.optics.beads import MARGIN_PX, Beads, centred_patches
from deepblur.platform.optics.calibrate import calibrate, states_of
from deepblur.platform.optics.field_maps import FieldModel, pixel_places
from deepblur.platform.optics.measure import Measured, Settings, measure
from deepblur.platform.optics.optics_file import Optics, load_optics
from deepblur.platform.optics.simulate import Slide, planes_of, random_state, simulate_stack, true_psfs
from deepblur.platform.system.errors import ModelError

PLACES = 5
"""PSFs are compared at 5 × 5 places of the field."""


@dataclass(frozen=True)
class VirtualScope:
    """Optics that are calibrated on bead stacks of a virtual microscope; two equal values give the same optics."""

    microscope: Microscope = field(default_factory=Microscope)
    """The lens and the camera."""
    slide: Slide = field(default_factory=lambda: Slide(planes=5, beads=60))
    """Beads and exposure of every stack."""
    stacks: int = 10
    """Slides that the calibration sees, a stack each."""
    unseen_stacks: int = 4
    """Further slides, whose states are kept for tests."""
    eigen_psfs: int = 4
    """I, the number of eigen-PSFs."""
    space_maps: int = 4
    """J, the number of spatial maps; K = I·J."""
    field_model: FieldModel = "spline"
    """How coefficients are interpolated between beads."""
    seed: int = 0
    """Of slides, beads and noise."""
    exact: bool = False
    """No beads: the true PSFs at 9 × 9 places, without noise. With many dimensions this is the microscope itself."""

    def optics(self) -> Optics:
        """Its calibration, made once a process."""
        return _calibrated(self)[0]

    def unseen(self) -> Tensor:
        """(S, K) γ of the states of slides that the calibration has not seen."""
        return _calibrated(self)[1]


@dataclass(frozen=True)
class OpticsFile:
    """Optics in a file. The digest is what counts: the same file elsewhere is the same optics."""

    path: str
    """Of the safetensors file that `deepblur calibrate` wrote."""
    digest: str
    """BLAKE2b of its content, in hexadecimal; `OpticsFile.of(path)` fills it in."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises ModelError where there are no optics."""
        load_optics(path)
        return cls(str(path), _digest(path))

    def optics(self) -> Optics:
        return _loaded(self.path, self.digest)

    def unseen(self) -> Tensor:
        """The states themselves: a file keeps none back."""
        return self.optics().gammas


@dataclass(frozen=True)
class FieldBlur(Blur):
    """A(γ)x = Σ_ij γ_ij e_i ⋆ (f_j ⊙ x) over the field that x shows (model 2.2), γ near the states that were seen.

    With `varying` false it is the blur at one random place of the field, the same all over a small image: model 2.1
    with the eigen-PSFs e_i and K = I, what identification by patches is trained on.
    """

    source: VirtualScope | OpticsFile
    """The calibration."""
    varying: bool = True
    """Over the field; else the blur at one place of it."""
    jitter: float = 0.3
    """Of the draws around the states, in standard deviations; see `Optics.sample`."""
    unseen: bool = False
    """Draws come from the states that the source keeps for tests."""
    boundary: Boundary = "valid"
    """What lies outside the image."""
    cg_iterations: int = 20
    """Most steps of the conjugate gradient in regularized_inverse."""
    cg_tolerance: float = 1e-4
    """Relative residual at which it stops earlier."""

    def __post_init__(self) -> None:
        check_boundary(self.boundary)

    @property
    def optics(self) -> Optics:
        return self.source.optics()

    @property
    def num_parameters(self) -> int:
        psfs, maps = self.optics.shape
        return psfs * maps if self.varying else psfs

    @property
    def label(self) -> str:
        return f"K = {self.num_parameters} {'over the field' if self.varying else 'at a place'}"

    @property
    def psf_shape(self) -> tuple[int, int]:
        side = self.optics.psf_size
        return side, side

    @property
    def origin(self) -> Tensor:
        return _moments(self)[0]

    @property
    def spread(self) -> Tensor:
        return _moments(self)[1]

    def settled(self, gamma: Tensor) -> Tensor:
        return self.optics.normalised(gamma) if self.varying else gamma

    def held_out(self) -> Self:
        return replace(self, unseen=True)

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        local = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=rng, device=rng.device)))
        gamma = self._states(n, local)
        return (gamma - self.origin).to(rng.device)

    def psf(self, gamma: Tensor) -> Tensor:
        """(B, 1, h, w); of a blur that varies the PSFs at 5 × 5 places of the field, side by side: (B, 1, 5h, 5w)."""
        gamma = self.check_gamma(gamma)
        if not self.varying:
            return torch.einsum("bi,ihw->bhw", gamma, self.optics.eigen_psfs.to(gamma)).unsqueeze(1)
        at = pixel_places(PLACES)
        local = self.optics.local_psfs(gamma, torch.cartesian_prod(at, at))
        return mosaic(local)

    def impulse_response(self, gamma: Tensor, at: tuple[int, int]) -> Tensor:
        raise TypeError("the response depends on the size of the image; ask optics.operator(size) for it")

    def bind(self, gamma: Tensor) -> BoundBlur:
        gamma = self.check_gamma(gamma)
        if not self.varying:
            basis = self.optics.eigen_psfs.to(gamma)
            return EigenPSFBlur(basis, self.boundary, self.cg_iterations, self.cg_tolerance).bind(gamma)
        return BoundField(self, gamma)

    @classmethod
    def example(cls, boundary: Boundary) -> Self:
        return cls(VirtualScope(slide=Slide(planes=3, beads=25, field_px=(256, 256)), stacks=2), boundary=boundary)

    def _states(self, n: int, rng: torch.Generator) -> Tensor:
        optics = self.optics
        if self.unseen:
            gamma = self.source.unseen()[torch.randint(len(self.source.unseen()), (n,), generator=rng)]
        else:
            gamma = optics.sample(n, rng, self.jitter)
        if self.varying:
            return gamma
        places = 2 * torch.rand(n, 2, generator=rng, dtype=torch.float64) - 1
        return local_coefficients(optics, gamma, places)


class BoundField(BoundBlur):
    """A(γ) at a fixed γ for images of any size."""

    def __init__(self, family: FieldBlur, gamma: Tensor) -> None:
        super().__init__(family, len(gamma))
        self.family, self.gamma = family, gamma
        self._known: dict[tuple[int, int], BoundBlur] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self._at(self._window(self._checked(x), image=True)).forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._at(self._window(self._checked(y), image=False)).adjoint(y)

    def prox(self, y: Tensor, lam: float | Tensor) -> Callable[[Tensor], Tensor]:
        return self._at(self._window(self._checked(y), image=False)).prox(y, lam)

    def _at(self, window: Window) -> BoundBlur:
        size = window.image_size
        if size not in self._known:
            family = self.family
            operator = family.optics.operator(size, boundary=family.boundary)
            operator = replace(operator, cg_iterations=family.cg_iterations, cg_tolerance=family.cg_tolerance,
                               space_maps=operator.space_maps.to(self.gamma))  # fmt: skip
            self._known[size] = operator.bind(self.gamma)
        return self._known[size]

    def _forward(self, x: Tensor, window: Window) -> Any:
        raise NotImplementedError("forward() asks the operator of this size")

    _adjoint = _forward  # type: ignore[assignment]  # whose argument bears another name


def local_coefficients(optics: Optics, gamma: Tensor, places: Tensor) -> Tensor:
    """(B, I): the coefficients in the eigen-PSFs that γ (B, K) has at one place (B, 2) each."""
    return torch.einsum("bij,bj->bi", gamma.unflatten(1, optics.shape), optics.maps_at(places).to(gamma))


def fitted(optics: Optics, coefficients: Tensor, places: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The γ whose local coefficients come nearest, by least squares, to those measured at some places of the field.

    Args:
        coefficients: (N, I), at places (N, 2).
        weight: (N,), how much each place counts; default: all the same.
    Returns:
        γ (K,), and its standard deviations (K,) by the scatter of the places about it.
    Raises:
        ValueError: fewer places than spatial maps.
    """
    maps = optics.maps_at(places).to(coefficients)  # (N, J)
    if len(maps) < optics.shape[1]:
        raise ValueError(f"{len(maps)} places cannot tell {optics.shape[1]} spatial maps; read more patches")
    root = torch.ones_like(maps[:, :1]) if weight is None else weight.sqrt()[:, None].to(maps)
    design, target = root * maps, root * coefficients
    solution = torch.linalg.lstsq(design, target).solution  # (J, I)
    variance = (target - design @ solution).square().sum(0) / max(1, len(maps) - maps.shape[1])  # (I,)
    spread = torch.linalg.pinv(design.mT @ design).diagonal()  # (J,)
    return solution.mT.flatten(), (variance[:, None] * spread).sqrt().flatten()


def mosaic(psfs: Tensor) -> Tensor:
    """(B, n², h, w), of an n × n grid of places → (B, 1, n·h, n·w)."""
    side = round(psfs.shape[1] ** 0.5)
    grid = psfs.unflatten(1, (side, side))
    return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2).unsqueeze(1)


@lru_cache(maxsize=8)
def _calibrated(scope: VirtualScope) -> tuple[Optics, Tensor]:
    settings = Settings(eigen_psfs=scope.eigen_psfs, space_maps=scope.space_maps, bead_um=scope.slide.bead_um,
                        field_model=scope.field_model)  # fmt: skip
    found = []
    for i in range(scope.stacks + scope.unseen_stacks):
        # streams of their own: scopes that differ in their beads alone see the same slides
        state, name = random_state(np.random.default_rng((scope.seed, i, 0))), f"slide {i}"
        if scope.exact:
            found.append(_exactly(scope, state, name))
            continue
        rng = np.random.default_rng((scope.seed, i, 1))
        found.append(measure(simulate_stack(scope.microscope, scope.slide, state, rng, name=name).stack, settings))
    seen, unseen = found[: scope.stacks], found[scope.stacks :]
    optics = calibrate(seen, settings, field_px=scope.slide.field_px, pixel_um=scope.microscope.pixel_um).optics
    return optics, torch.cat([states_of(m, optics, settings) for m in unseen or seen])


def _exactly(scope: VirtualScope, state: MicroscopeState, name: str) -> Measured:
    """What beads without size and noise would show at 9 × 9 places, centred as beads are."""
    states = planes_of(scope.slide, state)
    wide = replace(scope.microscope, psf_size=scope.microscope.psf_size + 2 * MARGIN_PX)
    psfs, places = true_psfs(wide, states, 9)
    stacks = psfs.numpy().transpose(1, 0, 2, 3)  # (N, P, n, n)
    centred = [centred_patches(stack, scope.microscope.psf_size) for stack in stacks]
    patches, sharpest = np.stack([p for p, _ in centred], 1), np.array([z for _, z in centred])
    flux = patches.sum((-2, -1), keepdims=True)
    beads = Beads(places.numpy(), sharpest, patches, 0.0, {}, np.zeros((1, 1)))
    names = tuple(f"{name} plane {z}" for z in range(len(states)))
    return Measured(name, beads, places.numpy(), patches / flux, np.zeros(patches.shape[:2]), names)


def _digest(path: str | Path) -> str:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


@lru_cache(maxsize=8)
def _loaded(path: str, digest: str) -> Optics:
    if _digest(path) != digest:
        raise ModelError(f"{path} has changed since it was named; start again")
    return load_optics(path)


@lru_cache(maxsize=16)
def _moments(family: FieldBlur) -> tuple[Tensor, Tensor]:
    """(K,) mean and (K,) standard deviation of γ over many draws, in training."""
    drawn = replace(family, unseen=False)._states(2048, torch.Generator().manual_seed(0))
    return drawn.mean(0), drawn.std(0).clamp_min(1e-3)
