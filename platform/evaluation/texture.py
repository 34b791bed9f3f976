"""What a sharp image is like, in two numbers: how much it varies nearby, and how much of it is edges.

Blind methods live on texture and edges, so errors are stratified by both. Measure sharp images: blur and noise change
either number.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d


def local_std(images: Tensor, window_px: int = 9) -> Tensor:
    """Mean over all square windows inside the image of the standard deviation of their pixels, in intensity units.

    Args:
        images: (B, 1, H, W).
        window_px: side of a window.
    Returns:
        (B,) float64 on the CPU.
    Raises:
        ValueError: not (B, 1, H, W), or an image smaller than the window.
    """
    images = _grey(images, window_px)
    centred = images - images.mean((-2, -1), keepdim=True)  # else the difference of squares loses digits
    mean, power = (avg_pool2d(x, window_px, stride=1) for x in (centred, centred.square()))
    return (power - mean.square()).clamp_min(0).sqrt().mean((1, 2, 3)).cpu()


def edge_density(images: Tensor, threshold: float = 0.05) -> Tensor:
    """Fraction of the inner pixels whose Sobel gradient exceeds `threshold`, from 0 to 1.

    The gradient is scaled so that a ramp of a per pixel has the magnitude a. The outermost pixels have no gradient.

    Args:
        images: (B, 1, H, W), H and W at least 3.
        threshold: in intensity per pixel.
    Returns:
        (B,) float64 on the CPU.
    Raises:
        ValueError: not (B, 1, H, W), or an image below 3×3 pixels.
    Source: Gonzalez and Woods, Digital Image Processing, 4th ed., 2018, section 10.2 (Sobel operator and threshold).
    """
    images = _grey(images, 3)
    across = images[..., 2:] - images[..., :-2]
    down = images[..., 2:, :] - images[..., :-2, :]
    right = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 8
    below = (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]) / 8
    return (torch.hypot(right, below) > threshold).double().mean((1, 2, 3)).cpu()


def _grey(images: Tensor, smallest_px: int) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 1 or min(images.shape[-2:]) < smallest_px:
        raise ValueError(
            f"texture is measured on grey images (B, 1, H, W) of at least {smallest_px}x{smallest_px} pixels; got "
            f"{tuple(images.shape)}; average the channels or take larger images"
        )
    return images.detach().double()
