"""NAFNet: the published counts, the laws of its parts against direct formulas, any size, and what it refuses."""

import pytest
import torch
from torch.nn.functional import pad
from torch.testing import assert_close

from deepblur.nets import NAFNet
from deepblur.nets.nafnet import ChannelAttention, LayerNorm2d, NAFBlock, SimpleGate


def small(**options):
    return NAFNet(**({"width": 4, "encoder_blocks": (1, 2), "decoder_blocks": (1, 1)} | options)).double()


def awake(net, rng):
    """The network with every parameter random: a new one's blocks are identities."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3, generator=rng)
    return net


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("width", "millions"), [(32, 17.1), (64, 67.9)])
def test_the_colour_networks_have_the_published_counts(width, millions):
    with torch.device("meta"):
        assert round(count(NAFNet(3, width=width)) / 1e6, 1) == millions


def test_one_channel_spares_two_kernels_per_feature_at_either_end_and_two_biases():
    with torch.device("meta"):
        colour, grey = count(NAFNet(3)), count(NAFNet())
    assert (colour, grey) == (17_111_907, 17_110_753)
    assert colour - grey == 2 * (2 * 32 * 9) + 2


def test_a_new_network_passes_the_image_through_its_ends_alone(draw, rng):
    net, y = small(), draw(2, 1, 8, 12)
    features = net.head(y)
    coarse = net.down[1](net.down[0](features))
    by_hand = net.up[1](net.up[0](coarse) + net.down[0](features)) + features
    assert_close(net(y), y + net.tail(by_hand))
    assert not torch.equal(awake(net, rng)(y), y + net.tail(by_hand))


def test_the_norm_the_gate_and_the_attention_are_their_formulas(draw, rng):
    x = draw(2, 6, 5, 7)
    norm, attention = awake(LayerNorm2d(6).double(), rng), awake(ChannelAttention(6).double(), rng)
    centred = x - x.mean(1, keepdim=True)
    scaled = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    assert_close(norm(x), scaled * norm.weight[:, None, None] + norm.bias[:, None, None])
    assert_close(SimpleGate()(x), x[:, :3] * x[:, 3:])
    factors = x.mean((2, 3)) @ attention.mix.weight[:, :, 0, 0].T + attention.mix.bias
    assert_close(attention(x), factors[:, :, None, None] * x)


def test_a_block_starts_as_the_identity_and_sees_the_whole_image(draw, rng):
    block, x = NAFBlock(4).double(), draw(1, 4, 6, 9).requires_grad_()
    assert torch.equal(block(x), x)
    (gradient,) = torch.autograd.grad(awake(block, rng)(x)[0, 0, 0, 0], x)
    assert (gradient != 0).any(1).all()


@pytest.mark.parametrize("size", [(1, 1), (7, 12), (16, 24), (33, 50)])
def test_any_size_is_padded_by_replication_and_cut(draw, rng, size):
    net, y = awake(small(), rng), draw(2, 1, *size)
    whole = net(pad(y, (0, -size[1] % 4, 0, -size[0] % 4), mode="replicate"))
    assert_close(net(y), whole[..., : size[0], : size[1]])


def test_every_parameter_learns(draw, rng):
    net = awake(small(), rng)
    net(draw(2, 1, 9, 10)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_it_runs_under_autocast_and_stays_close(draw, rng):
    net, y = small().float(), draw(2, 1, 16, 20).float()
    with torch.no_grad():
        for block in (module for module in net.modules() if isinstance(module, NAFBlock)):
            block.beta.fill_(0.5)
            block.gamma.fill_(0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = net(y)
    assert_close(low.float(), net(y), atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: NAFNet(width=0), r"at least 1; got 1 and 0"),
        (lambda: NAFNet(encoder_blocks=(1, 1)), r"same scales; got 2 and 4 numbers of blocks"),
        (lambda: small()(torch.zeros(8, 8)), r"takes images \(B, 1, H, W\); got \(8, 8\)"),
        (lambda: small()(torch.zeros(1, 3, 8, 8)), r"got \(1, 3, 8, 8\); set in_channels"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(act, text):
    with pytest.raises(ValueError, match=text):
        act()
