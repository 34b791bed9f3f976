"""One image file → one grey image. Everything that can be wrong with a file is said here, in a sentence with its name.

Grey is the ITU-R BT.601 luminance of the stored values, as the deblurring literature computes it: no display gamma is
undone. That makes photographs slightly non-linear scenes, and keeps figures comparable with published ones.
"""

import os
import stat
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from deepblur.platform.data.tiff_streams import check_streams
from deepblur.platform.system.errors import UnreadableImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MIN_SIDE_PX = 8
MAX_PIXELS = 178_956_970  # Pillow's own bound against decompression bombs, held for TIFF too

_BIT_DEPTHS = (8, 10, 12, 14, 16)
LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in the luminance of ITU-R BT.601."""
ORIENTATION_TAG = 0x0112  # the same in EXIF and TIFF


def read_grey(path: str | os.PathLike) -> np.ndarray:
    """The image in a file, upright, as (H, W) float32 in [0, 1].

    - Colour, palette, CMYK: ITU-R BT.601 luminance. An alpha channel is ignored: the stored colours count.
    - 8 bit: value / 255. 1 bit: 0 and 1.
    - Deeper integers: value / (2^b − 1), b the smallest of 8, 10, 12, 14, 16 that holds the image's maximum, so that
      12-bit camera data in a 16-bit file is not dim. (Pillow reads 16-bit *colour* PNG as 8 bit.)
    - Floats, and integers beyond 16 bits or below 0: divided by the maximum if it exceeds 1; negative values down to
      5 % of the maximum (an undershoot, an offset) become 0, lower ones are refused.
    - EXIF and TIFF orientation is applied. Of a file with several pages or frames, the first counts.

    Raises:
        UnreadableImageError: missing, not an image, truncated, a side under 8 px, too large, NaN or infinite values,
            or markedly negative ones. The message is one sentence and names the file.
    """
    path = Path(path)
    try:
        check_plain(path)
        stored, orientation = stored_values(path)
        height, width = stored.shape[:2]
        if min(height, width) < MIN_SIDE_PX:
            raise UnreadableImageError(f"is {height}x{width}, but both sides need at least {MIN_SIDE_PX} px; remove it")
        grey = _unit_range(stored)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{path}: {error}") from error
    except Exception as error:  # a corrupt file makes decoders raise almost anything (struct.error, IndexError, …)
        raise UnreadableImageError(unreadable(path, error)) from error
    if grey.ndim == 3:
        grey = grey @ np.array(LUMA, np.float32)
    return np.ascontiguousarray(upright(grey, orientation))


def check_plain(path: Path) -> None:
    """Raises UnreadableImageError, without the file's name, for what is no file; opening a pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UnreadableImageError("there is no such file; check its name") from None
    except PermissionError:
        raise UnreadableImageError("may not be read; ask its owner for permission") from None
    except OSError as error:  # a loop of links, a name that is too long, a file as folder
        raise UnreadableImageError(f"cannot be found ({error.strerror}); check its name") from None
    if stat.S_ISDIR(mode):
        try:
            os.scandir(path).close()
        except PermissionError:
            raise UnreadableImageError("may not be read; ask its owner for permission") from None
        raise UnreadableImageError("is not a file but a folder; name the images in it one by one")
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    if not stat.S_ISREG(mode):
        raise UnreadableImageError(
            f"is not a file but {kinds.get(stat.S_IFMT(mode), 'something else')}; save the image as a file"
        )


def unreadable(path: Path | str, error: Exception) -> str:
    """The sentence for a file at which a decoder failed."""
    reason = " ".join(str(error).replace(str(path), "the file").split()) or type(error).__name__
    return f"{path}: not a readable image ({reason}); replace or remove it"


def stored_values(path: Path) -> tuple[np.ndarray, int]:
    """(H, W) grey or (H, W, 3) RGB of a file as stored, and the orientation code 1 … 8.

    What it raises is said in the words of a decoder; `read_grey` says it in a sentence.
    """
    if path.suffix.lower() in (".tif", ".tiff"):
        deep = _deep_tiff(path)
        if deep is not None:
            return deep
    with Image.open(path) as image:
        check_pixels(image.height, image.width)
        image.info.pop("transparency", None)  # ignored like any alpha; Pillow would warn
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return np.asarray(image), orientation
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "YCbCr"):
            return np.asarray(image.convert("RGB").convert("L")), orientation  # CMYK, Lab, HSV: no direct way to L
        return np.asarray(image.convert("L")), orientation


def _deep_tiff(path: Path) -> tuple[np.ndarray, int] | None:
    """The first page of a grey or RGB TIFF of more than 8 bits, which Pillow reads in part only; None: try Pillow."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        check_pixels(page.imagelength, page.imagewidth)
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        grey_or_rgb = white_is_zero or page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
        if page.bitspersample <= 8 or not grey_or_rgb:
            return None
        check_streams(page)
        try:
            stored = page.asarray()
        except ValueError as error:
            if "imagecodecs" in str(error):  # LZW and other compressions that tifffile alone cannot undo
                return None
            raise
        tag = page.tags.get(ORIENTATION_TAG)
        samples = page.axes.find("S")
    if white_is_zero:
        if stored.dtype.kind != "u":
            raise UnreadableImageError(
                f"white-is-zero values of type {stored.dtype} have no black; invert and save again"
            )
        stored = ~stored
    if samples >= 0:
        stored = np.moveaxis(stored, samples, -1)
        stored = stored[..., :3] if stored.shape[-1] >= 3 else stored[..., 0]  # what follows RGB or grey is alpha
    if stored.ndim != 2 + (stored.shape[-1] == 3 and samples >= 0):
        raise UnreadableImageError(f"a page of shape {stored.shape} is a volume, not an image; save one plane of it")
    return stored, 1 if tag is None else int(tag.value)


def check_pixels(height: int, width: int) -> None:
    """Raises UnreadableImageError, without the file's name, for an image that may be a decompression bomb."""
    if height * width > MAX_PIXELS:
        raise UnreadableImageError(f"{height}x{width} is more than {MAX_PIXELS // 10**6} megapixels; cut it into tiles")


def _unit_range(stored: np.ndarray) -> np.ndarray:
    """float32 in [0, 1], by the rules of `read_grey`."""
    kind = stored.dtype.kind
    if kind not in "buif":
        raise UnreadableImageError(f"pixels of type {stored.dtype} are no intensities; save real numbers")
    if kind == "b":
        return stored.astype(np.float32)
    if stored.dtype == np.uint8:
        return stored.astype(np.float32) / np.float32(255)
    if kind == "f" and not np.isfinite(stored).all():
        raise UnreadableImageError(
            f"{np.count_nonzero(~np.isfinite(stored))} pixels are NaN or infinite; fill them or remove the file"
        )
    low, peak = float(stored.min()), float(stored.max())
    if kind in "ui" and low >= 0 and peak < 2 ** max(_BIT_DEPTHS):
        depth = next(b for b in _BIT_DEPTHS if peak < 2**b)
        return (stored / (2**depth - 1)).astype(np.float32)
    if low < -0.05 * max(peak, 0):
        raise UnreadableImageError(
            f"values run from {low:g} to {peak:g}, but intensities are not negative; add an offset"
        )
    return (np.clip(stored.astype(np.float64), 0, None) / max(peak, 1)).astype(np.float32)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """(…, H, W) with the camera's rotation undone; codes as in EXIF, unknown ones count as upright."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(-1, -2)
    if orientation in (3, 4, 7, 8):
        image = image[..., ::-1, :]
    if orientation in (2, 3, 6, 7):
        image = image[..., ::-1]
    return image
