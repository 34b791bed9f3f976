"""A trained model in real arithmetic at one image size: what exchange formats can hold.

ONNX has no complex numbers, and its runtimes no inverse of a half spectrum (onnxruntime refuses DFT with both inverse
and onesided), so the pupil's integral and the Fourier transforms are real matrix products here. The size is fixed: the
margins that the data step adds, the windows that IN reads and the matrices depend on it. The batch is free.

Shapes: B batch, (H, W) image, (h, w) PSF, K parameters.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from deepblur.nets import Deblurrer, Identifier
from deepblur.nets.deblurrer import LEAST_NOISE, margin_px
from deepblur.nets.identifier import half_overlapping_starts, standardize
from deepblur.operators import ZernikeBlur, pad_for_circular
from deepblur.operators.noise import DB2_HIGH, MEDIAN_TO_STD
from deepblur.operators.quadrature import NYQUIST, pupil_rule

Spectrum = tuple[Tensor, Tensor]
"""Real and imaginary part."""


class Dft(nn.Module):
    """exp(−2πi k n / side) as two real matrices: places (samples in a row or column) × frequencies."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, side: int, places: Tensor, frequencies: Tensor):
        super().__init__()
        turns = (places[:, None] * frequencies).remainder(side)  # integers, so that the angle has all its digits
        angle = 2 * math.pi / side * turns.double()
        self.register_buffer("cosine", angle.cos().float())
        self.register_buffer("sine", angle.sin().float())


