"""Images in one flat buffer of bytes, and random crops from it as one gather.

On a CPU the buffer is the memory-mapped cache; on a GPU it lies in device memory, so that no loader stands between
the disk and the network.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepblur.platform.data.cache import open_cache
from deepblur.platform.data.sources import Source
from deepblur.platform.system.errors import SettingsError

_COPY_BYTES = 1 << 26  # moved to a device at a time, so that the host never holds a second copy of the data


def open_store(
    sources: tuple[Source, ...], cache_dir: Path, progress: bool = True, max_skipped: float = 0.05
) -> "ImageStore":
    """The images of the sources, in their order, decoded on the first call and memory-mapped on every later one.

    Args:
        sources: each has a cache of its own, so that mixtures share what is decoded.
        cache_dir: made if absent. A cache needs a byte per pixel: 35 GB for the whole of COCO's train2017.
        progress: report on stderr while a build takes more than two seconds.
        max_skipped: the largest fraction of a source's images that may be unusable; a single one always may.
    Raises:
        FileNotFoundError: a root, an annotation file or an embedded photograph is missing.
        ValueError: a source selects nothing, or too many of its images are unusable, or a category is unknown.
        OSError: the disk is too small.
    """
    if not sources:
        raise ValueError("a store needs at least one source; got none")
    parts = [open_cache(s, Path(cache_dir), progress=progress, max_skipped=max_skipped) for s in sources]
    heights = torch.tensor([h for part in parts for h in part.heights])
    widths = torch.tensor([w for part in parts for w in part.widths])
    return ImageStore(
        maps=tuple(part.pixels for part in parts),
        offsets=(heights * widths).cumsum(0) - heights * widths,
        heights=heights,
        widths=widths,
        sources=torch.cat([torch.full((len(part.names),), i) for i, part in enumerate(parts)]),
        names=tuple(name for part in parts for name in part.names),
        groups=tuple(group for part in parts for group in part.groups),
        skipped=tuple(pair for part in parts for pair in part.skipped),
        fingerprint="-".join(part.fingerprint[:16] for part in parts),
    )


class _Windows(NamedTuple):
    """Where n crops are cut, all (n,) int64; the three flags are applied in the order down, across, transpose."""

    image: Tensor
    row: Tensor
    col: Tensor
    flip_down: Tensor
    flip_across: Tensor
    transpose: Tensor


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Grey images of any sizes. Image i is the bytes offsets[i] … + heights[i]·widths[i] of `pixels`, row by row.

    Each process opens its own, which takes milliseconds: pickled, a store would carry all pixels along.
    """

    maps: tuple[np.ndarray, ...]
    """The mapped pixel files, one per source; together they are `pixels`."""
    offsets: Tensor
    heights: Tensor
    widths: Tensor
    sources: Tensor
    """Position of each image's source in the mixture."""
    names: tuple[str, ...]
    groups: tuple[str, ...]
    """What an image shows, for stratified evaluation: COCO supercategory, subfolder, photograph, "dead-leaves"."""
    skipped: tuple[tuple[str, str], ...]
    """(name, reason) of each image that could not be used."""
    fingerprint: str
    """Hash of the decoded pixels and sizes; the same wherever the files lie."""
    buffer: Tensor | None = None
    """All pixels on a device; None while they are read from the maps."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def device(self) -> torch.device:
        return self.heights.device

    @cached_property
    def pixels(self) -> np.ndarray | Tensor:
        """All pixels, flat uint8. Mapped, not read, unless several sources have to be joined."""
        if self.buffer is not None:
            return self.buffer
        return self.maps[0] if len(self.maps) == 1 else np.concatenate(self.maps)

    def image(self, i: int) -> Tensor:
        """(1, H, W) float32 in [0, 1] on the store's device."""
        if self.buffer is None:
            return torch.from_numpy(self._views[i].astype(np.float32)[None]).div_(255)
        i = range(len(self))[i]
        start, height, width = int(self.offsets[i]), int(self.heights[i]), int(self.widths[i])
        return self.buffer[start : start + height * width].view(1, height, width).float().div_(255)

    def to(self, device: torch.device | str) -> "ImageStore":
        """The store with its pixels in a device's memory; on a CPU the maps serve, since the system caches them."""
        device = torch.device(device)
        buffer = None
        if device.type != "cpu":
            buffer = torch.empty(sum(m.size for m in self.maps), dtype=torch.uint8, device=device)
            start = 0
            for chunk in (m[a : a + _COPY_BYTES] for m in self.maps for a in range(0, m.size, _COPY_BYTES)):
                buffer[start : start + chunk.size] = torch.from_numpy(np.array(chunk))
                start += chunk.size
        sizes = {name: getattr(self, name).to(device) for name in ("offsets", "heights", "widths", "sources")}
        return replace(self, buffer=buffer, **sizes)

    def crops(self, n: int, size: tuple[int, int], rng: torch.Generator, augment: bool = True) -> Tensor:
        """n random crops: each source of a mixture is as likely, and in it each image that is large enough.

        Args:
            n: number of crops.
            size: (h, w) in pixels.
            rng: the only source of randomness, on any device; the same generator state cuts the same crops.
            augment: also flip, and turn by 90° where the image is large enough for it.
        Returns:
            (n, 1, h, w) float32 in [0, 1] on the store's device.
        Raises:
            ValueError: no image is large enough.
        """
        windows = self._draw_windows(n, size, rng, augment)
        if self.buffer is None:
            cut = _cut(self._views, windows, size)
        else:
            cut = _gather(self.buffer, self.offsets, self.widths, windows, size)
        return cut.unsqueeze(1).float().div_(255)

    @cached_property
    def _views(self) -> list[np.ndarray]:
        """Each image as an (H, W) view of its map."""
        views = []
        shapes = iter(zip(self.heights.tolist(), self.widths.tolist(), strict=True))
        for pixels in self.maps:
            start = 0
            while start < pixels.size:
                height, width = next(shapes)
                views.append(pixels[start : start + height * width].reshape(height, width))
                start += height * width
        return views

    def _draw_windows(self, n: int, size: tuple[int, int], rng: torch.Generator, augment: bool) -> _Windows:
        h, w = size
        eligible = ((self.heights >= h) & (self.widths >= w)).nonzero()[:, 0]
        if len(eligible) == 0:
            i = int((self.heights * self.widths).argmax())
            raise SettingsError(
                f"no image holds a crop of {h}x{w}; the largest is {int(self.heights[i])}x{int(self.widths[i])}; "
                "ask for smaller crops or add larger images"
            )
        u = torch.rand(4, n, generator=rng, device=rng.device, dtype=torch.float64).to(self.device)
        share = 1.0 / torch.bincount(self.sources[eligible])[self.sources[eligible]].double()  # sources weigh alike
        ladder = share.cumsum(0)
        image = eligible[torch.searchsorted(ladder, u[0] * ladder[-1], right=True).clamp_max(len(eligible) - 1)]
        H, W = self.heights[image], self.widths[image]
        code = (u[3] * 8).long() * augment
        turned_fits = (self.heights >= w) & (self.widths >= h)
        transpose = (code >> 2) * turned_fits[image]
        h_cut, w_cut = torch.where(transpose > 0, w, h), torch.where(transpose > 0, h, w)
        row, col = (u[1] * (H - h_cut + 1)).long(), (u[2] * (W - w_cut + 1)).long()
        return _Windows(image, row, col, code & 1, (code >> 1) & 1, transpose)


