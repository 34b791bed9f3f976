"""The one interface of all blur operators, and its form at a fixed γ.

A `Blur` is a pure description: γ → linear operator A(γ). `bind(gamma)` fixes γ and does once the work that depends on γ
alone; `op.forward(x, gamma)` is `op.bind(gamma).forward(x)`, and so on.

Shapes: B batch, C channel, K parameters, (H, W) image, (h, w) kernel with odd sides. Batches of 1 broadcast.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from deepblur.operators.convolution import Boundary, Window, data_size, full_precision, image_size, transfer_function
from deepblur.operators.families import UniformGamma
from deepblur.operators.solver import conjugate_gradient


class Blur(ABC):
    """A family of linear blurs A(γ), γ ∈ R^K. Concrete families are frozen dataclasses.

    Results follow the dtype and device of the inputs; half precision is computed and returned in float32. NaN in an
    input passes through to the output.
    """

    boundary: Boundary
    cg_iterations: int
    cg_tolerance: float

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """K, the length of γ."""

    @property
    @abstractmethod
    def psf_shape(self) -> tuple[int, int]:
        """(h, w) of the kernels, in pixels."""

    @abstractmethod
    def bind(self, gamma: Tensor) -> "BoundBlur":
        """A(γ) for gamma (B, K): the linear operator alone.

        Raises:
            ValueError: gamma is not (B, K).
        """

    @abstractmethod
    def impulse_response(self, gamma: Tensor, at: tuple[int, int]) -> Tensor:
        """(B, 1, h, w): the image of a point at pixel `at` = (row, column), centred, away from the borders."""

    @classmethod
    @abstractmethod
    def example(cls, boundary: Boundary) -> Self:
        """A small instance that every law of the operators is tested on; its images have 19×24 pixels."""

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, K) γ of the family at a PSF complexity η of one, as differences from its `origin`, on rng's device."""
        return UniformGamma(1.0, self.num_parameters).sample(n, rng)

    @property
    def label(self) -> str:
        """What people call the family."""
        return type(self).__name__

    @property
    def origin(self) -> Tensor | None:
        """(K,) γ at η = 0, what the draws scatter around; None: zero."""
        return None

    @property
    def spread(self) -> Tensor | None:
        """(K,) standard deviations of γ at η = 1, where they differ among the parameters; None: they do not."""
        return None

    def at(self, draws: Tensor, eta: float) -> Tensor:
        """(n, K) γ at η of what `draw` gave."""
        gamma = eta * draws
        return gamma if self.origin is None else gamma + self.origin.to(gamma)

    def settled(self, gamma: Tensor) -> Tensor:
        """γ (B, K) that was estimated, made to agree with what the family knows of every γ: here nothing."""
        return gamma

    def held_out(self) -> Self:
        """The family that tests draw from: itself, unless it knows operators that no training has seen."""
        return self

    def twin(self, gamma: Tensor) -> Tensor:
        """The other γ with the same PSF; γ itself in families whose PSF tells γ."""
        return gamma

    def psf(self, gamma: Tensor) -> Tensor:
        """The response to a point, for families where it is the same everywhere.

        Args:
            gamma: (B, K), in the family's unit (waves for Zernike modes).
        Returns:
            (B, 1, h, w), its middle pixel the origin.
        Raises:
            TypeError: the family varies in space.
        """
        raise TypeError(f"{type(self).__name__} varies in space; ask for impulse_response(gamma, at)")

    def forward(self, x: Tensor, gamma: Tensor) -> Tensor:
        """A(γ)x.

        Args:
            x: (B, C, H, W), images.
            gamma: (B, K), in the family's unit; a batch of 1 broadcasts, on either side.
        Returns:
            (B, C, *output_size(H, W)), the blurry images, without noise.
        Raises:
            ValueError: gamma or x has another shape, or x is smaller than the PSF.
        """
        return self.bind(gamma).forward(x)

    def adjoint(self, y: Tensor, gamma: Tensor) -> Tensor:
        """A(γ)ᵀy, exact: (B, C, *output_size), (B, K) → (B, C, H, W); arguments and errors as `forward`."""
        return self.bind(gamma).adjoint(y)

    def regularized_inverse(self, y: Tensor, u: Tensor, gamma: Tensor, lam: float | Tensor) -> Tensor:
        """argmin_x ½‖A(γ)x − y‖² + (λ/2)‖x − u‖²; see BoundBlur.prox."""
        return self.bind(gamma).regularized_inverse(y, u, lam)

    def output_size(self, input_size: tuple[int, int]) -> tuple[int, int]:
        """Size of A(γ)x for an x of input_size."""
        return data_size(self.boundary, input_size, self.psf_shape)

    def input_size(self, output_size: tuple[int, int]) -> tuple[int, int]:
        """Size of the x that gives data of output_size."""
        return image_size(self.boundary, output_size, self.psf_shape)

    def with_boundary(self, boundary: Boundary) -> Self:
        """The same family with another boundary."""
        return replace(self, boundary=boundary)  # type: ignore[type-var]

    def check_gamma(self, gamma: Tensor) -> Tensor:
        """gamma in at least float32, or a ValueError when it is not (B, K)."""
        if gamma.ndim != 2 or gamma.shape[1] != self.num_parameters:
            raise ValueError(
                f"{type(self).__name__} takes gamma of shape (batch, {self.num_parameters}); got {tuple(gamma.shape)}"
            )
        return full_precision(gamma)