class Torus(nn.Module):
    """rfft2 and irfft2 of images (…, H, W), and rfft2 of a centred PSF (…, h, w)."""

    weight: Tensor

    def __init__(self, size: tuple[int, int], psf_shape: tuple[int, int]):
        super().__init__()
        H, W = size
        half = torch.arange(W // 2 + 1)
        self.rows = Dft(H, torch.arange(H), torch.arange(H))
        self.columns = Dft(W, torch.arange(W), half)
        self.psf_rows = Dft(H, torch.arange(psf_shape[0]) - psf_shape[0] // 2, torch.arange(H))
        self.psf_columns = Dft(W, torch.arange(psf_shape[1]) - psf_shape[1] // 2, half)
        once = (half == 0) | (2 * half == W)  # the other frequencies stand for their mirror images too
        self.register_buffer("weight", torch.where(once, 1.0, 2.0) / (H * W))

    def transform(self, x: Tensor) -> Spectrum:
        return _transform(x, self.rows, self.columns)

    def transfer_function(self, psf: Tensor) -> Spectrum:
        return _transform(psf, self.psf_rows, self.psf_columns)

    def invert(self, real: Tensor, imaginary: Tensor) -> Tensor:
        C, S = self.rows.cosine, self.rows.sine
        real, imaginary = C @ real - S @ imaginary, C @ imaginary + S @ real
        real, imaginary = real * self.weight, imaginary * self.weight
        return real @ self.columns.cosine.mT - imaginary @ self.columns.sine.mT


def _transform(x: Tensor, rows: Dft, columns: Dft) -> Spectrum:
    real, imaginary = x @ columns.cosine, -(x @ columns.sine)
    C, S = rows.cosine.mT, rows.sine.mT
    return C @ real + S @ imaginary, C @ imaginary - S @ real


class RealPsf(nn.Module):
    """γ (B, K) → PSF (B, 1, h, w): `ZernikeBlur.psf`."""

    modes: Tensor
    defocus: Tensor
    across_real: Tensor
    across_imaginary: Tensor
    along_real: Tensor
    along_imaginary: Tensor

    def __init__(self, operator: ZernikeBlur):
        super().__init__()
        if operator.coarse:
            raise ValueError(
                f"a network of pixels coarser than a cutoff of {NYQUIST} cycles per pixel cannot be exported; got "
                f"{operator.cutoff:.4g}"
            )
        rule = pupil_rule(
            operator.noll, operator.cutoff, operator.psf_size, operator.z_px, operator.wavenumber or 0.0,
            operator.nodes, torch.float32, torch.device("cpu"),
        )  # fmt: skip
        self.nodes = operator.nodes
        self.register_buffer("modes", rule.modes)
        self.register_buffer("defocus", rule.defocus)
        for name, constant in (("across", rule.across), ("along", rule.along)):
            self.register_buffer(f"{name}_real", constant.real.contiguous())
            self.register_buffer(f"{name}_imaginary", constant.imag.contiguous())

    def forward(self, gamma: Tensor) -> Tensor:
        phase = (gamma @ self.modes + self.defocus).unflatten(1, (self.nodes, -1)).transpose(0, 1)
        real, imaginary = _product((phase.cos(), phase.sin()), (self.across_real, self.across_imaginary))
        # (chords, B, w) with (chords, h), summed over the chords
        real, imaginary = real.permute(1, 2, 0), imaginary.permute(1, 2, 0)
        real, imaginary = _product((real, imaginary), (self.along_real, self.along_imaginary))
        intensity = (real.square() + imaginary.square()).mT.unsqueeze(1)
        return intensity / intensity.sum(dim=(-2, -1), keepdim=True)


def _product(a: Spectrum, b: Spectrum) -> Spectrum:
    return a[0] @ b[0] - a[1] @ b[1], a[0] @ b[1] + a[1] @ b[0]


class RealIdentifier(nn.Module):
    """y (B, 1, H, W) → γ̂ (B, K): `Identifier` at one size."""

    hann: Tensor

    def __init__(self, identifier: Identifier, size: tuple[int, int]):
        super().__init__()
        if min(size) < identifier.min_size:
            raise ValueError(
                f"the identifier needs images of at least {identifier.min_size}x{identifier.min_size} pixels; got "
                f"{size[0]}x{size[1]}; export a larger size"
            )
        side = identifier.window_px or max(size)
        h, w = (min(n, side) for n in size)
        self.starts = [(r, c) for r in half_overlapping_starts(size[0], h) for c in half_overlapping_starts(size[1], w)]
        self.window = h, w
        self.net = identifier.net
        self.register_buffer("output_scale", identifier.output_scale)
        self.register_buffer("output_offset", identifier.output_offset)
        self.normalize, self.log_spectrum = identifier.normalize, identifier.log_spectrum
        shifted = [torch.arange(n).roll(n // 2) for n in (h, w)]  # zero frequency in the middle
        self.rows = Dft(h, torch.arange(h), shifted[0])
        self.columns = Dft(w, torch.arange(w), shifted[1])
        hann = [torch.hann_window(n, periodic=False) for n in (h, w)]
        self.register_buffer("hann", hann[0][:, None] * hann[1])

    def forward(self, y: Tensor) -> Tensor:
        h, w = self.window
        windows = torch.cat([y[..., r : r + h, c : c + w] for r, c in self.starts])
        return self._read(windows).unflatten(0, (len(self.starts), -1)).mean(0)

    def _read(self, y: Tensor) -> Tensor:
        channels = [standardize(y) if self.normalize else y]
        if self.log_spectrum:
            centred = (y - y.mean((-2, -1), keepdim=True)) * self.hann
            real, imaginary = _transform(centred, self.rows, self.columns)
            power = real.square() + imaginary.square()
            floor = 1e-8 * power.mean((-2, -1), keepdim=True) + 1e-12 * self.window[0] * self.window[1]
            channels.append(standardize(torch.log(power + floor)))
        return self.net(torch.cat(channels, dim=1)) * self.output_scale + self.output_offset


class RealDeblurrer(nn.Module):
    """(y (B, 1, H, W), γ (B, K)) → x̂ (B, 1, H, W): `Deblurrer` with the closed-form data step at one size."""

    def __init__(self, deblurrer: Deblurrer, operator: ZernikeBlur, size: tuple[int, int]):
        super().__init__()
        if deblurrer.data_step != "closed_form":
            raise ValueError(
                f'a deblurrer with data_step="{deblurrer.data_step}" stops when its residual is small, which a fixed '
                'graph cannot; export a model with data_step="closed_form"'
            )
        H, W = size
        self.size, self.torus_size, self.margins = size, size, (0, 0)
        if operator.boundary != "circular":
            even = H + H % 2, W + W % 2
            rows, columns = (margin_px(n, side) for n, side in zip(even, operator.psf_shape, strict=True))
            self.margins = rows, columns
            self.torus_size = even[0] + 2 * rows, even[1] + 2 * columns
        if any(n < side for n, side in zip(self.torus_size, operator.psf_shape, strict=True)):
            raise ValueError(f"the PSF of {operator.psf_shape} pixels is larger than the image {size}; export a larger")
        self.psf = RealPsf(operator)
        self.torus = Torus(self.torus_size, operator.psf_shape)
        self.proxes, self.unroll = deblurrer.proxes, deblurrer.unroll
        self.start, self.asks_for_noise = deblurrer.start, deblurrer.asks_for_noise
        self.noise_map, self.lam_by_noise = deblurrer.noise_map, deblurrer.lam_by_noise
        self.lam = float(deblurrer.lam)

    def forward(self, y: Tensor, gamma: Tensor) -> Tensor:
        return self.deblur(y, self.psf(gamma))

    def deblur(self, y: Tensor, psf: Tensor) -> Tensor:
        H, W = self.size
        noise = _noise_std(y) if self.asks_for_noise else y.new_zeros(())
        lam = self.lam * (noise.square() + LEAST_NOISE**2) if self.lam_by_noise else self.lam
        if self.margins != (0, 0):
            y = pad_for_circular(pad(y, (0, W % 2, 0, H % 2), mode="replicate"), self.margins)
        real, imaginary = self.torus.transfer_function(psf)
        inverse = 1 / (real.square() + imaginary.square() + lam)
        Y = self.torus.transform(y)
        data = (real * Y[0] + imaginary * Y[1]) * inverse, (real * Y[1] - imaginary * Y[0]) * inverse
        damping = lam * inverse

        def prox(u: Tensor) -> Tensor:
            U = self.torus.transform(u)
            return self.torus.invert(data[0] + damping * U[0], data[1] + damping * U[1])

        z = self.torus.invert(*data) if self.start == "inverse" else y
        z = torch.zeros_like(y) if self.start == "zero" else z
        x = z
        for t in range(self.unroll):
            image = torch.cat([z, noise.expand(-1, 1, *self.torus_size)], 1) if self.noise_map else z
            x = self.proxes[t % len(self.proxes)](image)
            if t + 1 < self.unroll:
                z = z + prox(2 * x - z) - x
        top, left = self.margins
        return x[..., top : top + H, left : left + W]


def _noise_std(y: Tensor) -> Tensor:
    """`noise_std_of`, (B, 1, 1, 1), with the median as the last of the smaller half: exchange formats can sort."""
    high = torch.tensor(DB2_HIGH, dtype=y.dtype)
    details = conv2d(y, high.outer(high)[None, None]).abs().flatten(1)
    lower = details.topk((details.shape[1] + 1) // 2, largest=False, sorted=True).values
    return MEDIAN_TO_STD * lower[:, -1].reshape(-1, 1, 1, 1)


class RealModel(nn.Module):
    """y (B, 1, H, W) → (x̂ (B, 1, H, W), γ̂ (B, K), PSF (B, 1, h, w)): `BlindModel.restore` at one size."""

    def __init__(self, identifier: RealIdentifier, deblurrer: RealDeblurrer):
        super().__init__()
        self.identifier, self.deblurrer = identifier, deblurrer

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gamma = self.identifier(y)
        psf = self.deblurrer.psf(gamma)
        return self.deblurrer.deblur(y, psf), gamma, psf
