"""The deblurring network: its count, its iteration, and the ways data reach it."""

import pytest
import torch
from torch import nn
from torch.nn.functional import pad, softshrink
from torch.testing import assert_close

from deepblur.nets import Deblurrer
from deepblur.operators import EigenPSFBlur, ProductConvolutionBlur, ZernikeBlur, eigen_psfs, noise_std_of

SMALL = {"widths": (4, 6), "blocks": 1}
ZERNIKE = ZernikeBlur(noll=(4, 6, 8), psf_size=9)
Y, GAMMA = torch.zeros(2, 1, 20, 20), torch.zeros(2, 3)


class SoftThreshold(nn.Module):
    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        return softshrink(x, self.threshold)


def small(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Deblurrer(**(SMALL | options))


def blurred(draw, operator=ZERNIKE, size=(24, 30), dtype=torch.float64):
    gamma = (0.1 * draw(2, operator.num_parameters)).to(dtype)
    x = draw(2, 1, *operator.input_size(size)).sigmoid().to(dtype)
    return operator.forward(x, gamma), gamma, x


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_default_has_the_published_count():
    with torch.device("meta"):
        assert count(Deblurrer()) == 32_639_232
        assert count(Deblurrer(shared=True)) == 8_159_808
        assert count(Deblurrer(learn_lam=True)) == 32_639_233
        assert count(Deblurrer(noise_map=True)) == 32_639_232 + 4 * 9 * 32


@pytest.mark.parametrize("data_step", ["closed_form", "cg"])
@pytest.mark.parametrize("learn_lam", [False, True])
def test_every_proximal_network_receives_a_gradient(draw, data_step, learn_lam):
    net = small(data_step=data_step, learn_lam=learn_lam).double()
    y, gamma, _ = blurred(draw)
    gamma.requires_grad_()
    net(y, gamma, ZERNIKE).square().sum().backward()
    assert len(net.proxes) == 4
    for t, prox in enumerate(net.proxes):
        assert all(p.grad.abs().sum() > 0 for p in prox.parameters()), t
    assert gamma.grad.abs().min() > 0
    if learn_lam:
        assert net.log_lam.grad != 0


def test_a_learned_lam_stays_positive(draw):
    net = small(learn_lam=True, lam=0.01, unroll=1).double()
    y, gamma, _ = blurred(draw)
    optimiser = torch.optim.SGD([net.log_lam], lr=10)
    for _ in range(3):
        optimiser.zero_grad()
        net(y, gamma, ZERNIKE).sum().backward()
        optimiser.step()
        assert net.lam > 0


def matrix(operator, gamma, size):
    """A(γ), dense, for one γ (1, K)."""
    n = size[0] * size[1]
    columns = operator.forward(torch.eye(n, dtype=gamma.dtype).reshape(n, 1, *size), gamma.expand(n, -1))
    return columns.reshape(n, -1).T


def lasso(A, y, weight, iterations=4000):
    """argmin ½‖Ax − y‖² + weight·‖x‖₁ by FISTA with adaptive restart."""
    step = 1 / torch.linalg.matrix_norm(A, 2) ** 2
    x = momentum = A.new_zeros(A.shape[1])
    t = 1.0
    for _ in range(iterations):
        new = softshrink(momentum - step * (A.T @ (A @ momentum - y)), float(step * weight))
        t = 1.0 if (momentum - new) @ (new - x) > 0 else t
        t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2
        x, momentum, t = new, new + (t - 1) / t_new * (new - x), t_new
    return x


@pytest.mark.parametrize(("boundary", "data_step"), [("circular", "closed_form"), ("valid", "cg"), ("replicate", "cg")])
def test_with_soft_thresholds_the_iteration_converges_to_the_lasso(draw, boundary, data_step):
    basis = torch.linalg.qr(draw(9, 2)).Q.T.reshape(2, 3, 3)
    operator = EigenPSFBlur(basis, boundary=boundary, cg_iterations=100, cg_tolerance=1e-14)
    size = (9, 8)
    weight, lam = 0.3, 0.5
    net = Deblurrer(
        500, shared=True, lam=lam, data_step=data_step, prox=lambda: SoftThreshold(weight / float(net_lam(lam)))
    ).double()
    y, gamma, x = blurred(draw, operator, size)
    y = y + 0.1 * draw(*y.shape)
    with torch.no_grad():
        restored = net(y, gamma, operator)
    for b in range(2):
        shape = x.shape[-2:]
        solution = lasso(matrix(operator, gamma[b : b + 1], shape), y[b].flatten(), weight).reshape(shape)
        assert (solution == 0).any()
        top, left = ((n - m) // 2 for n, m in zip(shape, size, strict=True))
        window = solution[top : top + size[0], left : left + size[1]]
        assert_close(restored[b, 0], window, atol=1e-7, rtol=0)


def net_lam(lam):
    """λ as the network holds it, rounded once to float32 in the logarithm."""
    return Deblurrer(1, lam=lam, prox=nn.Identity).double().lam


def test_one_step_is_the_network_on_the_tikhonov_solution(draw):
    operator = ZERNIKE.with_boundary("circular")
    net = small(unroll=1).double()
    y, gamma, _ = blurred(draw, operator)
    tikhonov = operator.regularized_inverse(y, torch.zeros_like(y), gamma, net.lam)
    assert_close(net(y, gamma, operator), net.proxes[0](tikhonov))


@pytest.mark.parametrize("data_step", ["closed_form", "cg"])
@pytest.mark.parametrize("boundary", ["valid", "circular", "replicate"])
@pytest.mark.parametrize("start", ["inverse", "blurry", "zero"])
@pytest.mark.parametrize("size", [(9, 9), (13, 10), (33, 40)])
def test_the_restored_image_has_the_size_of_the_data(draw, data_step, boundary, start, size):
    operator = ZERNIKE.with_boundary(boundary)
    y, gamma, _ = blurred(draw, operator, size)
    net = small(data_step=data_step, start=start, noise_map=start == "zero", cg_iterations=3).double()
    assert net(y, gamma, operator).shape == y.shape


@pytest.mark.parametrize("data_step", ["closed_form", "cg"])
@pytest.mark.parametrize("boundary", ["valid", "circular"])
def test_the_blurry_start_is_the_data_where_they_are(draw, data_step, boundary):
    operator = ZERNIKE.with_boundary(boundary)
    y, gamma, _ = blurred(draw, operator, (13, 10))
    net = Deblurrer(1, prox=nn.Identity, data_step=data_step, start="blurry").double()
    assert torch.equal(net(y, gamma, operator), y)


def test_a_zero_start_costs_an_iteration_whose_network_learns_nothing(draw):
    y, gamma, _ = blurred(draw)
    late, early = small(unroll=3, start="zero").double(), small(unroll=2).double()
    for ours, theirs in zip(early.proxes, late.proxes[1:], strict=True):
        ours.load_state_dict(theirs.state_dict())
    restored = late(y, gamma, ZERNIKE)
    assert_close(restored, early(y, gamma, ZERNIKE))
    restored.square().sum().backward()
    assert not any(p.grad.any() for p in late.proxes[0].parameters())
    fed = small(unroll=3, start="zero", noise_map=True).double()
    fed(y, gamma, ZERNIKE).square().sum().backward()
    assert all(p.grad.any() for p in fed.proxes[0].parameters())


def test_the_noise_map_holds_what_is_given_or_read_off_the_data(draw):
    class Shown(nn.Module):
        def forward(self, x):
            return x[:, 1:]

    y, gamma, _ = blurred(draw, size=(41, 47))
    y = y + torch.tensor([0.03, 0.1]).double().reshape(2, 1, 1, 1) * draw(*y.shape)
    net = Deblurrer(2, prox=Shown, noise_map=True).double()
    assert torch.equal(net(y, gamma, ZERNIKE, torch.tensor([0.2, 0.3]))[:, 0, 0, 0], torch.tensor([0.2, 0.3]).double())
    shown = net(y, gamma, ZERNIKE)
    assert_close(shown, noise_std_of(y)[..., None, None].expand_as(y))
    assert_close(shown[:, 0, 0, 0], torch.tensor([0.03, 0.1]).double(), rtol=0.1, atol=0)


def test_lam_by_noise_is_the_network_with_that_lam(draw):
    y, gamma, _ = blurred(draw)
    net = small(lam=4.0, lam_by_noise=True).double()
    for std in (0.0, 0.1):
        plain = small(lam=4.0 * (std**2 + 0.005**2)).double()
        plain.proxes = net.proxes
        assert_close(net(y, gamma, ZERNIKE, std), plain(y, gamma, ZERNIKE))
    both = net(y, gamma, ZERNIKE, torch.tensor([0.0, 0.1]))
    assert_close(both[1:], net(y, gamma, ZERNIKE, 0.1)[1:])
    assert_close(net(y, gamma, ZERNIKE), net(y, gamma, ZERNIKE, noise_std_of(y).mean(1)))


def test_a_network_that_ignores_its_noise_map_is_the_one_without(draw):
    y, gamma, _ = blurred(draw)
    plain, mapped = small().double(), small(noise_map=True).double()
    state = plain.state_dict()
    for name, value in mapped.state_dict().items():
        if name.endswith("head.weight"):
            state[name] = torch.cat([state[name], torch.zeros_like(value[:, 1:])], 1)
    mapped.load_state_dict(state)
    assert_close(mapped(y, gamma, ZERNIKE), plain(y, gamma, ZERNIKE))


@pytest.mark.parametrize("size", [(24, 30), (25, 31)])
def test_conjugate_gradient_comes_to_the_closed_form_where_both_are_exact(draw, size):
    basis = eigen_psfs(draw(8, 5, 5), 3)[0]
    by_spectra = EigenPSFBlur(basis, boundary="circular")
    by_iteration = ProductConvolutionBlur(basis, torch.ones(1, *size).double(), "circular", cg_tolerance=0.0)
    y, gamma, _ = blurred(draw, by_spectra, size)
    exact = small().double()(y, gamma, by_spectra)
    few, many = (small(data_step="cg", cg_iterations=n).double()(y, gamma, by_iteration) for n in (2, 200))
    assert (many - exact).norm() < 1e-9 * exact.norm()
    assert (few - exact).norm() > 1e-5 * exact.norm()


def test_the_operator_says_how_many_iterations_unless_the_network_does(draw):
    y, gamma, _ = blurred(draw)
    said = [small(data_step="cg", cg_iterations=n).double()(y, gamma, ZERNIKE) for n in (None, 20, 2)]
    assert torch.equal(said[0], said[1])
    assert not torch.equal(said[0], said[2])


@pytest.mark.parametrize("size", [(40, 48), (41, 47)])
@pytest.mark.parametrize(
    ("data_step", "believed", "inside", "everywhere"),
    [("closed_form", "valid", 0.005, 0.07), ("cg", "replicate", 0.01, 0.15)],
)
def test_the_data_step_is_registered_with_the_scene_and_does_not_ring(size, data_step, believed, inside, everywhere):
    operator = ZernikeBlur(noll=(4,), psf_size=9)
    gamma = torch.tensor([[0.05], [0.1]], dtype=torch.float64)
    rows, columns = torch.meshgrid(*(torch.linspace(0, 3, n + 8).double() for n in size), indexing="ij")
    x = (0.5 + 0.3 * torch.sin(2 * rows) * torch.cos(3 * columns) + 0.1 * columns).expand(2, 1, -1, -1)
    y = operator.forward(x, gamma)
    net = Deblurrer(3, shared=True, lam=0.05, prox=nn.Identity, data_step=data_step).double()
    error = net(y, gamma, operator.with_boundary(believed)) - pad(x, (-4,) * 4)
    assert (y - pad(x, (-4,) * 4))[..., 6:-6, 6:-6].abs().max() > 0.015
    assert error[..., 6:-6, 6:-6].abs().max() < inside
    assert error.abs().max() < everywhere


def test_a_shared_network_does_what_equal_distinct_ones_do(draw):
    y, gamma, _ = blurred(draw)
    shared, distinct = small(shared=True).double(), small().double()
    for prox in distinct.proxes:
        prox.load_state_dict(shared.proxes[0].state_dict())
    assert_close(shared(y, gamma, ZERNIKE), distinct(y, gamma, ZERNIKE))


def test_channels_last_gives_the_same_image(draw):
    net = small()
    y, gamma, _ = blurred(draw, dtype=torch.float32)
    plain = net(y, gamma, ZERNIKE)
    net = net.to(memory_format=torch.channels_last)
    assert_close(net(y.contiguous(memory_format=torch.channels_last), gamma, ZERNIKE), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("data_step", ["closed_form", "cg"])
def test_under_autocast_the_data_step_stays_in_float32(draw, data_step):
    net = small(data_step=data_step, prox=nn.Identity)
    y, gamma, _ = blurred(draw, dtype=torch.float32)
    exact = net(y, gamma, ZERNIKE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(net(y, gamma, ZERNIKE), exact)
        assert net(y.bfloat16(), gamma.bfloat16(), ZERNIKE).dtype == torch.float32


def test_under_autocast_the_networks_run_in_half_precision_and_stay_close(draw):
    net = small(seed=1)
    y, gamma, _ = blurred(draw, dtype=torch.float32)
    exact = net(y, gamma, ZERNIKE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = net(y, gamma, ZERNIKE)
        low.float().square().mean().backward()
    assert (low - exact).norm() < 0.05 * exact.norm()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_a_blur_that_varies_in_space_is_inverted_by_conjugate_gradient(draw):
    operator = ProductConvolutionBlur(draw(2, 3, 3), draw(2, 22, 20))
    y, gamma, _ = blurred(draw, operator, (20, 18))
    assert small(data_step="cg").double()(y, gamma, operator).shape == y.shape
    with pytest.raises(ValueError, match=r"needs a convolution; got ProductConvolutionBlur; .* data_step=\"cg\""):
        small().double()(y, gamma, operator)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: Deblurrer(0), r"unroll must be at least 1; got 0"),
        (lambda: Deblurrer(lam=0.0), r"lam must be positive .* got 0.0"),
        (lambda: Deblurrer(lam=float("nan")), r"lam must be positive .* got nan"),
        (lambda: Deblurrer(data_step="fft"), r"data_step must be .* got 'fft'"),
        (lambda: Deblurrer(start="noise"), r"start must be .* got 'noise'"),
        (lambda: Deblurrer(cg_iterations=0), r"cg_iterations must be at least 1, .* got 0"),
        (lambda: small()(Y, GAMMA, ZERNIKE, 0.1), r"noise_std is for .* lam_by_noise=True; got 0.1"),
        (lambda: small(noise_map=True)(Y, GAMMA, ZERNIKE, torch.ones(3)), r"one per image, \(2,\); got \(3,\)"),
        (lambda: small()(torch.zeros(2, 20, 20), torch.zeros(2, 3), ZERNIKE), r"images .* got \(2, 20, 20\)"),
        (lambda: small()(torch.zeros(2, 1, 20, 20), torch.zeros(2, 4), ZERNIKE), r"gamma \(2, 3\); got \(2, 4\)"),
        (lambda: small()(torch.zeros(2, 1, 20, 20), torch.zeros(1, 3), ZERNIKE), r"gamma \(2, 3\); got \(1, 3\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(act, text):
    with pytest.raises(ValueError, match=text):
        act()
