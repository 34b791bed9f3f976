"""What a calibration knows of a microscope: K = I·J numbers describe its blur all over the field (model 2.2).

    h_z(γ) = Σ_ij γ_ij f_j[z] e_i,   e_i orthonormal eigen-PSFs, f_j orthonormal in the mean over the field

so that ‖γ − γ'‖² is the squared difference of the PSFs, averaged over the field. One safetensors file; nothing in it
can run.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from deepblur.operators import Boundary, ProductConvolutionBlur
from deepblur.platform.models.description import check_settings, parse_description
from deepblur.platform.optics.field_maps import pixel_places, sample_maps
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.platform.system.whole_files import replacing

FORMAT = "deepblur-optics"
VERSION = 1
_TENSORS = ("eigen_psfs", "space_maps", "gammas", "explained_psfs", "explained_maps")
_ORTHONORMAL = 1e-3
_LARGEST_SIDE = 2048


@dataclass(frozen=True, eq=False)
class Optics:
    """A calibrated microscope.

    Raises:
        ValueError: shapes that do not belong together, or families that are not orthonormal.
    """

    eigen_psfs: Tensor
    """(I, h, w) float32, orthonormal."""
    space_maps: Tensor
    """(J, n, n) float32 on the nodes of the field, (1/n²)Σ f_j f_k = δ_jk."""
    gammas: Tensor
    """(S, I·J) float32: γ of every state that was observed, a plane of a stack each; j runs fastest."""
    explained_psfs: Tensor
    """Fraction of the patches' energy up to each eigen-PSF, of more than I of them."""
    explained_maps: Tensor
    """Fraction of the coefficient maps' energy up to each spatial map, of more than J of them."""
    field_px: tuple[int, int]
    """Rows and columns of the field."""
    pixel_um: float | None
    """Side of a pixel in the sample, micrometres; None where nobody said it."""
    states: tuple[str, ...]
    """The name of each state."""
    notes: dict[str, Any]
    """How it was made and how well it predicts beads that it has not seen; JSON values."""

    def __post_init__(self) -> None:
        for name in ("eigen_psfs", "space_maps"):
            shape = tuple(getattr(self, name).shape)
            if len(shape) != 3 or shape[1] != shape[2] or not min(shape) or max(shape) > _LARGEST_SIDE:
                raise ValueError(f"{name} is a stack of squares of at most {_LARGEST_SIDE} pixels; got {shape}")
        if not self.psf_size % 2:
            raise ValueError(f"eigen_psfs need odd sides to have a centre pixel; got {self.psf_size}")
        if min(self.field_px) < 1 or (self.pixel_um is not None and not self.pixel_um > 0):
            raise ValueError(
                f"a field has pixels with sides above 0 µm; got field_px={self.field_px}, pixel_um={self.pixel_um}"
            )
        psfs, maps = len(self.eigen_psfs), len(self.space_maps)
        if self.gammas.shape != (len(self.states), psfs * maps) or not len(self.states):
            raise ValueError(
                f"γ of {len(self.states)} states in {psfs}·{maps} dimensions is a table of that shape; got "
                f"{tuple(self.gammas.shape)}"
            )
        for name in _TENSORS:
            if not torch.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds NaN or infinity")
        flat = self.space_maps.flatten(1) / self.space_maps.shape[-1]
        for name, rows in (("eigen_psfs", self.eigen_psfs.flatten(1)), ("space_maps", flat)):
            off = float((rows @ rows.T - torch.eye(len(rows))).abs().max())
            if not off <= _ORTHONORMAL:
                raise ValueError(f"{name} must be orthonormal; their Gram matrix is off by {off:.2g}")

    @property
    def shape(self) -> tuple[int, int]:
        """(I, J)."""
        return len(self.eigen_psfs), len(self.space_maps)

    @property
    def psf_size(self) -> int:
        return self.eigen_psfs.shape[-1]

    @property
    def mean(self) -> Tensor:
        """(K,) mean of γ over the states."""
        return self.gammas.mean(0)

    @property
    def covariance(self) -> Tensor:
        """(K, K) of γ over the states; zero when there is one."""
        centred = self.gammas - self.mean
        return centred.T @ centred / max(1, len(centred) - 1)

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """(K,) least and (K,) greatest γ of the states."""
        return self.gammas.amin(0), self.gammas.amax(0)

    def light(self, gamma: Tensor) -> Tensor:
        """(B,): the sum of the PSFs of γ (B, K), averaged over the field."""
        sums = self.eigen_psfs.sum((1, 2)).to(gamma)
        return torch.einsum("bij,i,j->b", gamma.unflatten(1, self.shape), sums, self.space_maps.mean((1, 2)).to(gamma))

    def normalised(self, gamma: Tensor) -> Tensor:
        """γ (B, K), scaled so that its PSFs pass as much light as those of the states: an image cannot tell."""
        light = self.light(gamma)
        known = float(self.light(self.gammas).mean())
        return gamma * torch.where(light > 0.2 * known, known / light.clamp_min(0.2 * known), 1.0)[:, None]

    def sample(self, n: int, rng: torch.Generator, jitter: float = 0.3) -> Tensor:
        """States at random, each moved along the states' own covariance: a smoothed bootstrap.

        The states of a microscope in and out of focus lie on a curve, around which a single Gaussian would mostly draw
        what is no PSF.

        Args:
            n: number of draws.
            rng: the only source of randomness, on the CPU.
            jitter: how far they are moved, in standard deviations; 0 gives states that were observed.
        Returns:
            (n, K) float32, γ.
        """
        values, axes = torch.linalg.eigh(self.covariance.double())
        spread = (axes * values.clamp_min(0).sqrt()).float()
        chosen = torch.randint(len(self.gammas), (n,), generator=rng)
        white = torch.randn(n, spread.shape[1], generator=rng)
        return self.gammas[chosen] + jitter * white @ spread.T

    def maps(
        self, size: tuple[int, int], *, corner: tuple[int, int] = (0, 0), tile: tuple[int, int] | None = None
    ) -> Tensor:
        """(J, h, w): f_j on the pixels of a field of `size`, or on a tile of it that begins at `corner`."""
        tile = size if tile is None else tile
        rows, columns = (pixel_places(s, c, t) for s, c, t in zip(size, corner, tile, strict=True))
        return sample_maps(self.space_maps, rows, columns)

    def operator(
        self,
        size: tuple[int, int],
        *,
        boundary: Boundary = "replicate",
        corner: tuple[int, int] = (0, 0),
        tile: tuple[int, int] | None = None,
    ) -> ProductConvolutionBlur:
        """A(γ) on images of the field or of a tile of it; their blur is that of model 2.2 at every pixel.

        Args:
            size: rows and columns in pixels over which the calibrated field is stretched.
            boundary: what lies outside the image.
            corner: the tile's first row and column, in pixels of the field.
            tile: rows and columns of the tile; None: all of the field.
        Source: Debarnot and Weiss, Deep-blur, Biological Imaging, 2024, model 2.2.
        """
        return ProductConvolutionBlur(self.eigen_psfs, self.maps(size, corner=corner, tile=tile), boundary)

    def local_psfs(self, gamma: Tensor, places: Tensor) -> Tensor:
        """The PSFs at single places of the field.

        Args:
            gamma: (B, K).
            places: (N, 2), row and column, each from −1 to 1 over the field.
        Returns:
            (B, N, h, w), h and w odd; the sum of a PSF is the light that passes there.
        """
        at = self.maps_at(places.double()).to(gamma)
        return torch.einsum("bij,nj,ihw->bnhw", gamma.unflatten(1, self.shape), at, self.eigen_psfs.to(gamma))

    def maps_at(self, places: Tensor) -> Tensor:
        """(N, J): f_j at single places (N, 2) of the field."""
        return torch.stack([sample_maps(self.space_maps, p[:1], p[1:])[:, 0, 0] for p in places])

    def check_image(self, size: tuple[int, int], pixel_um: float | None) -> None:
        """Refuses an image of another field or pixel.

        Raises:
            InputError: says both numbers.
        """
        if pixel_um is not None and self.pixel_um is not None and abs(pixel_um / self.pixel_um - 1) > 0.01:
            raise InputError(
                f"the image has pixels of {pixel_um:g} µm, the optics were calibrated at {self.pixel_um:g} µm; "
                "calibrate at this magnification, or resample the image"
            )
        if tuple(size) != tuple(self.field_px):
            raise InputError(
                f"the image has {size[0]}x{size[1]} pixels, the calibrated field "
                f"{self.field_px[0]}x{self.field_px[1]}; give the whole field of the same camera, uncropped"
            )