class BoundBlur(ABC):
    """A linear operator A at a fixed γ. It remembers transfer functions, so it lives as long as one autograd graph.

    Args:
        family: whose boundary, kernel size and solver settings hold.
        batch: B, the number of γ that are bound.
    """

    def __init__(self, family: Blur, batch: int):
        self.boundary = family.boundary
        self.psf_shape = family.psf_shape
        self._batch = batch
        self._cg: dict[str, Any] = {"iterations": family.cg_iterations, "tolerance": family.cg_tolerance}
        self._memory: dict[Any, Tensor] = {}

    @abstractmethod
    def _forward(self, x: Tensor, window: Window) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, y: Tensor, window: Window) -> Tensor: ...

    def forward(self, x: Tensor) -> Tensor:
        """A x: (B, C, H, W) → (B, C, *output_size)."""
        x = self._checked(x)
        return self._forward(x, self._window(x, image=True))

    def adjoint(self, y: Tensor) -> Tensor:
        """Aᵀy, exact: (B, C, *output_size) → (B, C, H, W)."""
        y = self._checked(y)
        return self._adjoint(y, self._window(y, image=False))

    def regularized_inverse(self, y: Tensor, u: Tensor, lam: float | Tensor) -> Tensor:
        """argmin_x ½‖A x − y‖² + (λ/2)‖x − u‖²; see prox."""
        return self.prox(y, lam)(u)

    def prox(self, y: Tensor, lam: float | Tensor) -> Callable[[Tensor], Tensor]:
        """u ↦ (AᵀA + λI)⁻¹(Aᵀy + λu), with all that does not depend on u computed once.

        Closed form for circular convolution; else conjugate gradient, started at u, for at most the family's
        cg_iterations or until its cg_tolerance.

        Args:
            y: (B, C, *output_size), the data.
            lam: λ > 0, scalar or (B,), differentiable. A tensor's sign is not checked (that would stall a GPU).
        Returns:
            A map (B, C, H, W) → (B, C, H, W).
        Raises:
            ValueError: lam is a number that is not positive, or u has not the size of the images behind y.
        """
        y, lam = self._checked(y), per_sample(lam, y)
        window = self._window(y, image=False)
        back = self._adjoint(y, window)

        def normal(x: Tensor) -> Tensor:
            return torch.addcmul(self._adjoint(self._forward(x, window), window), lam, x)

        def solve(u: Tensor) -> Tensor:
            u = self._started(u, window)
            return conjugate_gradient(normal, back + lam * u, u, **self._cg)

        return solve

    def _checked(self, image: Tensor) -> Tensor:
        if image.ndim != 4 or (self._batch != image.shape[0] and 1 not in (self._batch, image.shape[0])):
            raise ValueError(
                f"an image batch is (B, C, H, W) with B = {self._batch}, that of gamma; got {tuple(image.shape)}"
            )
        return full_precision(image)

    def _started(self, u: Tensor, window: Window) -> Tensor:
        if u.shape[-2:] != window.image_size:
            raise ValueError(
                f"u lives on the image grid {window.image_size}, which a {self.boundary} blur maps to the data's "
                f"{window.data_size}; got u of size {tuple(u.shape[-2:])}"
            )
        return self._checked(u)

    def _window(self, x: Tensor, *, image: bool) -> Window:
        size = (x.shape[-2], x.shape[-1])
        if not image:
            size = image_size(self.boundary, size, self.psf_shape)
        data_size(self.boundary, size, self.psf_shape)  # refuses an image smaller than the PSF
        return Window(self.boundary, size, self.psf_shape)

    def _spectrum(self, kernels: Tensor, torus: tuple[int, int]) -> Tensor:
        # Without gradients the remembered spectrum carries no graph, so it must not serve a call that wants one.
        key = torus, torch.is_grad_enabled()
        if key not in self._memory:
            self._memory[key] = transfer_function(kernels, torus)
        return self._memory[key]


