"""DRUNet: the residual U-Net that serves as a learned proximal step.

Source: Zhang et al., "Plug-and-Play Image Restoration with Deep Denoiser Prior", IEEE TPAMI 44(10), 2022.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import pad


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), 3×3, without biases or normalisation."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(_conv3x3(width, width), nn.ReLU(inplace=True), _conv3x3(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class DRUNet(nn.Module):
    """Image in, image of the same size out: a U-Net of residual blocks with additive skips and no biases.

    Without biases the network is positively homogeneous, net(a·x) = a·net(x) for a ≥ 0: it has no preferred intensity.
    The default has 8,159,808 parameters, half the widths of the network of the source.

    Args:
        in_channels, out_channels: channels of the images; a noise map is one more input channel, after the image's.
        widths: channels per scale, finest first; each scale halves the side.
        blocks: residual blocks per scale, on the way down and again on the way up.
        residual: returns x + net(x), whose start is near the identity; x is the first out_channels of the input.
    Raises:
        ValueError: no widths, one below 1, or residual with more channels out than in.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 4,
        *,
        residual: bool = False,
    ):
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"widths needs at least one positive channel count; got {tuple(widths)}")
        if residual and in_channels < out_channels:
            raise ValueError(
                f"residual=True adds the input's first channels to the output; got {in_channels} in and {out_channels} "
                "out; set residual=False"
            )
        self.in_channels = in_channels
        self.residual = residual
        self.stride = 2 ** (len(widths) - 1)
        self.head = _conv3x3(in_channels, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(*_blocks(fine, blocks), nn.Conv2d(fine, coarse, 2, stride=2, bias=False))
            for fine, coarse in pairwise(widths)
        )
        self.body = nn.Sequential(*_blocks(widths[-1], blocks))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False), *_blocks(fine, blocks))
            for fine, coarse in pairwise(widths)
        )
        self.tail = _conv3x3(widths[0], out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) → (B, out_channels, H, W); any H, W ≥ 1 (padded by replication inside).

        Raises:
            ValueError: x has another number of dimensions or channels.
        """
        H, W = x.shape[-2:]
        features = self.head(padded("DRUNet", x, self.in_channels, self.stride))
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(features)
        skips.append(features)
        features = self.body(features)
        for up in reversed(self.up):
            features = up(features + skips.pop())
        out = self.tail(features + skips.pop())[..., :H, :W]
        return x[:, : out.shape[1]] + out if self.residual else out


def padded(name: str, x: Tensor, channels: int, stride: int) -> Tensor:
    """Images (B, channels, H, W), their sides grown to multiples of `stride` by replicating the last row and column.

    Raises:
        ValueError: x has another number of dimensions or channels; `name` is the network that takes it.
    """
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f"{name} takes images (B, {channels}, H, W); got {tuple(x.shape)}; set in_channels or reshape")
    bottom, right = -x.shape[-2] % stride, -x.shape[-1] % stride
    return pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def _blocks(width: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(count)]
