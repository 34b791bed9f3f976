"""PNG, JPEG, BMP and WebP as a recording of one frame."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from deepblur.platform.data.image_file import MAX_PIXELS, ORIENTATION_TAG, check_pixels, upright
from deepblur.platform.system.errors import UnreadableImageError
from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.images.png import (
    SAMPLES,
    check_reach,
    descriptive_chunks,
    read_header,
    with_chunks,
)
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.images.tiff_metadata import print_pixel_um

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_INCH_UM = 25400.0
_CODED_BYTES = 7.0
"""Memory that decoding or encoding takes for each byte of a picture, on the safe side: of PNG with 16 bits the most."""


class PictureSource:
    """A picture, decoded anew each time it is asked for."""

    def __init__(self, path: Path, kind: str, mode: str, orientation: int, about: dict[str, Any], values: int) -> None:
        self.path = path
        self.kind = kind
        self.mode = mode
        """Pillow's mode to convert to, or "16" for PNG of 16 bits per value."""
        self.orientation = orientation
        self.about = about
        """How Pillow is to save the new file, and what it is to say of it."""
        self.values = values
        """Pixels times samples."""

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        pixels = self._decode_16() if self.mode == "16" else self._decode()  # its decoders know no parts
        out[:] = upright(np.moveaxis(pixels if pixels.ndim == 3 else pixels[..., None], -1, 0), self.orientation)
        release()

    def at_once_bytes(self) -> float:
        return _CODED_BYTES * self.values * (2 if self.mode == "16" else 1)

    def _decode(self) -> np.ndarray:
        with Image.open(self.path, formats=_FORMATS) as image, _nothing_made_up():
            return np.asarray(image if image.mode == self.mode else image.convert(self.mode))

    def _decode_16(self) -> np.ndarray:
        header = read_header(self.path)
        assert header is not None
        pixels = imagecodecs.png_decode(self.path.read_bytes()).reshape(header.height, header.width, -1)
        return pixels[..., : SAMPLES[header.colour_type]]


@contextmanager
def _nothing_made_up() -> Iterator[None]:
    """Within the block Pillow refuses a file that was cut off, whatever another library has told it."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_picture(path: Path) -> Recording:
    """The recording in a picture. Raises almost anything on a damaged file."""
    header = read_header(path)
    if header is not None:
        check_reach(path)
    try:
        image = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError:
        if path.suffix.lower() == ".ome":
            raise UnreadableImageError("holds metadata and no pixels; name the image files beside it") from None
        raise UnreadableImageError(
            "is not an image that can be read, or a damaged one; deepblur reads TIFF, PNG, JPEG, BMP and WebP"
        ) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"has more than {MAX_PIXELS // 10**6} megapixels; cut it into tiles") from None
    with image:
        check_pixels(image.height, image.width)
        count = getattr(image, "n_frames", 1)
        if count > 1 and image.format != "MPO":  # a camera's MPO shows its first picture
            raise UnreadableImageError(f"has {count} frames; save them as a TIFF stack")
        mode = _mode(path, image)
        samples = SAMPLES[header.colour_type] if mode == "16" and header else Image.getmodebands(mode)
        about, values = _about(path, image, mode), image.height * image.width * samples
        source = PictureSource(path, _format(image), mode, _orientation(path, image), about, values)
        size = (image.width, image.height) if source.orientation in (5, 6, 7, 8) else (image.height, image.width)
        dpi = image.info.get("dpi", (0, 0))
        sides = [print_pixel_um(float(per_inch), _INCH_UM) for per_inch in dpi]
        if source.orientation in (5, 6, 7, 8):
            sides.reverse()
    alpha = int(samples in (2, 4))
    dtype = np.dtype({"1": bool, "I": np.int32, "F": np.float32}.get(mode, np.uint16 if mode == "16" else np.uint8))
    return Recording(
        path=path,
        format=source.kind.lower(),
        axes="YX" if samples == 1 else "YXS",
        shape=size if samples == 1 else (*size, samples),
        dtype=dtype,
        length=1,
        channels=samples - alpha,
        labels=("",),
        source=source,
        rgb=samples >= 3,
        alpha=alpha,
        bits=8 * dtype.itemsize if dtype.kind in "ui" else 0,
        pixel_um=sides[0],
        pixel_height_um=sides[1],
    )


def write_picture(path: Path, frames: Iterator[np.ndarray], like: Recording) -> None:
    """See `write_recording`. JPEG at quality 95 with full colour resolution; WebP without loss where it had none."""
    source = like.source
    assert isinstance(source, PictureSource)
    (frame,) = frames
    planes = np.concatenate([frame, like.kept(0)]) if like.alpha else frame
    stored = upright(planes, {6: 8, 8: 6}.get(source.orientation, source.orientation))
    pixels = np.ascontiguousarray(stored[0] if len(stored) == 1 else np.moveaxis(stored, 0, -1))
    if like.dtype == np.uint16:  # only PNG
        encoded = bytes(imagecodecs.png_encode(pixels))
    else:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, source.kind, **source.about)
        encoded = buffer.getvalue()
    chunks = descriptive_chunks(source.path) if source.kind == "PNG" else []
    with replacing(path, len(encoded)) as file:
        if source.kind == "PNG":
            with_chunks(encoded, chunks, file)
        else:
            file.write(encoded)


def _orientation(path: Path, image: Image.Image) -> int:
    if image.format != "PNG":
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    exif = Image.Exif()  # Pillow would decode the whole picture to find it
    exif.load(dict(descriptive_chunks(path)).get(b"eXIf", b""))
    return int(exif.get(ORIENTATION_TAG, 1))


def _format(image: Image.Image) -> str:
    return "JPEG" if image.format in ("JPEG", "MPO") else str(image.format)


def _mode(path: Path, image: Image.Image) -> str:
    """The mode to which a picture is converted, by Pillow's names, or "16"."""
    header = read_header(path)
    if header is not None and header.bits == 16:
        return "16"
    transparent = "transparency" in image.info
    if image.mode in ("1", "I", "F"):
        return image.mode
    if image.mode == "P":
        colours = np.frombuffer((image.palette and image.palette.getdata()[1]) or b"", np.uint8)
        grey = image.palette is not None and image.palette.mode == "RGB" and _is_grey(colours)
        return ("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB")
    if image.mode in ("L", "RGB") and transparent:
        return image.mode + "A"
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image.mode
    return {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB")


def _is_grey(colours: np.ndarray) -> bool:
    table = colours[: len(colours) // 3 * 3].reshape(-1, 3)
    return bool((table == table[:, :1]).all())


def _about(path: Path, image: Image.Image, mode: str) -> dict[str, Any]:
    """How Pillow is to save it again, and what it is to say; a PNG's chunks say it themselves."""
    kind = _format(image)
    says = {"JPEG": ("dpi", "exif", "icc_profile", "comment"), "WEBP": ("exif", "icc_profile"), "BMP": ("dpi",)}
    settings: dict[str, Any] = {
        key: image.info[key]
        for key in says.get(kind, ())
        if image.info.get(key) and (key != "icc_profile" or image.mode == mode)
    }
    if kind == "JPEG":
        settings |= {"quality": 95, "subsampling": 0}
    if kind == "WEBP":
        settings |= {"lossless": True, "exact": True} if _is_lossless_webp(path) else {}
        settings["quality"] = 95
    return settings


def _is_lossless_webp(path: Path) -> bool:
    with path.open("rb") as file:
        return b"VP8L" in file.read(64)