class Convolution(BoundBlur):
    """x ↦ h ⋆ x with one PSF per sample.

    Args:
        family: whose boundary and solver settings hold.
        psf: (B, 1, h, w).
    """

    def __init__(self, family: Blur, psf: Tensor):
        super().__init__(family, psf.shape[0])
        self.kernel = psf

    def _forward(self, x: Tensor, window: Window) -> Tensor:
        X = torch.fft.rfft2(window.spread(x), s=window.torus)
        return window.cut(torch.fft.irfft2(self._spectrum(self.kernel, window.torus) * X, s=window.torus))

    def _adjoint(self, y: Tensor, window: Window) -> Tensor:
        Y = torch.fft.rfft2(window.cut_adjoint(y), s=window.torus)
        H = self._spectrum(self.kernel, window.torus)
        return window.spread_adjoint(torch.fft.irfft2(H.conj() * Y, s=window.torus))

    def prox(self, y: Tensor, lam: float | Tensor) -> Callable[[Tensor], Tensor]:
        if self.boundary != "circular":
            return super().prox(y, lam)
        y, lam = self._checked(y), per_sample(lam, y)
        window = self._window(y, image=False)
        size, H = window.torus, self._spectrum(self.kernel, window.torus)
        inverse = 1 / (H.real.square() + H.imag.square() + lam)
        data = H.conj() * torch.fft.rfft2(y) * inverse  # a complex division would take five times as long
        damping = lam * inverse

        def solve(u: Tensor) -> Tensor:
            return torch.fft.irfft2(data + damping * torch.fft.rfft2(self._started(u, window)), s=size)

        return solve


def per_sample(value: float | Tensor, image: Tensor) -> Tensor:
    """A scalar or (B,) value as (1 or B, 1, 1, 1), in image's dtype and on its device.

    Raises:
        ValueError: a plain number that is not positive, or another shape.
    """
    if not isinstance(value, Tensor) and not value > 0:
        raise ValueError(f"lam weighs the distance to u and must be positive; got {value}")
    tensor = torch.as_tensor(value, dtype=image.dtype, device=image.device)
    if tensor.ndim > 1:
        raise ValueError(f"lam is one number, or one per sample: shape () or (B,); got {tuple(tensor.shape)}")
    return tensor.reshape(-1, 1, 1, 1)
