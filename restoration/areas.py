"""Which pixels of a frame count: the region where its blur is read, and the part of it that is restored."""

from deepblur.platform.system.errors import InputError
from deepblur.restoration.options import Options

Part = tuple[slice, slice]
"""Rows and columns."""


def part_of(region: tuple[int, int, int, int] | None, size: tuple[int, ...]) -> Part:
    """Rows and columns of a region (first row, first column, rows, columns); all of the frame where it is None.

    Raises:
        InputError: it does not lie in a frame of that size.
    """
    H, W = size
    row, column, height, width = region or (0, 0, H, W)
    if row + height > H or column + width > W:
        raise InputError(
            f"the region of {height}x{width} pixels from ({row}, {column}) on does not lie in the image, {H}x{W}"
        )
    return slice(row, row + height), slice(column, column + width)


def cut_of(options: Options, size: tuple[int, ...]) -> Part:
    """Rows and columns of a frame that are restored."""
    return part_of(options.region if options.crop else None, size)
