"""An image of any format, opened and written back; what it is, its content decides."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from deepblur.platform.data.image_file import MIN_SIDE_PX, check_plain
from deepblur.platform.system.errors import InputError
from deepblur.restoration.formats.bioio_files import open_bioio, scenes_of
from deepblur.restoration.formats.fits import open_fits, write_fits
from deepblur.restoration.formats.kinds import NAMES, ZARR, kind_of
from deepblur.restoration.formats.mrc import open_mrc
from deepblur.restoration.formats.ome_tiff_write import write_ome_tiff
from deepblur.restoration.formats.ome_zarr import files_in, groups_in
from deepblur.restoration.formats.ome_zarr_read import open_ome_zarr
from deepblur.restoration.formats.ome_zarr_write import write_ome_zarr
from deepblur.restoration.images.io import read_recording, remarked, write_recording
from deepblur.restoration.images.library_warnings import silent
from deepblur.restoration.images.recording import Recording, check, in_one_sentence
from deepblur.restoration.images.tiff_ome import images_in

State = tuple[int, int, int]
"""Size, time and number of a file, or of files: what changes while an image is written, or is replaced."""
_ALONE = {"fits": open_fits, "mrc": open_mrc}
"""Formats of which a file holds one image."""


def open_image(path: str | os.PathLike, position: int | None = None, *, min_side_px: int = MIN_SIDE_PX) -> Recording:
    """The recording in an image of any format; TIFF and pictures as `read_recording` says.

    Args:
        position: which image of a file that holds several, of `positions_of`; None: the only one.
    Raises:
        InputError: one sentence that names the file: what `read_recording` refuses; the reader of this format is not
            installed; several images where one was meant; links and codecs that a stranger may mean harm with.
    """
    path = Path(path)
    kind = kind_of(path)
    if not kind:
        return read_recording(path, position, min_side_px=min_side_px)
    count = positions_of(path)
    if position is None and count > 1:
        raise InputError(f"{path}: holds {count} images; save the one that is meant as a file of its own")
    with silent(), in_one_sentence(path):
        number = position or 0
        if kind == ZARR:
            recording = open_ome_zarr(path, number)
        else:
            recording = _ALONE[kind](path) if kind in _ALONE else open_bioio(path, kind, number)
        check(recording, size_of(path), min_side_px)
    return remarked(recording)


def positions_of(path: Path) -> int:
    """How many images of their own a file holds, as positions of a stage, wells, scenes; one where nobody can say."""
    kind = kind_of(path)
    if kind in _ALONE:
        return 1
    with silent(), in_one_sentence(path):
        return len(groups_in(path)) if kind == ZARR else _images_in(path, kind, state_of(path))


@lru_cache(maxsize=4096)
def _images_in(path: Path, kind: str, state: State) -> int:
    """Asked again of a file only when it has changed: a watched folder is looked through all day."""
    return scenes_of(path, kind) if kind else images_in(path)


def state_of(path: Path) -> State:
    """Of a file, or of all files in a folder that is one image.

    Raises:
        OSError: it is not there.
        UnreadableImageError: the folder holds a link.
    """
    if not path.is_dir():
        found = path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino
    states = [(size, file.stat().st_mtime_ns) for file, size in files_in(path)]
    return sum(size for size, _ in states), max((time for _, time in states), default=0), len(states)


def write_image(path: Path, frames: Iterable[np.ndarray], like: Recording, position: int | None = None) -> None:
    """Restored frames as a file of the same kind, or what `result_suffix` says; else as `write_recording`."""
    if like.format == ZARR:
        write_recording(path, frames, like, partial(write_ome_zarr, position=position or 0))
    elif like.format == "fits":
        write_recording(path, frames, like, write_fits)
    elif like.format in NAMES:
        write_recording(path, frames, like, write_ome_tiff)
    else:
        write_recording(path, frames, like)


def result_suffix(path: Path, suffix: str) -> str:
    """What the name of the result of an image ends with, where its own ends with `suffix`."""
    kind = kind_of(path)
    return ".ome.zarr" if kind == ZARR else ".ome.tif" if kind and kind != "fits" else suffix


def content_hash(path: Path) -> hashlib.blake2b:
    """Of a file, or of all files of a folder that is one image, with their names.

    Raises:
        InputError: there is no such file, it cannot be read, or holds links.
    """
    digest = hashlib.blake2b(digest_size=16)
    with in_one_sentence(path):
        if not kind_of(path):
            check_plain(path)
        for name, file in _files(path):
            digest.update(name)
            with file.open("rb") as opened:
                while block := opened.read(2**20):
                    digest.update(block)
    return digest


def size_of(path: Path) -> int:
    """Bytes on the disk."""
    return sum(size for _, size in files_in(path)) if path.is_dir() else path.stat().st_size


def _files(path: Path) -> Iterator[tuple[bytes, Path]]:
    """What is hashed before a file, and the file; of an image in one file nothing but that."""
    if not path.is_dir():
        yield b"", path
        return
    for file, size in files_in(path):
        yield f"\n{os.path.relpath(file, path)} {size}\n".encode("utf-8", "surrogateescape"), file
