"""MS COCO as a source of images, with its categories."""

import contextlib
import difflib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from deepblur.platform.data.entries import Entry, FileState, bucket, file_state, require_folder, require_one_of, scan
from deepblur.platform.data.image_file import read_grey

CocoPart = Literal["all", "fit", "held"]


@dataclass(frozen=True)
class Coco:
    """Images of an MS COCO tree: root/SPLIT/*.jpg and root/annotations/instances_SPLIT.json.

    Grouped by the supercategory of the largest object ("none" for an image without objects).
    """

    root: str
    split: str = "train2017"
    categories: tuple[str, ...] = ()
    """Keep the images that show an object of at least one of these categories; () keeps all."""
    min_side_px: int = 0
    """Keep the images whose sides, as the annotation file states them, are at least this."""
    part: CocoPart = "all"
    """Divides by a hash of the file name: "held" is a tenth, "fit" the rest."""

    def __post_init__(self) -> None:
        require_one_of("part", self.part, get_args(CocoPart))

    @property
    def annotation_file(self) -> Path:
        return Path(self.root) / "annotations" / f"instances_{self.split}.json"

    @property
    def images(self) -> Path:
        return Path(self.root) / self.split

    def state(self) -> list[FileState]:
        require_folder(Path(self.root), "a COCO root with annotations/ and image folders")
        if not self.annotation_file.is_file():
            raise FileNotFoundError(
                f"COCO's {self.split} needs {self.annotation_file}, which is missing; "
                "unpack annotations_trainval2017.zip into the root"
            )
        require_folder(self.images, f"the images of COCO's {self.split}")
        return [file_state(self.annotation_file, "annotations"), *scan(self.images)]

    def shown(self) -> dict[str, tuple[str, ...]]:
        """File name → the categories that the image shows, sorted."""
        coco = _open_coco(self.annotation_file)
        names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
        return {
            image["file_name"]: tuple(sorted({names[o["category_id"]] for o in coco.imgToAnns.get(image["id"], [])}))
            for image in coco.loadImgs(coco.getImgIds())
        }

    def entries(self) -> list[Entry]:
        coco = _open_coco(self.annotation_file)
        names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
        super_of = {c["id"]: c.get("supercategory", c["name"]) for c in coco.loadCats(coco.getCatIds())}
        _require_known(self.categories, names.values())
        wanted = {i for i, name in names.items() if name in self.categories}
        chosen = []
        for image in sorted(coco.loadImgs(coco.getImgIds()), key=lambda image: image["file_name"]):
            name, objects = image["file_name"], coco.imgToAnns.get(image["id"], [])
            small = min(image["height"], image["width"]) < self.min_side_px
            if small or (wanted and not wanted.intersection(o["category_id"] for o in objects)):
                continue
            if self.part == "all" or (self.part == "held") == (bucket(name) == 0):
                largest = max(objects, key=lambda o: o["area"], default=None)
                group = "none" if largest is None else super_of[largest["category_id"]]
                chosen.append(Entry(name, group, partial(read_grey, self.images / name)))
        return chosen


def _open_coco(annotation_file: Path):  # pycocotools has no types
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        try:
            coco = COCO(str(annotation_file))
            if not coco.imgs:
                raise KeyError("images")
            return coco
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{annotation_file} is not a COCO instances file ({type(error).__name__}: {error}); download it again"
            ) from error


def _require_known(categories: Iterable[str], known: Iterable[str]) -> None:
    known = sorted(known)
    for category in categories:
        if category not in known:
            near = difflib.get_close_matches(category, known, n=3, cutoff=0.5) or known
            raise ValueError(f"COCO has no category {category!r}; near ones are {', '.join(near)}")
