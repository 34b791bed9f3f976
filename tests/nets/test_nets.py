"""The networks: binding counts, shapes of any size, precision, and what they refuse."""

import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from deepblur.nets import DRUNet, Identifier, log_power_spectrum
from deepblur.nets.identifier import half_overlapping_windows
from deepblur.nets.torchvision_ops import declare_missing_operators


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def image(draw, *shape):
    return draw(*shape).float()


@pytest.mark.parametrize(("K", "parameters"), [(16, 11_178_448), (7, 11_173_831)])
def test_the_default_identifier_is_resnet18_with_one_channel(K, parameters):
    assert count(Identifier(K)) == parameters


def test_the_default_drunet_has_the_published_count_and_no_biases():
    net = DRUNet()
    assert count(net) == 8_159_808
    assert not [name for name, _ in net.named_parameters() if "bias" in name]


@pytest.mark.parametrize("arch", ["resnet18", "compact"])
@pytest.mark.parametrize("log_spectrum", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_an_identifier_maps_images_of_any_size_to_parameters(draw, arch, log_spectrum, normalize):
    net = Identifier(3, arch=arch, widths=(4, 8), log_spectrum=log_spectrum, normalize=normalize)
    gamma = net(image(draw, 2, 1, 41, 48))
    assert gamma.shape == (2, 3)
    gamma.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_the_output_scale_multiplies(draw):
    net = Identifier(3, arch="compact", widths=(4, 8)).eval()
    y = image(draw, 2, 1, 16, 16)
    plain = net(y)
    scaled = Identifier(3, arch="compact", widths=(4, 8), output_scale=0.1, output_offset=(1.0, 2.0, 3.0)).eval()
    scaled.load_state_dict(net.state_dict())
    assert_close(scaled(y), 0.1 * plain + torch.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="a number for each of 3 parameters; got 2"):
        Identifier(3, arch="compact", widths=(4, 8), output_scale=(1.0, 2.0))


def test_normalising_forgets_the_gain_and_the_offset_of_the_image(draw):
    net = Identifier(2, arch="compact", widths=(4, 8), log_spectrum=True).eval()
    y = image(draw, 2, 1, 33, 40)
    assert_close(net(0.3 * y + 0.5), net(y), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_constant_image_has_finite_outputs_and_gradients(value):
    net = Identifier(2, arch="compact", widths=(4, 8), log_spectrum=True).eval()
    y = torch.full((1, 1, 16, 16), value, requires_grad=True)
    gamma = net(y)
    gamma.sum().backward()
    assert gamma.isfinite().all()
    assert y.grad.isfinite().all()


def test_the_log_spectrum_is_centred_standardised_and_of_the_size_of_the_image(draw):
    y = draw(2, 1, 30, 41)
    spectrum = log_power_spectrum(y)
    assert spectrum.shape == y.shape
    assert_close(spectrum.mean((-2, -1)), torch.zeros(2, 1, dtype=y.dtype), atol=1e-12, rtol=0)
    assert_close(spectrum.var((-2, -1), correction=0), torch.ones(2, 1, dtype=y.dtype), rtol=1e-6, atol=0)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(65.0), indexing="ij")
    wave = torch.cos(2 * torch.pi * (8 * rows / 64 + 13 * columns / 65))[None, None]
    brightest = log_power_spectrum(wave).flatten().topk(2).indices
    assert sorted((int(i) // 65 - 32, int(i) % 65 - 32) for i in brightest) == [(-8, -13), (8, 13)]


def test_identifiers_run_under_autocast_and_stay_close(draw):
    net = Identifier(3, arch="compact", widths=(8, 16), log_spectrum=True).eval()
    y = image(draw, 2, 1, 48, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = net(y)
        assert log_power_spectrum(y.bfloat16()).dtype == torch.float32
    assert_close(low.float(), net(y), atol=0.02, rtol=0.05)


@pytest.mark.parametrize("size", [(1, 1), (7, 12), (16, 24), (33, 50)])
def test_a_drunet_keeps_the_size_of_any_image(draw, size):
    net = DRUNet(widths=(2, 3, 4, 5), blocks=1)
    assert net(image(draw, 2, 1, *size)).shape == (2, 1, *size)


def test_a_drunet_is_positively_homogeneous_and_has_no_dead_part(draw):
    net = DRUNet(widths=(2, 3, 4), blocks=2).double()
    x = draw(2, 1, 16, 20)
    assert_close(net(3 * x), 3 * net(x))
    net(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_a_residual_drunet_adds_its_input(draw):
    net = DRUNet(widths=(2, 3), blocks=1, residual=True).double()
    x = draw(1, 1, 9, 10)
    residual = net(x)
    net.residual = False
    assert_close(residual, x + net(x))
    assert count(net) == count(DRUNet(widths=(2, 3), blocks=1))


def test_a_residual_drunet_does_not_add_the_noise_map(draw):
    net = DRUNet(2, 1, widths=(2, 3), blocks=1, residual=True).double()
    x = draw(1, 2, 9, 10)
    residual = net(x)
    net.residual = False
    assert_close(residual, x[:, :1] + net(x))


def test_the_operator_schemas_are_declared_once():
    assert declare_missing_operators() == ()


def test_networks_need_no_scheduler_and_no_tracker():
    code = "import sys, deepblur.nets; assert not {'ray', 'mlflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: Identifier(0), r"num_parameters must be at least 1; got 0"),
        (lambda: Identifier(3, arch="resnet19"), r"arch must be .* got 'resnet19'"),
        (lambda: Identifier(3, arch="compact", widths=()), r"at least one positive channel count; got \(\)"),
        (lambda: Identifier(3)(torch.zeros(2, 3, 64, 64)), r"grey images .* got \(2, 3, 64, 64\)"),
        (lambda: Identifier(3)(torch.zeros(2, 1, 31, 64)), r"at least 32x32 pixels; got 31x64"),
        (lambda: DRUNet(widths=(4, 0)), r"at least one positive channel count; got \(4, 0\)"),
        (lambda: DRUNet(1, 2, residual=True), r"first channels .* got 1 in and 2 out"),
        (lambda: DRUNet()(torch.zeros(1, 2, 8, 8)), r"takes images \(B, 1, H, W\); got \(1, 2, 8, 8\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(act, text):
    with pytest.raises(ValueError, match=text):
        act()


@pytest.mark.parametrize("size", [(64, 64), (65, 96), (40, 150)])
def test_windows_cover_the_image_and_nothing_else(draw, size):
    y = draw(2, 1, *size)
    marked = torch.zeros_like(y)
    index = torch.arange(y.numel(), dtype=torch.float64).reshape(y.shape)
    windows = half_overlapping_windows(index, 64)
    assert windows.shape[1:3] == (2, 1)
    assert windows.shape[3:] == tuple(min(64, side) for side in size)
    marked.view(-1)[windows.long().flatten()] = 1
    assert marked.all()


def test_an_identifier_reads_a_large_image_as_the_mean_over_its_windows(draw):
    net = Identifier(3, arch="compact", widths=(8, 16), log_spectrum=True, window_px=32).double().eval()
    whole = draw(2, 1, 48, 32)
    expected = (net(whole[:, :, :32]) + net(whole[:, :, 16:])) / 2
    assert_close(net(whole), expected)
    small = draw(1, 1, 32, 32)
    alike = Identifier(3, arch="compact", widths=(8, 16), log_spectrum=True).double().eval()
    alike.load_state_dict(net.state_dict())
    assert_close(net(small), alike(small))
    with pytest.raises(ValueError, match="window_px must be at least 4 for this network; got 2"):
        Identifier(3, arch="compact", widths=(8, 16), window_px=2)
