"""What a compressed stream inside a TIFF says of its own size, before it is decoded.

Codecs of images (JPEG, JPEG 2000, JPEG XL, JPEG XR, WebP, PNG, LERC) carry their own size, which a decoder obeys
whatever the tags of the TIFF say; those of bytes (deflate, LZW, …) are decoded into as many bytes as the tags allow.
"""

import math
import re
from typing import Any

import numpy as np
from tifffile import COMPRESSION, TiffPage
from tifffile.tifffile import TIFF

from deepblur.platform.system.errors import UnreadableImageError

_JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.JPEG_LOSSY, COMPRESSION.ALT_JPEG)
_EER = (COMPRESSION.EER_V0, COMPRESSION.EER_V1, COMPRESSION.EER_V2)  # their size is that of the tags
_SIZED = (TIFF.IMAGE_COMPRESSIONS | {COMPRESSION.LERC, COMPRESSION.WEBP_DEPRECATED}) - set(_EER)
_SAYS_SHAPE = re.compile(r", shape=\(([\d, ]*)\)")
_TYPES = tuple(np.dtype(kind) for kind in ("u1", "u2", "f4", "i1", "i2", "u4", "i4", "f2", "f8"))


def carries_size(compression: int) -> bool:
    """Whether the streams of this compression say their own size."""
    return compression in _SIZED


def check_streams(page: Any) -> None:  # a TiffPage, or a TiffFrame, whose keyframe tifffile gives no certain type
    """Raises UnreadableImageError, without the file's name, where a stream of the page is larger than its tags say."""
    keyframe = page.keyframe
    if not carries_size(keyframe.compression):
        return
    handle, options = page.parent.filehandle, {}
    if keyframe.compression in _JPEG:
        options = {"tables": page.jpegtables, "header": keyframe.jpegheader}
    most = math.prod(keyframe.chunks)
    for segment in handle.read_segments(page.dataoffsets, page.databytecounts, flat=True, buffersize=2**24):
        if isinstance(segment, tuple) and segment[0] is not None:
            _check(segment[0], keyframe, most, options)
    if keyframe.jpegheader is not None and 273 in keyframe.tags:  # NDPI, of which tifffile may decode the whole strip
        handle.seek(keyframe.tags[273].value[0])
        _check(handle.read(keyframe.tags[279].value[0]), keyframe, math.prod(keyframe.shape), {})


def _check(data: bytes, keyframe: TiffPage, most: int, options: dict[str, Any]) -> None:
    shape = stream_shape(data, keyframe.compression, keyframe.dtype, options)
    if shape is not None and math.prod(shape) > most:
        codec, stream = COMPRESSION(keyframe.compression).name, "x".join(map(str, shape))
        raise UnreadableImageError(
            f"holds {codec} data of {stream} values where its tags leave room for {most} (a damaged file or a "
            "decompression bomb); save it again"
        )


def stream_shape(data: bytes, compression: int, dtype: Any, options: dict[str, Any]) -> tuple[int, ...] | None:
    """(H, W) or more of the image in a stream; None where its decoder cannot tell.

    The decoders of imagecodecs read the header first, and refuse an array that does not fit it: none does.
    """
    for kind in dict.fromkeys((np.dtype(dtype or "u1"), *_TYPES)):
        try:
            TIFF.DECOMPRESSORS[compression](data, out=np.empty(0, kind), **options)
        except Exception as error:  # of the codecs' own kinds
            if found := _SAYS_SHAPE.search(str(error)):
                return tuple(int(side) for side in found[1].split(",") if side.strip())
            if "out.dtype" not in str(error):
                return None  # damaged: what decodes it says so
    return None
