"""What a command was given: the images that it names, the folder below the output for each, and what it leaves out."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepblur.platform.system.errors import InputError
from deepblur.restoration.batch.ownership import Item, results_in, stem_of
from deepblur.restoration.formats.files import positions_of
from deepblur.restoration.formats.kinds import IMAGE_SUFFIXES, ZARR, kind_of

_SHOWN = 8

IS_FOLDER = "folders are searched below with --recursive only"
IS_LINK = "a link to a folder, or out of the folder that was named; name what it leads to"
IS_RESULT = "made by deepblur, as the reports beside them say; name one to have it read"
OTHER_SUFFIX = f"not {', '.join(IMAGE_SUFFIXES)}; name one to have its content tried"
IS_HIDDEN = "hidden"


@dataclass(frozen=True)
class Given:
    items: tuple[Item, ...]
    left_out: tuple[tuple[Path, str], ...] = ()
    """What lies in a folder that was named and is not read, with the reason."""
    others: tuple[Path, ...] = ()
    """Images that are read too, but not now: a file may be a part of one."""

    def as_json(self) -> list[dict[str, str]]:
        return [{"path": str(path), "reason": reason} for path, reason in self.left_out]


def items_of(
    given: Sequence[Path], output: Path | None = None, *, recursive: bool = False, may_be_none: bool = False
) -> Given:
    """The image files that were named, folders looked through, each once.

    Results of files from one folder lie in the output folder; those of several in a folder each, which has the name
    of its images' folder below what all have in common.

    Args:
        output: where the results go, which is no image that was left out.
        recursive: look below folders too, which links to other folders never lead into.
        may_be_none: there need not be any.

    Raises:
        InputError: there is none, unless there may be none.
    """
    paths: dict[str, Path] = {}
    left_out: dict[tuple[Path, str], None] = {}
    for path in given:
        top = path if recursive else None
        found, others = _looked_through(path, output, top) if _is_folder(path) else ([path], [])
        for file in found:
            paths.setdefault(Item(file, "").source, file)
        left_out |= dict.fromkeys(others)
    if not paths and not may_be_none:
        raise InputError(
            f"there is no image in {', '.join(map(str, given))}{_listed(list(left_out))}; name files or folders with "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    folders = {path: os.path.abspath(path if _is_folder(path) else path.parent) for path in (*given, *paths.values())}
    common = os.path.commonpath(folders.values())
    below = {path: Path(os.path.relpath(folders[path], common)) for path in paths.values()}
    stems = Counter((below[path], stem_of(path)) for path in paths.values())
    items = tuple(
        item
        for path in paths.values()
        for stem in (stem_of(path),)
        for item in _items(path, stem if stems[below[path], stem] == 1 else path.name.replace(".", "_"), below[path])
    )
    return Given(items, tuple(left_out))


def _items(path: Path, name: str, below: Path) -> list[Item]:
    """One for each image that the file holds."""
    try:
        count = positions_of(path)
    except InputError:  # which is said when its turn comes
        count = 1
    if count == 1:
        return [Item(path, name, below)]
    return [Item(path, f"{name}_position{k}", below, k) for k in range(count)]


def _is_folder(path: Path) -> bool:
    """Whether it is a folder with images, not one that is an image."""
    return os.path.isdir(path) and not kind_of(path)


def _looked_through(folder: Path, output: Path | None, top: Path | None) -> tuple[list[Path], list[tuple[Path, str]]]:
    """(images, what is left out) of a folder; one that may not be read stands for itself, and is refused as such.

    Args:
        top: the folder that was named, where what lies below is looked through too; None where it is not.
    """
    try:
        inside = sorted(folder.iterdir())
        ours = results_in(folder)
    except OSError:
        return [folder], []
    images: list[Path] = []
    others: list[tuple[Path, str]] = []
    for path in inside:
        if path.name.startswith(".deepblur"):  # a command's own, at work here
            continue
        if path.name.startswith("."):
            others.append((path, IS_HIDDEN))
        elif path.name in ours:
            others.append((path, IS_RESULT))
        elif top is not None and path.is_symlink() and _leads_away(path, top):
            others.append((path, IS_LINK))
        elif kind_of(path) == ZARR:
            images.append(path)
        elif os.path.isdir(path):
            if output is not None and os.path.exists(output) and os.path.samefile(path, output):
                continue
            if top is None:
                others.append((path, IS_FOLDER))
                continue
            images_below, others_below = _looked_through(path, output, top)
            images += images_below
            others += others_below
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        else:
            others.append((path, OTHER_SUFFIX))
    return images, others


def _leads_away(link: Path, top: Path) -> bool:
    """Whether a link leads to a folder, which might be one above it, or out of the one that was named."""
    return os.path.isdir(link) or not Path(os.path.realpath(link)).is_relative_to(os.path.realpath(top))


def _listed(left_out: Sequence[tuple[Path, str]]) -> str:
    """What is there instead, in brackets."""
    names = [path.name for path, reason in left_out if reason != IS_HIDDEN]
    return f" (but {', '.join(names[:_SHOWN])}{', …' * (len(names) > _SHOWN)})" if names else ""
