"""What a training makes on its way and finds again when it is begun again: files that are whole or not there."""

import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from deepblur.platform.system.whole_files import replace_file


def keep(value: object, file: Path) -> None:
    """The whole file or none."""
    content = io.BytesIO()
    torch.save(value, content)
    replace_file(file, content.getvalue())


def kept_in_chunks(
    count: int, chunk: int, make: Callable[[int], tuple[Tensor, ...]], file_of: Callable[[int], Path], bar: "tqdm[None]"
) -> list[Tensor]:
    """`make(0)` … `make(count - 1)`, stacked column by column; a chunk whose file is there is not made again.

    Args:
        file_of: of the chunk that begins with this number.
        bar: the progress, which is closed at the end.
    """
    parts = []
    with bar:
        for first in range(0, count, chunk):
            file = file_of(first)
            if not file.is_file():
                made = [make(i) for i in range(first, min(first + chunk, count))]
                keep([torch.stack(column) for column in zip(*made, strict=True)], file)
            parts.append(torch.load(file, weights_only=True))
            bar.update(len(parts[-1][0]))
    return [torch.cat(column) for column in zip(*parts, strict=True)]
