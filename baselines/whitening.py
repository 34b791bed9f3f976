"""What the projections of a blurry photograph say of its blur: whitened, projected in every direction, autocorrelated.

A photograph's spectrum falls like a power of the frequency. A derivative flattens it along each line through the origin
of the frequency plane, so the autocorrelation of the derivative's projection is that of the PSF's projection, up to a
factor and an offset per direction.

Shapes: A directions, N bins, L = 2·psf_size the largest lag, (H, W) image; x counts columns and y rows.
Source: A. Goldstein and R. Fattal, ECCV 2012; analysed by J. Anger, G. Facciolo and M. Delbracio, IPOL 8, 2018.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

DERIVATIVE = (3 / 840, -32 / 840, 168 / 840, -672 / 840, 0.0, 672 / 840, -168 / 840, 32 / 840, -3 / 840)
"""Nine taps, exact for polynomials up to degree 8."""


def primitive_directions(largest: int) -> np.ndarray:
    """(A, 2) integer vectors (a, b) without a common divisor, |a|, |b| ≤ largest, one of ±, from angle π/2 to −π/2."""
    a, b = np.meshgrid(np.arange(largest + 1), np.arange(-largest, largest + 1), indexing="ij")
    vectors = np.stack([a, b], -1)[(np.gcd(a, b) == 1) & ((a > 0) | (b > 0))]
    return vectors[np.argsort(-np.arctan2(vectors[:, 1], vectors[:, 0]), kind="stable")]


def project(image: Tensor, directions: np.ndarray) -> tuple[Tensor, Tensor]:
    """Sums of the image along integer-rounded shears, one projection per direction.

    For |b| ≤ |a| a pixel falls into bin x + round(y·b/a), else into bin y + round(x·a/b), counted from the first bin
    that holds a pixel. A bin's DFT at frequency f is then the image's spectrum near f·(a, b)/max(|a|, |b|).

    Args:
        image: (H, W).
        directions: (A, 2) integers, none zero.
    Returns:
        (A, H + W) projections, zero beyond their end, and (A,) int64, how many bins each has.
    """
    H, W = image.shape
    sums, lengths = image.new_zeros(len(directions), H + W), np.empty(len(directions), np.int64)
    flat = np.abs(directions[:, 1]) <= np.abs(directions[:, 0])
    for chosen, lines, across, along in ((flat, image, 0, 1), (~flat, image.T, 1, 0)):
        if chosen.any():
            slope = directions[chosen, along] / directions[chosen, across]
            shift = np.rint(np.arange(len(lines)) * slope[:, None]).astype(np.int64)
            shift -= shift.min(1, keepdims=True)
            lengths[chosen] = shift.max(1) + lines.shape[1]
            sums[torch.from_numpy(chosen).to(image.device)] = _shear(lines, torch.from_numpy(shift).to(image.device))
    return sums, torch.from_numpy(lengths).to(image.device)


def _shear(lines: Tensor, shift: Tensor) -> Tensor:
    """(A, n + N): the sum of the n lines, the i-th moved right by shift[:, i] < n."""
    n, N = lines.shape
    sums = lines.new_zeros(len(shift), n + N)
    for line, right in zip(lines, shift.T, strict=True):
        moved = pad(line, (n, n)).unfold(0, n + N, 1)[: n + 1].contiguous()  # row k: by n − k
        sums += moved.index_select(0, n - right)
    return sums


def whitened_projections(image: Tensor, directions: np.ndarray) -> tuple[Tensor, Tensor]:
    """Projections of the derivative along each direction, of mean 0 and norm 1.

    Args:
        image: (H, W), more than eight pixels each way.
        directions: (A, 2) integers.
    Returns:
        As `project`; the image loses four pixels on each side.
    """
    taps = image.new_tensor(DERIVATIVE)
    d_x = (image[4:-4].unfold(1, 9, 1) * taps).sum(-1)
    d_y = (image[:, 4:-4].unfold(0, 9, 1) * taps).sum(-1)
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    cos, sin = torch.from_numpy(unit).to(image).T[..., None]
    sums, lengths = project(d_x, directions)
    sums = cos * sums + sin * project(d_y, directions)[0]
    inside = torch.arange(sums.shape[1], device=image.device) < lengths[:, None]
    sums = torch.where(inside, sums - sums.sum(1, keepdim=True) / lengths[:, None], 0.0)
    return sums / sums.norm(dim=1, keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny), lengths


def autocorrelation(projections: Tensor, lengths: Tensor, largest: int) -> Tensor:
    """(A, largest + 1): products of a fixed segment with itself moved by 0, 1, … largest bins, both ways averaged.

    The segment leaves `largest` bins at either end, so that every lag sums as many products. Where a projection is so
    short that less than `largest` bins would remain, one end of the segment is free for each way.
    """
    bins = torch.arange(projections.shape[1], device=projections.device)
    margin = torch.full_like(lengths, largest)
    margin[lengths < 3 * largest] = 0
    left = (bins >= margin[:, None]) & (bins < lengths[:, None] - largest)
    right = (bins >= largest) & (bins < (lengths - margin)[:, None])
    size = projections.shape[1] + largest + 1
    spectrum = torch.fft.rfft(projections, size)
    ahead = spectrum * torch.fft.rfft(projections * left, size).conj()
    behind = spectrum.conj() * torch.fft.rfft(projections * right, size)
    return torch.fft.irfft(ahead + behind, size)[:, : largest + 1] / 2


def compensate(rows: Tensor, alpha: float) -> Tensor:
    """Undo what the power law leaves in the autocorrelations: deconvolve them by (|i| + 1)^(−α), normalised.

    The published conjugate gradient is replaced by the exact solution: the matrix is small and well conditioned.
    A row one of whose five central values would turn negative stays as it is.

    Args:
        rows: (A, L + 1), lags 0 … L of symmetric autocorrelations.
        alpha: decay; 0 leaves the rows as they are.
    """
    if alpha == 0:
        return rows
    largest = rows.shape[1] - 1
    lags = torch.arange(-largest, largest + 1, device=rows.device)
    decay = (lags.abs().to(rows) + 1) ** -alpha
    decay = decay / decay.sum()
    distance = (lags[:, None] - lags).abs()
    matrix = torch.where(distance <= largest, decay[largest + distance.clamp(max=largest)], 0.0)
    solved = torch.linalg.solve(matrix, torch.cat([rows.flip(1)[:, :-1], rows], 1).T).T[:, largest:]
    return torch.where((solved[:, :3] < 0).any(1, keepdim=True), rows, solved)
