"""PSFs of an aberrated pupil: γ are the Zernike coefficients of the wavefront, in waves.

h(x, z) = |∫ φ(w) exp(2πi z √(k² − |w|²)) exp(2πi⟨w, x⟩) dw|²,  φ(w) = 1{|w| ≤ f_c} exp(2πi Σ_k γ_k Z_k(w / f_c)).

The integral over the disc is a Gauss rule (Legendre along each chord, Chebyshev of the second kind across the chords):
the integrand is analytic there, so some 30 × 30 nodes give nearly all digits where a pixel grid of 97² with weighted
edges gives 61 dB, and the transform to the h × w pixels is two small matrix products.

Pixels that are coarse for the lens, f_c above 0.25, collect the light of their whole square: h is integrated over it,
by a Gauss rule of 5 × 5 points, which leaves out no digit of float32. Up to 0.25 h is that at the pixel's middle.
Source: P. Debarnot and P. Weiss, "Deep-Blur", Biological Imaging, 2024, model 2.3.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from deepblur.operators.blur import Blur, Convolution
from deepblur.operators.convolution import Boundary, check_boundary, check_odd
from deepblur.operators.quadrature import NYQUIST, POINTS, PupilRule, points, pupil_rule
from deepblur.operators.zernike import noll_to_nm

COARSEST = 0.5  # above it the PSF is hardly more than a pixel, and its aberrations cannot be told


def psf_px(cutoff: float) -> int:
    """Side in pixels, odd, of a support for moderately aberrated PSFs: 31 at a cutoff of 0.2 cycles per pixel.

    The PSF grows as 1 / cutoff; below 0.1 it is cut off, since few images are large enough for more.
    """
    return 2 * round(3 / max(cutoff, 0.1)) + 1


@dataclass(frozen=True)
class ZernikeBlur(Blur):
    """Convolution with the PSF of an aberrated lens. A plain value: hashable, picklable, the same on every device.

    Above a cutoff of 0.25 cycles per pixel (Nyquist) the image is aliased, and the PSF is the integral over each pixel.

    Raises:
        ValueError: cutoff above 0.5 cycles per pixel, an even psf_size, a repeated Noll index, z_px without
            a wavenumber that exceeds the cutoff.
    """

    noll: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10)
    """Noll indices of the K modes that γ weighs; piston and tilts (1, 2, 3) blur nothing and are refused."""
    cutoff: float = 0.2
    """Pupil radius f_c = NA/λ, in cycles per pixel."""
    psf_size: int = 31
    """Side of the PSF's support, in pixels, odd. What falls outside is cut off: see outside_energy."""
    boundary: Boundary = "valid"
    """What lies outside the image."""
    z_px: float = 0.0
    """Distance from the focal plane, in pixels."""
    wavenumber: float | None = None
    """n/λ in cycles per pixel; needed only when z_px is not 0."""
    pupil_size: int | None = None
    """Quadrature nodes across the pupil; None takes as many as the PSF's size and z_px need (32 by default), which
    holds 120 dB up to η = 0.15. Give more for wavefronts of several waves."""
    cg_iterations: int = 20
    """Most steps of the conjugate gradient in regularized_inverse."""
    cg_tolerance: float = 1e-6
    """Relative residual at which it stops earlier."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "noll", tuple(self.noll))
        check_boundary(self.boundary)
        check_odd(self.psf_size, self.psf_size)
        if not self.noll or min(self.noll) < 4 or len(set(self.noll)) != len(self.noll):
            raise ValueError(
                f"noll takes distinct Noll indices from 4 on (piston and tilts do not blur); got {self.noll}"
            )
        if not 0 < self.cutoff <= COARSEST:
            raise ValueError(
                f"the cutoff of an intensity PSF lies in (0, {COARSEST}] cycles per pixel; got {self.cutoff:.4g}; "
                "lower NA, raise the wavelength or use smaller pixels"
            )
        if self.pupil_size is not None and self.pupil_size < 1:
            raise ValueError(f"pupil_size counts the nodes across the pupil, at least 1; got {self.pupil_size}")
        if self.z_px and not (self.wavenumber and self.wavenumber >= self.cutoff):
            raise ValueError(
                f"defocus z_px = {self.z_px} needs a wavenumber n/λ of at least the cutoff {self.cutoff} cycles per "
                f"pixel; got {self.wavenumber}; build the operator with ZernikeBlur.from_optics"
            )

    @classmethod
    def from_optics(
        cls,
        *,
        na: float,
        wavelength_um: float,
        pixel_um: float,
        refractive_index: float = 1.0,
        z_um: float = 0.0,
        noll: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10),
        psf_size: int = 31,
        boundary: Boundary = "valid",
        pupil_size: int | None = None,
    ) -> Self:
        """The operator of a microscope.

        Args:
            na: numerical aperture, above 0, at most the refractive index.
            wavelength_um: of the light in vacuum, micrometres.
            pixel_um: side of a pixel in the object plane (camera pixel / magnification), micrometres.
            refractive_index: of the immersion medium.
            z_um: distance from the focal plane, micrometres.
            noll: Noll indices of the modes that γ weighs, from 4 on.
            psf_size: side of the PSF in pixels, odd.
            boundary: what lies outside the image: valid, circular or replicate.
            pupil_size: quadrature nodes across the pupil; None: as many as the PSF needs.
        Raises:
            ValueError: a length is not positive, NA exceeds the refractive index, or the pixel is too coarse.
        """
        if min(na, wavelength_um, pixel_um) <= 0:
            raise ValueError(f"NA, wavelength and pixel are positive; got {na}, {wavelength_um} µm, {pixel_um} µm")
        if na > refractive_index:
            raise ValueError(f"NA = n sin θ cannot exceed n = {refractive_index}; got {na}; give the immersion's index")
        cutoff = na / wavelength_um * pixel_um
        if cutoff > COARSEST:
            raise ValueError(
                f"pixels of {pixel_um} µm are too coarse for NA {na} at {wavelength_um} µm: the pupil radius would be "
                f"{cutoff:.3g} > {COARSEST} cycles per pixel; shrink the pixel to "
                f"{COARSEST * wavelength_um / na:.3g} µm or less, lower NA to "
                f"{COARSEST * wavelength_um / pixel_um:.3g}, or raise the wavelength to "
                f"{na * pixel_um / COARSEST:.3g} µm"
            )
        return cls(
            noll, cutoff, psf_size, boundary, z_um / pixel_um, refractive_index / wavelength_um * pixel_um, pupil_size
        )

    @classmethod
    def example(cls, boundary: Boundary) -> Self:
        return cls(noll=(4, 6, 7, 11), psf_size=7, boundary=boundary, pupil_size=16)

    @property
    def num_parameters(self) -> int:
        return len(self.noll)

    @property
    def label(self) -> str:
        return f"Noll {', '.join(map(str, self.noll))}"

    @property
    def psf_shape(self) -> tuple[int, int]:
        return self.psf_size, self.psf_size

    @property
    def coarse(self) -> bool:
        """Whether the pixels are too coarse for the lens: an image of it is aliased."""
        return self.cutoff > NYQUIST

    @property
    def nodes(self) -> int:
        """Quadrature nodes across the pupil: half the radians that the integrand turns across it, and some to spare."""
        if self.pupil_size is not None:
            return self.pupil_size
        turns = math.pi * self.cutoff * math.hypot(*(side // 2 for side in self.psf_shape))
        if self.z_px and self.wavenumber:
            turns += 2 * math.pi * abs(self.z_px) * (self.wavenumber - math.sqrt(self.wavenumber**2 - self.cutoff**2))
        return math.ceil(turns) + 18

    @property
    def even(self) -> tuple[bool, ...]:
        """For each mode, whether its radial order is even: the modes whose common sign an in-focus image hides."""
        return tuple(noll_to_nm(index)[0] % 2 == 0 for index in self.noll)

    def twin(self, gamma: Tensor) -> Tensor:
        """The other γ, (B, K), with exactly the same in-focus PSF: all coefficients of even order flipped.

        Raises:
            ValueError: z_px is not 0, where no twin exists.
        """
        if self.z_px:
            raise ValueError(
                f"only an in-focus PSF has a twin; got z_px = {self.z_px:.4g}; use an operator with z_px = 0"
            )
        sign = torch.tensor([-1.0 if even else 1.0 for even in self.even], dtype=gamma.dtype, device=gamma.device)
        return gamma * sign

    def psf(self, gamma: Tensor) -> Tensor:
        """The PSF of the aberrated lens.

        Args:
            gamma: (B, K), Zernike coefficients of the wavefront, in waves.
        Returns:
            (B, 1, h, w), non-negative, sum 1 over the support; rows are y, columns x.
        Raises:
            ValueError: gamma is not (B, K).
        Source: Debarnot and Weiss 2024, model 2.3.
        """
        intensity = self._intensity(gamma)
        return intensity / intensity.sum(dim=(-2, -1), keepdim=True)

    def psf_and_slopes(self, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """The PSF and its derivatives by the coefficients: one more transform for each, where reverse mode takes two.

        Args:
            gamma: (B, K), in waves.
        Returns:
            (B, 1, h, w), as `psf`; (B, K, h, w), per wave.
        Raises:
            ValueError: gamma is not (B, K).
        """
        gamma = self.check_gamma(gamma)
        rule, pupil = self._pupil(gamma)
        slopes = pupil[:, None] * torch.complex(torch.zeros_like(rule.modes), rule.modes)
        fields = self._field(rule, torch.cat([pupil[:, None], slopes], 1).flatten(0, 1)).unflatten(0, (len(gamma), -1))
        field = fields[:, :1]
        intensity = self._collected(field.real**2 + field.imag**2)
        change = self._collected(2 * (field.real * fields[:, 1:].real + field.imag * fields[:, 1:].imag))
        light = intensity.sum(dim=(-2, -1), keepdim=True)
        psf = intensity / light
        return psf, change / light - psf * (change.sum(dim=(-2, -1), keepdim=True) / light)

    def outside_energy(self, gamma: Tensor) -> Tensor:
        """(B,): the fraction of the light that falls outside the support and that psf() leaves out.

        Exact by Parseval: below Nyquist the sum over all pixels of the plane is the integral over the pupil.
        """
        return 1 - self._intensity(gamma).sum(dim=(-3, -2, -1))

    def impulse_response(self, gamma: Tensor, at: tuple[int, int]) -> Tensor:
        return self.psf(gamma)

    def bind(self, gamma: Tensor) -> Convolution:
        return Convolution(self, self.psf(gamma))

    def _intensity(self, gamma: Tensor) -> Tensor:
        """(B, 1, h, w), in units of all the light that passes the pupil."""
        with torch.autocast(gamma.device.type, enabled=False):  # half precision would cost 40 dB
            field = self._field(*self._pupil(self.check_gamma(gamma)))
        return self._collected(field.real**2 + field.imag**2).unsqueeze(1)

    def _collected(self, light: Tensor) -> Tensor:
        """What the pixels collect of light at the points of each: (…, h, w); coarse ones have 5 × 5 points."""
        if not self.coarse:
            return light
        weights = torch.from_numpy(points()[1]).to(light)
        light = light.unflatten(-1, (-1, POINTS)) @ weights
        return (light.mT.unflatten(-1, (-1, POINTS)) @ weights).mT

    def _pupil(self, gamma: Tensor) -> tuple[PupilRule, Tensor]:
        """The quadrature and φ at its nodes, (B, chords · nodes)."""
        rule = pupil_rule(
            self.noll, self.cutoff, self.psf_size, self.z_px, self.wavenumber or 0.0, self.nodes,
            gamma.dtype, gamma.device,
        )  # fmt: skip
        phase = torch.addmm(rule.defocus, gamma, rule.modes)  # radians
        return rule, torch.polar(torch.ones_like(phase), phase)

    def _field(self, rule: PupilRule, pupil: Tensor) -> Tensor:
        """Amplitude in the image plane of pupils (B, chords · nodes): (B, h, w), at the points of coarse pixels."""
        chords = pupil.unflatten(1, (self.nodes, -1)).transpose(0, 1)  # (chords, B, nodes)
        columns = torch.bmm(chords, rule.across)  # (chords, B, w)
        return torch.tensordot(columns, rule.along, dims=([0], [0])).mT  # (B, h, w)
