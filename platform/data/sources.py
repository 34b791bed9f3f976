"""Where images come from: MS COCO, a folder, photographs inside installed packages, dead leaves.

A source is a frozen dataclass of plain values, so that it can stand in a hashed specification. It answers two
questions: `state`, cheap, "has anything changed?", and `entries`, "which images, and how is each one read?".
"""

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from deepblur.platform.data.coco import Coco
from deepblur.platform.data.dead_leaves import dead_leaves
from deepblur.platform.data.entries import Entry, FileState, bucket, file_state, require_folder, require_one_of, scan
from deepblur.platform.data.image_file import SUFFIXES, read_grey
from deepblur.platform.system.printable import printable

FolderPart = Literal["all", "train", "validation", "test"]
Split = Literal["train", "validation", "test", "microscopy"]
DIVISIONS = ("train", "validation", "test")
"""Subfolders of a folder that is divided already."""

PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    # The textures train: as test images they would weigh one kind of content too much.
    "train": (
        "skimage/data/brick.png",
        "skimage/data/grass.png",
        "skimage/data/gravel.png",
        "skimage/data/hubble_deep_field.jpg",
        "skimage/data/retina.jpg",
        "sklearn/datasets/images/china.jpg",
        "sklearn/datasets/images/flower.jpg",
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    ),
    "validation": ("skimage/data/moon.png", "skimage/data/motorcycle_left.png", "skimage/data/rocket.jpg"),
    "test": (
        "skimage/data/astronaut.png",
        "skimage/data/camera.png",
        "skimage/data/cell.png",
        "skimage/data/chelsea.png",
        "skimage/data/coffee.png",
        "skimage/data/coins.png",
        "skimage/data/ihc.png",
    ),
    # Real microscopy as it was recorded: for looking, without a truth.
    "microscopy": ("skimage/data/cell.png", "skimage/data/ihc.png"),
}
"""Photographs that lie inside the wheels of scikit-image, scikit-learn and Matplotlib."""


@dataclass(frozen=True)
class Folder:
    """All images below a folder (png, jpg, tif, bmp, webp; no hidden ones), grouped by the subfolder they lie in.

    The parts are its subfolders train, validation and test where it has all three. Else they divide by a hash of the
    relative name, 80 / 10 / 10 %: an image keeps its part when others come and go.
    """

    root: str
    part: FolderPart = "all"

    def __post_init__(self) -> None:
        require_one_of("part", self.part, get_args(FolderPart))

    def state(self) -> list[FileState]:
        root = Path(self.root)
        require_folder(root, "a folder of images")
        divided = all((root / part).is_dir() for part in DIVISIONS)
        return [s for s in scan(root) if self._holds(s.name, divided)]

    def entries(self) -> list[Entry]:
        root, found = Path(self.root), []
        for name in (s.name for s in self.state()):
            group = (root / name).relative_to(root.parent).parent.as_posix()  # from the last part of the root on
            found.append(Entry(printable(name), printable(group), partial(read_grey, root / name)))
        return found

    def _holds(self, name: str, divided: bool) -> bool:
        if not name.lower().endswith(SUFFIXES):
            return False
        if not name.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in name):
            raise ValueError(f"the name of the image {name!r} in {self.root} is not UTF-8; rename it")
        part = name.partition("/")[0] if divided else {0: "test", 1: "validation"}.get(bucket(name), "train")
        return self.part in ("all", part)


