"""A series larger than the memory that it may take: how much that is, and how long it takes, by format.

Claim    A series of 2 GiB is restored frame by frame within 2 GiB of memory, whatever its format.
Measure  Frames of 1024x1024 uint16, all different, as TIFF, OME-Zarr and CZI, each written by tifffile, bioio's and
         Zeiss's own writer. `deepblur restore --psf FILE --restorer wiener --no-pictures` in a process of its own:
         seconds from its start to its end, the most memory that it held, and the size of what it wrote. Wiener's filter
         takes less than the files do, so the formats are what is timed; the default network takes seconds a frame.
Cost     20 min on 2 cores and 5 GiB of disk; less with --gib 0.1
Run      python benchmarks/large_series.py              (needs `pip install deepblur[formats]`)
Outcome  --gib 0.25, two quiet cores, 2026-11-30: TIFF 42 s and 471 MiB, OME-Zarr 47 s and 637 MiB, CZI 45 s and 577
         MiB; so the claim holds at this size. The run of 2 GiB has not been made.
"""

import argparse
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch
from restore import run
from skimage import data
from skimage.transform import resize

from deepblur.operators import ZernikeBlur

SIDE = 1024


def frames(count: int) -> Iterator[np.ndarray]:
    """(SIDE, SIDE) uint16 each: a photograph that moves, in noise."""
    rng = np.random.default_rng(0)
    image = 4000 * resize(data.camera() / 255.0, (SIDE, SIDE), order=1)
    noise = 20 * rng.standard_normal((SIDE, SIDE))
    for i in range(count):
        yield (np.roll(image, i, 1) + np.roll(noise, 7 * i, 0)).clip(0).astype(np.uint16)


def write_tiff(path: Path, count: int) -> None:
    tifffile.imwrite(path, frames(count), shape=(count, SIDE, SIDE), dtype=np.uint16, metadata={"axes": "TYX"})


def write_zarr(path: Path, count: int) -> None:
    from bioio_ome_zarr.writers import OMEZarrWriter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = OMEZarrWriter(
            str(path),
            level_shapes=[(count, SIDE, SIDE)],
            dtype=np.uint16,
            chunk_shape=(1, SIDE, SIDE),
            axes_names=["t", "y", "x"],
            axes_types=["time", "space", "space"],
            axes_units=["second", "micrometer", "micrometer"],
            physical_pixel_size=[1.0, 0.065, 0.065],
        )
        writer.write_full_volume(np.stack(list(frames(count))))


def write_czi(path: Path, count: int) -> None:
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        for t, frame in enumerate(frames(count)):
            file.write(frame[..., None], plane={"T": t, "C": 0, "Z": 0})


FORMATS: dict[str, Callable[[Path, int], None]] = {".tif": write_tiff, ".ome.zarr": write_zarr, ".czi": write_czi}


def size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0)
    count = max(2, round(parser.parse_args().gib * 2**30 / (2 * SIDE**2)))
    print(f"{count} frames of {SIDE}x{SIDE} uint16\n{'':12}{'GiB':>6}{'seconds':>9}{'MiB held':>10}{'GiB written':>13}")
    with tempfile.TemporaryDirectory(prefix="deepblur-") as scratch:
        folder = Path(scratch)
        psf = ZernikeBlur(noll=(4,)).psf(torch.zeros(1, 1))[0, 0].numpy()
        tifffile.imwrite(folder / "psf.tif", psf)
        for suffix, write in FORMATS.items():
            image, out = folder / f"series{suffix}", folder / "out"
            write(image, count)
            took, held = run(image, out, ["--psf", str(folder / "psf.tif"), "--restorer", "wiener", "--no-pictures"])
            print(f"{suffix:12}{size(image) / 2**30:6.2f}{took:9.0f}{held:10.0f}{size(out) / 2**30:13.2f}", flush=True)
            shutil.rmtree(image) if image.is_dir() else image.unlink()
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
