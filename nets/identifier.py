"""IN, the identification network: one blurry image → the parameters γ of the operator that blurred it."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Arch = Literal["resnet18", "compact"]
Norm = Literal["batch", "group"]
NormLayer = Callable[[int], nn.Module]
_WINDOWS_AT_ONCE = 256  # bounds the memory of a large image


class Identifier(nn.Module):
    """y → γ̂. The default is torchvision's ResNet-18, untrained, with a one-channel stem and K outputs.

    It has 11,178,448 parameters at K = 16 and 11,173,831 at K = 7.

    Args:
        num_parameters: K, the outputs.
        arch: "resnet18", or "compact": stages of two convolutions, for small crops and few cores.
        widths: channels per stage of "compact"; each stage halves the side. ResNet-18 has its own widths.
        norm: "batch", or "group" (16 channels a group), which does not depend on the other images of a batch and so
            trains alike on any number of workers; default: batch for "resnet18", group for "compact".
        log_spectrum: adds the log power spectrum of the image (`log_power_spectrum`) as a second input channel.
        window_px: side of the windows that a larger image is read in, half overlapping, the mean of their features
            deciding: the side of the training crops, because a log spectrum looks different at every size. Default:
            the image is read whole.
        normalize: feeds (y − mean)/std of each image instead of y; default: only for "compact".
        output_scale: multiplies the outputs, in the unit of γ (waves for Zernike modes), one number or K: set it near
            the spread of γ, so that the network's own outputs are of order one.
        output_offset: added to the outputs, K numbers: the mean of γ, where that is not zero.
    Raises:
        ValueError: no parameter, another arch or norm, a window that the network cannot read, or a scale or offset of
            another length than K.
    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016.
    """

    output_scale: Tensor
    output_offset: Tensor

    def __init__(
        self,
        num_parameters: int,
        *,
        arch: Arch = "resnet18",
        widths: Sequence[int] = (32, 64, 128, 256),
        norm: Norm | None = None,
        log_spectrum: bool = False,
        window_px: int | None = None,
        normalize: bool | None = None,
        output_scale: float | Sequence[float] = 1.0,
        output_offset: Sequence[float] | None = None,
    ):
        super().__init__()
        if num_parameters < 1:
            raise ValueError(f"num_parameters must be at least 1; got {num_parameters}")
        channels = 2 if log_spectrum else 1
        norm_layer = _norm_layer(norm or ("group" if arch == "compact" else "batch"))
        if arch == "resnet18":
            self.net: nn.Module = _resnet18(channels, num_parameters, norm_layer)
            self.min_size = 32
        elif arch == "compact":
            self.net = _compact(channels, widths, num_parameters, norm_layer)
            self.min_size = 2 ** len(widths)
        else:
            raise ValueError(f'arch must be "resnet18" or "compact"; got {arch!r}')
        if window_px is not None and window_px < self.min_size:
            raise ValueError(f"window_px must be at least {self.min_size} for this network; got {window_px}")
        self.num_parameters = num_parameters
        self.window_px = window_px
        self.log_spectrum = log_spectrum
        self.normalize = arch == "compact" if normalize is None else normalize
        for name, value in (("output_scale", output_scale), ("output_offset", output_offset)):
            if isinstance(value, Sequence) and len(value) != num_parameters:
                raise ValueError(f"{name} holds a number for each of {num_parameters} parameters; got {len(value)}")
        # configuration, not weights: a model's file of weights stays what it was
        self.register_buffer("output_scale", torch.tensor(output_scale), persistent=False)
        self.register_buffer("output_offset", torch.tensor(output_offset or 0.0), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, K).

        Raises:
            ValueError: y is not a batch of one-channel images, or its sides are below `min_size`.
        """
        if y.ndim != 4 or y.shape[1] != 1:
            raise ValueError(f"an identifier takes grey images (B, 1, H, W); got {tuple(y.shape)}; average channels")
        if min(y.shape[-2:]) < self.min_size:
            raise ValueError(
                f"this identifier needs images of at least {self.min_size}x{self.min_size} pixels; "
                f"got {y.shape[-2]}x{y.shape[-1]}; use a larger crop or fewer stages"
            )
        size = self.window_px
        if size is None or max(y.shape[-2:]) <= size:
            return self._read(y)
        windows = half_overlapping_windows(y, size)
        outputs = [self._read(part.flatten(0, 1)) for part in windows.split(max(1, _WINDOWS_AT_ONCE // len(y)))]
        return torch.cat(outputs).unflatten(0, (-1, len(y))).mean(0)

    def _read(self, y: Tensor) -> Tensor:
        channels = [standardize(y) if self.normalize else y]
        if self.log_spectrum:
            channels.append(log_power_spectrum(y).to(y.dtype))
        return self.net(torch.cat(channels, dim=1)) * self.output_scale + self.output_offset


def half_overlapping_windows(y: Tensor, size: int) -> Tensor:
    """(B, C, H, W) → (N, B, C, h, w), h = min(H, size), w = min(W, size): windows that cover the image evenly."""
    starts = [half_overlapping_starts(side, size) for side in y.shape[-2:]]
    return torch.stack([y[..., r : r + size, c : c + size] for r in starts[0] for c in starts[1]])


def half_overlapping_starts(side: int, size: int) -> list[int]:
    """First pixels of the fewest windows of `size` that cover `side` evenly with at least half overlap; [0] if one."""
    spare = max(0, side - size)
    count = math.ceil(spare / (size / 2)) + 1
    return [round(i * spare / max(1, count - 1)) for i in range(count)]


def standardize(y: Tensor) -> Tensor:
    """(y − mean)/std over each image of (B, C, H, W); a constant image becomes zero, with a finite gradient."""
    centred = y - y.mean((-2, -1), keepdim=True)
    return centred * torch.rsqrt(centred.square().mean((-2, -1), keepdim=True) + 1e-10)


def log_power_spectrum(y: Tensor) -> Tensor:
    """log |FFT(Hann window · (y − mean))|², zero frequency in the middle pixel, standardised per image.

    Blur multiplies spectra, so its trace in this channel is additive and the same wherever it falls in the image. The
    logarithm is floored at 1e-8 of the mean power, which is below the noise of any camera.

    Args:
        y: (B, C, H, W), real.
    Returns:
        (B, C, H, W), at least float32: half precision has not the range, also under autocast.
    """
    y = y.to(torch.promote_types(y.dtype, torch.float32))
    H, W = y.shape[-2:]
    rows = torch.hann_window(H, periodic=False, dtype=y.dtype, device=y.device)
    columns = torch.hann_window(W, periodic=False, dtype=y.dtype, device=y.device)
    windowed = (y - y.mean((-2, -1), keepdim=True)) * (rows[:, None] * columns)
    spectrum = torch.fft.fft2(windowed)
    power = spectrum.real.square() + spectrum.imag.square()
    floor = 1e-8 * power.mean((-2, -1), keepdim=True) + 1e-12 * H * W
    return standardize(torch.fft.fftshift(torch.log(power + floor), dim=(-2, -1)))


def _norm_layer(norm: str) -> NormLayer:
    if norm == "batch":
        return nn.BatchNorm2d
    if norm == "group":
        return lambda channels: nn.GroupNorm(_groups(channels), channels)
    raise ValueError(f'norm must be "batch" or "group"; got {norm!r}')


def _groups(channels: int) -> int:
    """The largest number of equal groups of at least 16 channels."""
    return next(n for n in range(max(1, channels // 16), 0, -1) if channels % n == 0)


def _resnet18(channels: int, outputs: int, norm_layer: NormLayer) -> nn.Module:
    import deepblur.nets.torchvision_ops  # noqa: F401, I001  (must precede torchvision)
    from torchvision.models import resnet18  # more than a second, which a process without a ResNet need not spend

    net = resnet18(weights=None, num_classes=outputs, norm_layer=norm_layer)
    net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision starts the others
    return net


def _compact(channels: int, widths: Sequence[int], outputs: int, norm_layer: NormLayer) -> nn.Module:
    if not widths or min(widths) < 1:
        raise ValueError(f"widths needs at least one positive channel count; got {tuple(widths)}")

    def convolution(narrow: int, wide: int, side: int, stride: int) -> list[nn.Module]:
        layer = nn.Conv2d(narrow, wide, side, stride=stride, padding=side // 2, bias=False)
        return [layer, norm_layer(wide), nn.ReLU(inplace=True)]

    stages = [
        nn.Sequential(*convolution(narrow, wide, 5 if first else 3, 2), *convolution(wide, wide, 3, 1))
        for first, (narrow, wide) in zip((True, *[False] * len(widths)), pairwise((channels, *widths)), strict=False)
    ]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], outputs))