@dataclass(frozen=True)
class Photos:
    """Photographs that lie inside installed packages (no download), each a group of its own.

    They are reduced by averaging squares of pixels: most are soft at their own scale, and an image that is soft itself
    cannot serve as the sharp truth of a deblurring.
    """

    split: Split
    reduce: int = 2
    """Side of the averaged squares, in pixels; 1 leaves the photographs as they are."""

    def __post_init__(self) -> None:
        require_one_of("split", self.split, get_args(Split))

    def state(self) -> list[FileState]:
        return [file_state(path, path.name) for path in self.files()]

    def entries(self) -> list[Entry]:
        return [Entry(path.name, path.stem, partial(self._read, path)) for path in self.files()]

    def _read(self, path: Path) -> np.ndarray:
        image, k = read_grey(path), self.reduce
        height, width = (side // k for side in image.shape)
        return image[: height * k, : width * k].reshape(height, k, width, k).mean((1, 3))

    def files(self) -> list[Path]:
        """The photographs, in their order."""
        paths = []
        for name in PHOTOGRAPHS[self.split]:
            package, _, file = name.partition("/")
            spec = importlib.util.find_spec(package)  # found, not imported: the import takes a second
            path = Path(spec.origin).parent / file if spec and spec.origin else Path(name)
            if not path.is_file():  # never fewer in silence: results on other photographs do not compare
                raise FileNotFoundError(f"the package {package} should ship {path}, which is missing; reinstall it")
            paths.append(path)
        return paths


@dataclass(frozen=True)
class DeadLeaves:
    """Pictures of occluding discs (`deepblur.platform.data.dead_leaves`), each a pure function of (seed, index)."""

    count: int
    side_px: int
    seed: int

    def state(self) -> list[FileState]:
        return []

    def entries(self) -> list[Entry]:
        return [Entry(f"{i:06d}", "dead-leaves", partial(self._render, i)) for i in range(self.count)]

    def _render(self, index: int) -> np.ndarray:
        digest = hashlib.sha256(f"dead leaves {self.seed} {index}".encode()).digest()
        rng = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
        return dead_leaves(1, (self.side_px, self.side_px), rng)[0, 0].numpy()


Source = Coco | Folder | Photos | DeadLeaves


@dataclass(frozen=True)
class Data:
    """What a study trains, validates and tests on; no image is in two of them."""

    train: tuple[Source, ...]
    """What networks learn from."""
    validation: tuple[Source, ...]
    """What decides which weights, settings and trials are kept."""
    test: tuple[Source, ...]
    """What results are measured on."""


def parse_data(text: str) -> Data:
    """The data that a command line names: photos, dead-leaves, coco:ROOT or folder:ROOT.

    - photos: trains on eight photographs inside installed packages, which is enough to learn a small family.
    - dead-leaves: trains on 192 dead-leaves pictures alone. Both validate and test on photographs.
    - coco:ROOT: train2017 is divided into training and a tenth for validation; val2017 tests.
    - folder:ROOT: by its subfolders train, validation and test where it has them, else 80 / 10 / 10 by file name.

    Raises:
        ValueError: any other text. Whether ROOT exists is seen on opening, which may happen on another machine.
    """
    kind, _, root = text.partition(":")
    if kind in ("coco", "folder") and root:
        root = os.path.abspath(os.path.expanduser(root))  # workers run in folders of their own
        if kind == "folder":
            return Data((Folder(root, "train"),), (Folder(root, "validation"),), (Folder(root, "test"),))
        return Data((Coco(root, part="fit"),), (Coco(root, part="held"),), (Coco(root, split="val2017"),))
    unseen = ((Photos("validation"),), (Photos("test"),))
    if text == "photos":
        return Data((Photos("train"),), *unseen)
    if text == "dead-leaves":
        return Data((DeadLeaves(count=192, side_px=320, seed=0),), *unseen)
    raise ValueError(f"data is one of photos, dead-leaves, coco:ROOT, folder:ROOT; got {text!r}")


def parse_test(text: str) -> tuple[Source, ...]:
    """The images to test on that a command line names: photos, microscopy, coco:ROOT or folder:ROOT (all of it).

    Raises:
        ValueError: any other text.
    """
    kind, _, root = text.partition(":")
    if kind in ("coco", "folder") and root:
        root = os.path.abspath(os.path.expanduser(root))
        return (Coco(root, split="val2017"),) if kind == "coco" else (Folder(root),)
    if text == "photos":
        return (Photos("test"),)
    if text == "microscopy":
        return (Photos("microscopy", reduce=1),)
    raise ValueError(f"test images are one of photos, microscopy, coco:ROOT, folder:ROOT; got {text!r}")


def categories(sources: Iterable[Source]) -> dict[str, tuple[str, ...]]:
    """Name of each image → COCO categories that it shows; nothing for images that come without annotations."""
    found: dict[str, tuple[str, ...]] = {}
    for source in sources:
        if isinstance(source, Coco):
            found |= source.shown()
    return found
