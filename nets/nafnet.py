"""NAFNet: image in, restored image out, by a U-Net without nonlinear activations; it is told nothing of the blur.

Source: Chen, Chu, Zhang and Sun, "Simple Baselines for Image Restoration", ECCV 2022.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from deepblur.nets.drunet import padded


class LayerNorm2d(nn.Module):
    """Each pixel's channels (B, C, H, W) to zero mean and unit variance, then an affine map per channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        last = layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, eps=1e-6)
        return last.permute(0, 3, 1, 2)


class SimpleGate(nn.Module):
    """(B, 2C, H, W) → (B, C, H, W): the first half of the channels times the second, the only nonlinearity."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second


class ChannelAttention(nn.Module):
    """Scales each channel by a linear map of the channels' means over the image ("simplified channel attention")."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mix(x.mean((-2, -1), keepdim=True))


class NAFBlock(nn.Module):
    """x → x + β·spatial(x) → that + γ·pointwise(that); β and γ start at zero, so a new block is the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.spatial = nn.Sequential(
            LayerNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
            SimpleGate(),
            ChannelAttention(channels),
            nn.Conv2d(channels, channels, 1),
        )
        self.pointwise = nn.Sequential(
            LayerNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            SimpleGate(),
            nn.Conv2d(channels, channels, 1),
        )
        self.beta = nn.Parameter(torch.zeros(channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.beta * self.spatial(x)
        return x + self.gamma * self.pointwise(x)


class NAFNet(nn.Module):
    """Image in, image of the same size out: a U-Net of NAF blocks with additive skips and a global residual.

    The defaults are the source's deblurring network of width 32 (17.1 M parameters for RGB, 1,154 fewer for one grey
    channel); width 64 is its larger one (67.9 M). The channel attention averages over the whole image, so its scales
    drift when a network is applied to images much larger than its training crops.

    Args:
        in_channels: channels of the image, in and out.
        width: channels of the finest scale; each coarser scale has twice as many and half the side.
        encoder_blocks: blocks per scale on the way down, finest first.
        middle_blocks: blocks of the coarsest scale.
        decoder_blocks: blocks per scale on the way up, coarsest first; as many scales as the encoder.
    Raises:
        ValueError: no channel, no width, or encoder and decoder with different numbers of scales.
    """

    def __init__(
        self,
        in_channels: int = 1,
        *,
        width: int = 32,
        encoder_blocks: Sequence[int] = (1, 1, 1, 28),
        middle_blocks: int = 1,
        decoder_blocks: Sequence[int] = (1, 1, 1, 1),
    ):
        super().__init__()
        if in_channels < 1 or width < 1:
            raise ValueError(f"in_channels and width are at least 1; got {in_channels} and {width}")
        if len(encoder_blocks) != len(decoder_blocks):
            raise ValueError(
                f"encoder and decoder have the same scales; got {len(encoder_blocks)} and {len(decoder_blocks)} "
                "numbers of blocks; give one number per scale to each"
            )
        self.in_channels = in_channels
        self.stride = 2 ** len(encoder_blocks)
        widths = [width * 2**scale for scale in range(len(encoder_blocks))]
        self.head = nn.Conv2d(in_channels, width, 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, encoder_blocks, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths)
        self.middle = _blocks(width * self.stride, middle_blocks)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * w, 4 * w, 1, bias=False), nn.PixelShuffle(2)) for w in reversed(widths)
        )
        self.decoder = nn.ModuleList(_blocks(w, n) for w, n in zip(reversed(widths), decoder_blocks, strict=True))
        self.tail = nn.Conv2d(width, in_channels, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        """Restored images, (B, in_channels, H, W) → the same shape; any H, W ≥ 1 (padded by replication inside).

        Raises:
            ValueError: y has another number of dimensions or channels.
        """
        H, W = y.shape[-2:]
        features = self.head(padded("NAFNet", y, self.in_channels, self.stride))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            skips.append(blocks(features))
            features = down(skips[-1])
        features = self.middle(features)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            features = blocks(up(features) + skips.pop())
        return y + self.tail(features)[..., :H, :W]


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(NAFBlock(channels) for _ in range(count)))
