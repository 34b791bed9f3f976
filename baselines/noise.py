"""How noisy is the image, and the image without the noise: what methods need that follow the noise."""

import torch
from skimage.restoration import denoise_nl_means
from torch import Tensor
from torch.nn.functional import conv2d

_DB2_HIGH = (-0.1294095226, -0.2241438680, 0.8365163037, -0.4829629131)  # Daubechies' four-tap high-pass, unit norm
_MEDIAN_TO_STD = 1.482602  # of |N(0, 1)|


def noise_std_of(image: Tensor) -> float:
    """Standard deviation of white noise in an image (H, W), in the image's unit.

    From the median magnitude of the finest diagonal wavelet details, which a blurry scene hardly reaches.

    Raises:
        ValueError: the image has fewer than 4×4 pixels.
    Source: Donoho and Johnstone, Biometrika 81(3), 1994; here at every pixel instead of every other one.
    """
    if min(image.shape) < len(_DB2_HIGH):
        raise ValueError(
            f"the noise is read from at least 4x4 pixels; got {tuple(image.shape)}; give noise_std instead"
        )
    high = torch.tensor(_DB2_HIGH, dtype=image.dtype, device=image.device)
    details = conv2d(image[None, None], high.outer(high)[None, None])
    return _MEDIAN_TO_STD * float(details.abs().median())


def denoised(image: Tensor, noise_std: float) -> Tensor:
    """image (H, W) without white noise of this standard deviation, by non-local means.

    Patches and window are large because blur leaves no fine detail to lose; beside TV denoising and smaller patches it
    served the TV restoration that follows best, at σ = 0.01, 0.03 and 0.1.
    Source: Buades, Coll and Morel, CVPR 2005; scikit-image's implementation.
    """
    clean = denoise_nl_means(
        image.cpu().numpy(), patch_size=7, patch_distance=9, h=0.6 * noise_std, sigma=noise_std, fast_mode=True
    )
    return torch.from_numpy(clean).to(image)
