"""FFT convolution in a window: what a boundary means, as four linear maps and their transposes.

Every blur is  cut ∘ (circular convolution on a torus) ∘ spread:  `spread` puts the image on the torus, `cut` takes the
data out of it. Shapes: (..., H, W) image, (h, w) kernel with odd sides.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import pad

Boundary = Literal["valid", "circular", "replicate"]


def check_boundary(boundary: str) -> None:
    if boundary not in get_args(Boundary):
        raise ValueError(f"a boundary is one of {', '.join(get_args(Boundary))}; got {boundary!r}")


def check_odd(h: int, w: int) -> None:
    if h % 2 == 0 or w % 2 == 0 or min(h, w) < 1:
        raise ValueError(f"a PSF needs odd sides to have a centre pixel; got {h}x{w}; crop or pad it by one pixel")


def full_precision(x: Tensor) -> Tensor:
    """x itself in float32 or float64; float32 for half precision, whose FFT has too few digits for an inversion."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def transfer_function(psf: Tensor, size: tuple[int, int]) -> Tensor:
    """OTF of a PSF on a torus, in the layout of rfft2.

    Args:
        psf: (..., h, w), odd sides, the middle pixel its centre.
        size: (H, W), sides of the torus, in pixels.
    Returns:
        (..., H, W // 2 + 1), complex.
    Raises:
        ValueError: the PSF has an even side or is larger than the torus.
    """
    h, w = psf.shape[-2:]
    H, W = size
    check_odd(h, w)
    if h > H or w > W:
        raise ValueError(f"PSF {h}x{w} is larger than the image {H}x{W}; crop the PSF or enlarge the image")
    centred = pad(full_precision(psf), (0, W - w, 0, H - h)).roll((-(h // 2), -(w // 2)), dims=(-2, -1))
    return torch.fft.rfft2(centred)


@dataclass(frozen=True)
class Window:
    """The maps between an image, the torus on which it is convolved, and the data.

    valid      the data are the pixels whose whole neighbourhood is in the image: (H − h + 1, W − w + 1)
    circular   the image is the torus
    replicate  the edge pixels go on forever; the data have the size of the image
    """

    boundary: Boundary
    image_size: tuple[int, int]
    psf_shape: tuple[int, int]

    @property
    def torus(self) -> tuple[int, int]:
        """Sides of the FFT: exactly the image when circular, else the next sides that the FFT likes."""
        if self.boundary == "circular":
            return self.image_size
        extra = [s - 1 if self.boundary == "replicate" else 0 for s in self.psf_shape]
        H, W = (next_fast_len(n + e, real=True) for n, e in zip(self.image_size, extra, strict=True))
        return H, W

    def spread(self, x: Tensor) -> Tensor:
        """Image (..., H, W) → what lies on the torus, without the zeros that rfft2(s=torus) appends."""
        if self.boundary != "replicate":
            return x
        rh, rw = (s // 2 for s in self.psf_shape)
        flat = pad(x.reshape(-1, 1, *x.shape[-2:]), (rw, rw, rh, rh), mode="replicate")
        return flat.reshape(*x.shape[:-2], *flat.shape[-2:])

    def spread_adjoint(self, torus: Tensor) -> Tensor:
        """Transpose of spread and of the zeros appended to it: (..., torus) → (..., H, W)."""
        H, W = self.image_size
        if self.boundary != "replicate":
            return torus[..., :H, :W]
        rh, rw = (s // 2 for s in self.psf_shape)
        padded = torus[..., : H + 2 * rh, : W + 2 * rw]
        rows = _fold(padded.transpose(-2, -1), rh).transpose(-2, -1)
        return _fold(rows, rw)

    def cut(self, torus: Tensor) -> Tensor:
        """Torus → data; the kernel's centre sits at the data pixel."""
        if self.boundary == "circular":
            return torus
        (rh, rw), (H, W) = (s // 2 for s in self.psf_shape), self.data_size
        return torus[..., rh : rh + H, rw : rw + W]

    def cut_adjoint(self, y: Tensor) -> Tensor:
        """Transpose of cut, without the zeros that rfft2(s=torus) appends."""
        if self.boundary == "circular":
            return y
        rh, rw = (s // 2 for s in self.psf_shape)
        return pad(y, (rw, 0, rh, 0))

    @property
    def data_size(self) -> tuple[int, int]:
        return data_size(self.boundary, self.image_size, self.psf_shape)


def data_size(boundary: Boundary, image_size: tuple[int, int], psf_shape: tuple[int, int]) -> tuple[int, int]:
    """Size of the blurred image, (rows, columns) in pixels.

    Raises:
        ValueError: the image is smaller than the PSF (replicate accepts any image).
    """
    (H, W), (h, w) = image_size, psf_shape
    if boundary != "replicate" and (h > H or w > W):
        raise ValueError(
            f"a {boundary} blur needs an image at least as large as its PSF; got image {H}x{W}, PSF {h}x{w}; "
            "take a larger image, a smaller PSF or boundary='replicate'"
        )
    return (H - h + 1, W - w + 1) if boundary == "valid" else (H, W)


def image_size(boundary: Boundary, output_size: tuple[int, int], psf_shape: tuple[int, int]) -> tuple[int, int]:
    """Inverse of data_size."""
    if boundary != "valid":
        return output_size
    return output_size[0] + psf_shape[0] - 1, output_size[1] + psf_shape[1] - 1


def _fold(x: Tensor, margin: int) -> Tensor:
    """Transpose of replicating the last axis' end pixels `margin` times."""
    if margin == 0:
        return x
    inner = x[..., margin:-margin]
    if inner.shape[-1] == 1:
        return x.sum(-1, keepdim=True)
    first = x[..., : margin + 1].sum(-1, keepdim=True)
    last = x[..., -margin - 1 :].sum(-1, keepdim=True)
    return torch.cat([first, inner[..., 1:-1], last], dim=-1)