def _cut(views: list[np.ndarray], windows: _Windows, size: tuple[int, int]) -> Tensor:
    """(n, h, w) uint8 by slicing: on a CPU ten times faster than index arithmetic."""
    h, w = size
    out = np.empty((len(windows.image), h, w), np.uint8)
    for k, (image, row, col, down, across, transpose) in enumerate(zip(*(t.tolist() for t in windows), strict=True)):
        cut = views[image][row : row + (w if transpose else h), col : col + (h if transpose else w)]
        cut = cut[:: -1 if down else 1, :: -1 if across else 1]
        out[k] = cut.T if transpose else cut
    return torch.from_numpy(out)


def _gather(pixels: Tensor, offsets: Tensor, widths: Tensor, windows: _Windows, size: tuple[int, int]) -> Tensor:
    """(n, h, w) uint8 as one gather from the flat buffer: what `_cut` gives, for devices where a loop would crawl."""
    h, w = size
    image, row, col, down, across, transpose = (t[:, None, None] for t in windows)
    y = torch.arange(h, device=pixels.device)[:, None]
    x = torch.arange(w, device=pixels.device)
    i, j = torch.where(transpose > 0, x, y), torch.where(transpose > 0, y, x)  # position within the window
    i = torch.where(down > 0, torch.where(transpose > 0, w, h) - 1 - i, i)
    j = torch.where(across > 0, torch.where(transpose > 0, h, w) - 1 - j, j)
    return pixels[offsets[image] + (row + i) * widths[image] + col + j]
