"""Decode once: the images of one source become one flat file of grey bytes and an index.

A cache is a folder named by a key of the source and of the state of its files. It is built under another name and
renamed when complete, index last, so that a build killed at any moment leaves nothing that loads.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepblur.platform.data.entries import Entry
from deepblur.platform.data.sources import Source
from deepblur.platform.system.code import code_of
from deepblur.platform.system.errors import UnreadableImageError
from deepblur.platform.system.lock import locked
from deepblur.platform.system.printable import say
from deepblur.platform.system.seal import read_sealed, write_sealed

_FORMAT = 1  # raise it whenever the files of a cache change
_BUILDING = re.compile(r"\.\w+-[0-9a-f]+\.(?P<host>.+)\.(?P<pid>\d+)\.[0-9a-f]{8}")
_ABANDONED_S = 600  # a build that has written nothing for so long was killed


@dataclass(frozen=True)
class CachedSource:
    """One source, decoded: image i is the bytes [offset_i, offset_i + height_i · width_i) of the pixel file."""

    pixels: np.ndarray
    heights: list[int]
    widths: list[int]
    names: list[str]
    groups: list[str]
    skipped: list[tuple[str, str]]
    fingerprint: str
    """Hash of the decoded pixels and sizes, in order: independent of paths, dates and the machine."""


def open_cache(source: Source, cache_dir: Path, *, progress: bool, max_skipped: float) -> CachedSource:
    """Load the cache of a source, building it first where there is none.

    One process builds while others that want the same cache wait for it.
    """
    code = sorted(code_of(["platform/data/sources"], [], closed=("platform/system/",)).values())
    key = hashlib.sha256(json.dumps([_FORMAT, repr(source), source.state(), code]).encode()).hexdigest()[:16]
    folder = cache_dir / f"{type(source).__name__.lower()}-{key}"
    cached = _load(folder)
    if cached is None:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with locked(cache_dir / f".{folder.name}.lock"):
            cached = _load(folder)  # another process may have built it while this one waited
            if cached is None:
                _build(source, folder, progress=progress, max_skipped=max_skipped)
                cached = _load(folder)
    if cached is None:
        raise OSError(f"the cache {folder} was built but does not load; check the disk and delete the folder")
    _check_skipped(source, cached.skipped, len(cached.names) + len(cached.skipped), max_skipped)
    return cached


def _load(folder: Path) -> CachedSource | None:
    """The cache in a folder; None where there is none that is complete and whole."""
    index, pixels = read_sealed(folder / "index.json"), folder / "pixels.u8"
    try:
        state = pixels.stat()
        if index is None or state.st_size != index["bytes"]:
            return None
        if state.st_mtime_ns != index["written"]:  # copied, or overwritten: reading all of it tells
            if _fingerprint(pixels, index) != index["fingerprint"]:
                return None
            with suppress(OSError):  # somebody else's folder: it will be read again
                _write_index(folder, {**index, "written": state.st_mtime_ns})
        index = {name: value for name, value in index.items() if name not in ("bytes", "written")}
        index["skipped"] = [(name, reason) for name, reason in index["skipped"]]
        # asarray: slicing a plain view is several times faster than slicing a np.memmap, and keeps the map alive
        return CachedSource(pixels=np.asarray(np.memmap(pixels, np.uint8, "r")), **index)
    except (OSError, ValueError, KeyError, TypeError):  # absent, or the index of something else
        return None


def _write_index(folder: Path, index: dict) -> None:
    partial = folder / f".index.json.{os.getpid()}.partial"
    write_sealed(partial, index)
    partial.replace(folder / "index.json")


def _fingerprint(pixels: Path, index: dict) -> str:
    digest = hashlib.sha256()
    with pixels.open("rb") as file:
        for height, width in zip(index["heights"], index["widths"], strict=True):
            digest.update(f"{height}x{width} ".encode())
            digest.update(file.read(height * width))
    return digest.hexdigest()


def _build(source: Source, folder: Path, *, progress: bool, max_skipped: float) -> None:
    entries = source.entries()
    if not entries:
        raise ValueError(f"{source} selects no image; relax the selection or add images")
    _remove_abandoned(folder.parent)
    builder = f"{socket.gethostname()}.{os.getpid()}"
    temporary = folder.with_name(f".{folder.name}.{builder}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir()  # not tempfile: that would hide the cache from other users of a shared disk
    try:
        index = _decode_all(source, entries, temporary, progress=progress, max_skipped=max_skipped)
        _write_index(temporary, {**index, "written": (temporary / "pixels.u8").stat().st_mtime_ns})
        if _load(folder) is None and folder.exists():
            print(f"the cache {folder} is damaged; {source} is decoded again", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError:
        if _load(folder) is None:  # else a builder on another machine was first, which is as good
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _decode_all(source: Source, entries: list[Entry], into: Path, *, progress: bool, max_skipped: float) -> dict:
    """Stream the images into `into`/pixels.u8, in order, a few in memory at a time; returns the index."""
    kept: list[Entry] = []
    shapes: list[tuple[int, int]] = []
    skipped: list[tuple[str, str]] = []
    written, digest, report = 0, hashlib.sha256(), _Progress(str(source), len(entries), progress)
    with open(into / "pixels.u8", "wb") as file:
        for entry, image in _decoded(entries):
            if isinstance(image, UnreadableImageError):
                skipped.append((entry.name, str(image)))
                _check_skipped(source, skipped, len(entries), max_skipped)
            else:
                kept.append(entry)
                shapes.append(image.shape)
                digest.update(f"{image.shape[0]}x{image.shape[1]} ".encode())
                digest.update(image.data)
                written += file.write(image.data)
            done = len(kept) + len(skipped)
            if done % 64 == 0 and kept:
                _check_disk(into, written / done * (len(entries) - done), source)
            report(done)
        file.flush()
        os.fsync(file.fileno())  # the rename must not overtake the pixels
    if not kept:
        raise ValueError(f"{source} holds no readable image: {skipped[0][1]}")
    return {
        "heights": [h for h, _ in shapes],
        "widths": [w for _, w in shapes],
        "names": [e.name for e in kept],
        "groups": [e.group for e in kept],
        "skipped": skipped,
        "fingerprint": digest.hexdigest(),
        "bytes": written,
    }


def _decoded(entries: list[Entry]) -> Iterator[tuple[Entry, np.ndarray | UnreadableImageError]]:
    """Each entry with its image as contiguous uint8, in order. Threads do, since decoders release the GIL."""

    def decode(entry: Entry) -> np.ndarray | UnreadableImageError:
        try:
            return np.rint(entry.load() * 255).astype(np.uint8)
        except UnreadableImageError as error:
            return error

    threads = min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        try:
            for entry in entries:
                waiting.append((entry, pool.submit(decode, entry)))
                if len(waiting) >= 4 * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _check_skipped(source: Source, skipped: list[tuple[str, str]], total: int, max_skipped: float) -> None:
    """One bad file is never too many: in a small folder it would exceed any sensible fraction."""
    if len(skipped) > max(1, max_skipped * total):
        raise ValueError(
            f"at least {len(skipped)} of the {total} images of {source} cannot be used, but only {max_skipped:.0%} "
            f"may be skipped; the first: {skipped[0][1]}; repair the data or raise max_skipped"
        )


def _check_disk(folder: Path, needed: float, source: Source) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"the cache of {source} needs about {needed / 1e9:.1f} GB more, but {folder.parent} has {free / 1e9:.1f} "
            "GB free; choose another cache folder or select fewer images"
        )


def _remove_abandoned(cache_dir: Path) -> None:
    for unfinished in cache_dir.glob(".*/"):
        if (built := _BUILDING.fullmatch(unfinished.name)) is None:
            continue  # not ours
        with suppress(FileNotFoundError):  # its builder, alive after all, has just finished
            pixels = unfinished / "pixels.u8"
            written = (pixels if pixels.exists() else unfinished).stat().st_mtime
            if _is_gone(built["host"], int(built["pid"])) or time.time() - written > _ABANDONED_S:
                shutil.rmtree(unfinished, ignore_errors=True)


def _is_gone(host: str, pid: int) -> bool:
    """Whether a builder was a process of this machine that is no more; of another machine nobody knows."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


class _Progress:
    """Lines on stderr for a build that takes long, ever more seldom: they also go into job logs."""

    def __init__(self, what: str, total: int, wanted: bool) -> None:
        self.what, self.total = what, total
        self.start = time.monotonic()
        self.next_s = 2.0 if wanted else float("inf")

    def __call__(self, done: int) -> None:
        elapsed_s = time.monotonic() - self.start
        if elapsed_s >= self.next_s:
            left_s = elapsed_s / done * (self.total - done)
            say(f"decoding {self.what}: {done} of {self.total}, {left_s:.0f} s left", sys.stderr)
            self.next_s = elapsed_s + min(60.0, max(5.0, elapsed_s / 2))
