"""DN, the deblurring network: T unrolled Douglas–Rachford iterations with learned proximal steps.

With A = A(γ), R(u) = argmin_x ½‖Ax − y‖² + (λ/2)‖x − u‖² and networks PN_0 … PN_{T−1}:

    z_0 = R(0)
    x_{t+1} = PN_t(z_t),   z_{t+1} = z_t + R(2 x_{t+1} − z_t) − x_{t+1}      t = 0 … T−1
    return x_T

With PN_t = prox_{g/λ} for a convex g this is the Douglas–Rachford method, which minimises ½‖Ax − y‖² + g(x).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn.functional import pad

from deepblur.nets.drunet import DRUNet
from deepblur.operators import Blur, noise_std_of, pad_for_circular
from deepblur.operators.blur import Convolution

DataStep = Literal["closed_form", "cg"]
Start = Literal["inverse", "blurry", "zero"]
LEAST_NOISE = 0.005  # stands for 8-bit rounding and for what the PSF's model leaves out
_Prox = Callable[[Tensor], Tensor]
_Window = tuple[slice, slice]


class Deblurrer(nn.Module):
    """(y, γ, operator) → x̂, of the size of y. The default has 32,639,232 parameters: four networks PN_t.

    Args:
        unroll: T, the number of iterations.
        widths, blocks, residual: of each PN_t, see `DRUNet`.
        shared: one PN for all iterations instead of T distinct ones.
        lam: λ > 0, the weight of the proximity to u in R; dimensionless beside PSFs of sum 1. As a Tikhonov weight 0.05
            suits noise of a few per cent; the best is 1e-4 without noise and 0.1 at a noise of 0.15.
        learn_lam: trains log λ; otherwise λ is a buffer.
        lam_by_noise: λ = lam·(σ² + 0.005²) with the noise σ in y; lam = 4 then gives the best Tikhonov weights above.
        data_step: "closed_form" extends y smoothly by half a PSF and inverts on the torus, one product per Fourier
            coefficient; "cg" inverts the operator as it is, by conjugate gradient. With a "valid" operator the image
            of "cg" reaches half a PSF beyond y, where R(0) is dark; "replicate" and "closed_form" have no such frame.
        cg_iterations: of "cg", in each R; None takes the operator's (20 by default).
        noise_map: each PN_t gets one more channel, the standard deviation of the noise in y.
        start: z_0, "inverse" for R(0); "blurry" for y, its edges going on where the unknown image is larger; "zero".
            Zero makes z_1 = R(0), because a network without biases maps 0 to 0: T iterations are then T − 1, and PN_0
            learns nothing, unless a noise map feeds it.
        prox: makes each PN_t instead of a DRUNet: a module from (B, C, H, W), with a noise map (B, C + 1, H, W), to
            (B, C, H, W).
    Raises:
        ValueError: unroll or cg_iterations below 1, a λ that is not positive, or another data_step or start.
    Source: Debarnot and Weiss, "Deep-Blur", Biological Imaging, 2024; Lions and Mercier, SIAM J. Numer. Anal. 16(6),
        1979 (Douglas–Rachford).
    """

    def __init__(
        self,
        unroll: int = 4,
        *,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 4,
        residual: bool = False,
        shared: bool = False,
        lam: float = 0.05,
        learn_lam: bool = False,
        lam_by_noise: bool = False,
        data_step: DataStep = "closed_form",
        cg_iterations: int | None = None,
        noise_map: bool = False,
        start: Start = "inverse",
        prox: Callable[[], nn.Module] | None = None,
    ):
        super().__init__()
        if unroll < 1:
            raise ValueError(f"unroll must be at least 1; got {unroll}")
        if not (lam > 0 and math.isfinite(lam)):
            raise ValueError(f"lam must be positive and finite, or R is not defined; got {lam}")
        for name, value, known in (("data_step", data_step, DataStep), ("start", start, Start)):
            if value not in get_args(known):
                raise ValueError(f"{name} must be one of {', '.join(get_args(known))}; got {value!r}")
        if cg_iterations is not None and cg_iterations < 1:
            raise ValueError(f"cg_iterations must be at least 1, or None for the operator's; got {cg_iterations}")
        make = prox or (lambda: DRUNet(1 + noise_map, widths=widths, blocks=blocks, residual=residual))
        self.unroll = unroll
        self.data_step, self.cg_iterations = data_step, cg_iterations
        self.noise_map, self.lam_by_noise = noise_map, lam_by_noise
        self.start = start
        self.proxes = nn.ModuleList(make() for _ in range(1 if shared else unroll))
        log_lam = torch.tensor(math.log(lam))
        if learn_lam:
            self.log_lam = nn.Parameter(log_lam)
        else:
            self.register_buffer("log_lam", log_lam)

    @property
    def lam(self) -> Tensor:
        """λ, a positive scalar tensor; with lam_by_noise its ratio to the noise's variance."""
        return self.log_lam.exp()

    @property
    def asks_for_noise(self) -> bool:
        """Whether forward takes a noise_std."""
        return self.noise_map or self.lam_by_noise

    def forward(self, y: Tensor, gamma: Tensor, operator: Blur, noise_std: float | Tensor | None = None) -> Tensor:
        """Restores y, given the parameters of its blur.

        Args:
            y: (B, C, H, W), blurry images; C is what the proximal networks take, 1 by default.
            gamma: (B, K), the true or estimated parameters; the result is differentiable in them.
            operator: the blur family that γ belongs to.
            noise_std: for noise map and lam_by_noise, one number or (B,), in the unit of y; None estimates it from y.
        Returns:
            (B, C, H, W), in the dtype of the last PN, which autocast may lower; data steps run in at least float32.
        Raises:
            ValueError: shapes that do not fit, "closed_form" with an operator that is no convolution, or noise_std for
                a network that does not ask for it.
        """
        _check(y, gamma, operator)
        with torch.autocast(y.device.type, enabled=False):
            y = y.to(torch.promote_types(y.dtype, torch.float32))
            sigma = self._noise_std(y, noise_std)
            gamma = gamma.to(torch.promote_types(gamma.dtype, torch.float32))
            R, z, window = self._data_term(y, gamma, operator, sigma)
            noise = None
            if self.noise_map:
                assert sigma is not None
                noise = sigma.reshape(-1, 1, 1, 1).expand(len(z), 1, *z.shape[-2:])
        for t in range(self.unroll):
            x = self.proxes[t % len(self.proxes)](z if noise is None else torch.cat([z, noise], 1))
            if t + 1 < self.unroll:
                with torch.autocast(y.device.type, enabled=False):
                    x = x.to(z.dtype)
                    z = z + R(2 * x - z) - x
        return x[(..., *window)]

    def _data_term(
        self, y: Tensor, gamma: Tensor, operator: Blur, sigma: Tensor | None
    ) -> tuple[_Prox, Tensor, _Window]:
        """R at this data, z_0, and where y lies in the unknown image."""
        H, W = y.shape[-2:]
        if self.data_step == "closed_form" and operator.boundary != "circular":
            y = pad(y, (0, W % 2, 0, H % 2), mode="replicate")  # even sides can grow to multiples of 8 on both ends
            margins = [margin_px(n, side) for n, side in zip(y.shape[-2:], operator.psf_shape, strict=True)]
            y = pad_for_circular(y, (margins[0], margins[1]))
            operator = operator.with_boundary("circular")
        if self.cg_iterations is not None:
            operator = replace(operator, cg_iterations=self.cg_iterations)  # type: ignore[type-var]
        bound = operator.bind(gamma)
        if self.data_step == "closed_form" and not isinstance(bound, Convolution):
            raise ValueError(
                f'data_step="closed_form" divides spectra and needs a convolution; got {type(operator).__name__}; '
                'build the deblurrer with data_step="cg"'
            )
        rows, columns = operator.input_size((y.shape[-2], y.shape[-1]))
        top, left = (rows - H) // 2, (columns - W) // 2  # floor: a pixel that made a side even is the last one
        lam = self.lam.to(y.dtype)
        if self.lam_by_noise:
            assert sigma is not None
            lam = lam * (sigma.square() + LEAST_NOISE**2)
        R = bound.prox(y, lam)
        z = y.new_zeros(*y.shape[:2], rows, columns)
        if self.start == "inverse":
            z = R(z)
        elif self.start == "blurry":
            beyond = [(n - side) // 2 for n, side in zip((rows, columns), y.shape[-2:], strict=True)]
            z = pad(y, (beyond[1], beyond[1], beyond[0], beyond[0]), mode="replicate")
        return R, z, (slice(top, top + H), slice(left, left + W))

    def _noise_std(self, y: Tensor, noise_std: float | Tensor | None) -> Tensor | None:
        """() or (B,), where the network asks for it."""
        if not self.asks_for_noise:
            if noise_std is not None:
                raise ValueError(
                    "noise_std is for networks built with noise_map=True or lam_by_noise=True; "
                    f"got {noise_std}; leave it out"
                )
            return None
        if noise_std is None:
            noise_std = noise_std_of(y).mean(1)
        std = torch.as_tensor(noise_std, dtype=y.dtype, device=y.device)
        if std.shape not in ((), (len(y),)):
            raise ValueError(f"noise_std is one number or one per image, ({len(y)},); got {tuple(std.shape)}")
        return std


def margin_px(side: int, psf_side: int) -> int:
    """The least margin of at least half a PSF that makes an even side quick for the FFT and a multiple of 8.

    So a DRUNet of four scales pads nothing.
    """
    margin = psf_side // 2
    while (n := side + 2 * margin) % 8 or n != next_fast_len(n, real=True):
        margin += 1
    return margin


def _check(y: Tensor, gamma: Tensor, operator: Blur) -> None:
    if y.ndim != 4 or not y.is_floating_point():
        raise ValueError(f"a deblurrer takes floating-point images (B, C, H, W); got {tuple(y.shape)} of {y.dtype}")
    if gamma.shape != (len(y), operator.num_parameters):
        raise ValueError(
            f"each image needs its {operator.num_parameters} parameters, gamma ({len(y)}, {operator.num_parameters}); "
            f"got {tuple(gamma.shape)}; pass the operator that gamma belongs to"
        )