def save_optics(optics: Optics, path: str | os.PathLike) -> None:
    """Writes one file, which is complete or not there at all.

    Raises:
        OutputError: the file cannot be written; one sentence with the remedy.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"format": FORMAT, "version": VERSION, "field_px": optics.field_px, "pixel_um": optics.pixel_um,
             "states": optics.states, "notes": optics.notes}  # fmt: skip
    tensors = {name: getattr(optics, name).float().contiguous() for name in _TENSORS}
    content = save(tensors, metadata={FORMAT: json.dumps(about)})
    with replacing(path, len(content)) as file:
        file.write(content)


def load_optics(path: str | os.PathLike) -> Optics:
    """The optics that `save_optics` wrote.

    Args:
        path: a safetensors file; nothing in it is executed.
    Raises:
        ModelError: missing, damaged, not optics, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path} is not there; make it with deepblur calibrate")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(FORMAT)
            if text is None:
                raise ModelError(f"{path} holds no optics; give the file that deepblur calibrate wrote")
            about = parse_description(text)
            if about.get("version") != VERSION:
                raise ModelError(
                    f"{path} has format version {about.get('version')!r}, this deepblur reads version {VERSION}; "
                    "calibrate again or use the deepblur that wrote it"
                )
            tensors = {name: file.get_tensor(name).float() for name in _TENSORS}
        check_settings(Optics, about)
        rows, columns = about["field_px"]
        return Optics(**tensors, field_px=(rows, columns), pixel_um=about["pixel_um"],
                      states=tuple(about["states"]), notes=about["notes"])  # fmt: skip
    except ModelError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, IndexError) as error:
        raise ModelError(f"{path} is damaged ({error}); copy it again") from None
