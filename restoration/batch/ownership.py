"""Whose a result is: a name in an output folder belongs to one image, and what is of other origin is never replaced.

What a command made is known by the report beside it, which names the image, the files, and the hash of each as it was
written. While an image is at work, and after a command that was killed, a hidden claim stands in the report's place.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from deepblur.platform.system.errors import OutputError
from deepblur.platform.system.printable import json_text
from deepblur.platform.system.whole_files import remove
from deepblur.restoration.batch.outputs import write_bytes
from deepblur.restoration.formats.files import content_hash
from deepblur.restoration.formats.kinds import kind_of

_LARGEST_REPORT = 2**28


@dataclass(frozen=True)
class Item:
    """One image file, and the name that its results begin with."""

    path: Path
    name: str
    below: Path = Path()
    """Its results' folder, below that of the output."""
    position: int | None = None
    """Which of the images in the file it is; None where there is but one."""

    @property
    def suffix(self) -> str:
        """What follows the stem: ".ome.tif" is one suffix."""
        return self.path.name[len(stem_of(self.path)) :]

    @property
    def source(self) -> str:
        """The file itself, however it was named: absolute, without links in its folders; and which image of it."""
        file = os.path.join(os.path.realpath(self.path.parent), self.path.name)
        return file if self.position is None else f"{file}#{self.position}"


def stem_of(path: Path) -> str:
    """A file's name without its suffix, of which ".ome.tif" and ".ome.zarr" are one."""
    return path.stem.removesuffix(".ome") if path.suffix.lower() in (".tif", ".tiff", ".zarr") else path.stem


@dataclass(frozen=True)
class Kind:
    """What a command writes for an image: its report, by its format, and other files, by how their names end."""

    format: str
    report: str
    endings: tuple[str, ...]
    images: tuple[str, ...] = ()
    """Of its files, by what they are, those that are images like any other."""
    named: bool = False
    """The user names the file: no other name will do, and any report of this kind is of the same thing."""


RESTORED = Kind(
    "deepblur-report",
    "_report.json",
    ("_psf.tif", "_gamma.csv", "_wavefront.tif", "_overview.png", "_psf.png"),
)
IDENTIFIED = Kind(
    "deepblur-identification", "_identify_report.json", ("_psf.tif", "_gamma.csv", "_psf.png", "_gamma.png")
)
SIMULATED = Kind(
    "deepblur-truth", "_truth.json", ("_blurry.tif", "_sharp.tif", "_true_psf.tif"), images=("blurry", "sharp")
)
CALIBRATED = Kind("deepblur-calibration", "_report.json", (".safetensors", "_optics.png", "_field.png"), named=True)
COMPUTED = Kind("deepblur-psf", "_report.json", (".tif", ".png"), named=True)
_KINDS = (RESTORED, IDENTIFIED, SIMULATED, CALIBRATED, COMPUTED)
_CLAIM = "deepblur-claim"


@dataclass
class Place:
    """The name in a folder that an image has for itself, and what was written under it."""

    folder: Path
    name: str
    kind: Kind
    item: Item
    key: str
    planned: tuple[str, ...]
    """Names of all files that may be written."""
    owned: dict[str, str] = field(default_factory=dict)
    """File → hash ("" where nobody knows it) of what earlier commands made for the same image."""
    files: dict[str, str] = field(default_factory=dict)
    """What → file name."""
    fresh: bool = True
    """Nothing lay under the name when it was first claimed for this image: what is there now is unfinished."""
    inherited: bool = False
    """The claim is that of a process that was killed."""

    def path(self, what: str, ending: str) -> Path:
        """Where a file is to be written."""
        self.files[what] = f"{self.name}{ending}"
        return self.folder / self.files[what]

    def finish(self, report: dict[str, Any], head: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the report, the last of the files, and remove what earlier commands made and this one did not.

        Args:
            report: what was found; its `format` is the kind's.
            head: what stands before it.
        """
        hashes = {file: content_hash(self.folder / file).hexdigest() for file in self.files.values()}
        about = {"input": str(self.item.path), "source": self.item.source, "key": self.key}
        value = (head or {}) | about | {"files": self.files, "hashes": hashes} | report
        write_bytes(self.folder / f"{self.name}{self.kind.report}", json_text(value).encode() + b"\n")
        for file in self.owned.keys() - set(self.files.values()):
            remove(self.folder / file)
        return value


def kept(folder: Path, item: Item, kind: Kind, key: str) -> dict[str, Any] | None:
    """The report of an image that is done already, with all its files; None where it is not."""
    for name in _names(item.name):
        report = _read(folder / f"{name}{kind.report}")
        if report is None or os.path.lexists(folder / _claim_of(name)):
            return None
        if report.get("format") == kind.format and report.get("key") == key:
            files = report.get("files")
            complete = isinstance(files, dict) and all(_is_whole(folder / str(file)) for file in files.values())
            return report if complete else None
    return None


@contextmanager
def claimed(folder: Path, item: Item, kind: Kind, key: str, endings: Sequence[str] = ()) -> Iterator[Place]:
    """A name for the results of an image under which nothing lies that was not made for it; NAME, else NAME-2, ….

    A block that fails leaves nothing new; where it was about to replace earlier results, the claim stays, so that the
    mixture counts as unfinished.

    Args:
        endings: of further files, beside those of the kind.

    Raises:
        OutputError: the folder cannot be written to, or the name that the user chose is taken.
    """
    names = [item.name] if kind.named else _names(item.name)
    place = next((found for name in names if (found := _take(folder, name, item, kind, key, endings))), None)
    if place is None:
        raise OutputError(
            f"{folder / item.name}{kind.endings[0]}: a file of this name, or of one beside it, was not made by this "
            "command; choose another name"
        )
    claim, before = folder / _claim_of(place.name), _states(place)
    try:
        yield place
    except BaseException:
        for file in place.planned if place.fresh else ():
            remove(folder / file)
        if place.fresh or (not place.inherited and _states(place) == before):
            claim.unlink(missing_ok=True)
        raise
    claim.unlink(missing_ok=True)


def abandon(folder: Path, item: Item, kind: Kind, endings: Sequence[str] = ()) -> None:
    """Take away what a killed process left unfinished of an image; earlier results that it began to replace stay
    claimed, as they would after a killed command."""
    with suppress(_AbandonedError, OutputError), claimed(folder, item, kind, "", endings):
        raise _AbandonedError


class _AbandonedError(Exception):
    pass


def results_in(folder: Path) -> set[str]:
    """Names of the files in a folder that reports and claims there call results of ours, and of those themselves."""
    found: set[str] = set()
    for path in folder.iterdir():
        kinds = [kind for kind in _KINDS if path.name.endswith(kind.report)]
        if kinds and (report := _read(path)) is not None:
            for kind in kinds:
                if report.get("format") == kind.format:
                    found |= {path.name, *_named(report, path.name.removesuffix(kind.report), kind)}
        elif path.name.endswith(".claim") and (claim := _read(path)) is not None and claim.get("format") == _CLAIM:
            found |= set(_listed(claim)) if path.name == _claim_of(str(claim.get("name"))) else set()
    return found


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{n}" for n in count(2))


def _take(folder: Path, name: str, item: Item, kind: Kind, key: str, endings: Sequence[str]) -> Place | None:
    """The place of that name, claimed; None where it is another's."""
    files = [f"{name}{ending}" for ending in (*endings, *kind.endings)]
    claim = folder / _claim_of(name)
    fresh = not any(os.path.lexists(folder / file) for file in files)
    value = {"format": _CLAIM, "kind": kind.format, "name": name, "source": item.source, "files": files, "fresh": fresh}
    try:
        with open(claim, "x", encoding="utf-8") as file:
            file.write(json_text(value))
        made = True
    except FileExistsError:
        made = False
    except OSError as error:
        raise OutputError(
            f"{folder / name}: could not be written ({error.strerror}); choose a shorter name or another folder with -o"
        ) from None
    place = Place(folder, name, kind, item, key, tuple(files))
    earlier = None if made else _read(claim)
    mine = made or (earlier is not None and earlier.get("source") == item.source and earlier.get("kind") == kind.format)
    report_file = folder / f"{name}{kind.report}"
    report = _read(report_file)
    if report is not None and report.get("format") == kind.format and (kind.named or _is_of(report, item, key)):
        place.owned = _hashes(report, files)
    elif os.path.lexists(report_file):
        mine = False
    place.fresh, place.inherited = fresh, not made
    if not made and mine:
        place.fresh = earlier is not None and earlier.get("fresh") is True
        place.owned = {file: "" for file in files if os.path.lexists(folder / file)} or {"": ""}
    if mine and all(_may_replace(folder / file, place.owned.get(file)) for file in files):
        place.owned.pop("", None)
        return place
    if made:
        claim.unlink(missing_ok=True)
    return None


def _states(place: Place) -> list[tuple[str, int, int]]:
    """What tells whether a file was replaced."""
    there = (file for file in place.planned if os.path.lexists(place.folder / file))
    return [(file, (found := os.lstat(place.folder / file)).st_ino, found.st_mtime_ns) for file in there]


def _may_replace(path: Path, known: str | None) -> bool:
    """Whether nothing is there, or what we made: by its hash where it is known."""
    if not os.path.lexists(path):
        return True
    if known is None or path.is_symlink() or not _is_whole(path):
        return False
    return not known or content_hash(path).hexdigest() == known


def _is_whole(path: Path) -> bool:
    """Whether it is a file, or a folder that is one image."""
    return path.is_file() or bool(kind_of(path))


def _is_of(report: dict[str, Any], item: Item, key: str) -> bool:
    """Whether a report is of this image: by its place, or by its content and all options."""
    typed = report.get("input", report.get("image"))  # of an earlier version, which says nothing else
    source = report.get("source", os.path.realpath(str(typed)))
    return source == item.source or report.get("key") == key


def _hashes(report: dict[str, Any], files: Sequence[str]) -> dict[str, str]:
    known = report.get("hashes")
    known = known if isinstance(known, dict) else {}
    return {file: str(known.get(file, "")) for file in _listed(report) if file in files}


def _named(report: dict[str, Any], name: str, kind: Kind) -> set[str]:
    """The files that a report may speak for: those that bear its name, without images that were asked for."""
    files = report.get("files")
    pairs = files.items() if isinstance(files, dict) else ()
    return {str(file) for what, file in pairs if str(file).startswith(name) and what not in kind.images}


def _listed(record: dict[str, Any]) -> list[str]:
    files = record.get("files")
    return [str(file) for file in (files.values() if isinstance(files, dict) else files or ())]


def _claim_of(name: str) -> str:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f".deepblur-{digest}.claim"


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a plain file; None for anything else. Nothing is followed or waited for."""
    with suppress(OSError, ValueError, RecursionError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST_REPORT:
                value = json.loads(file.read())
                return value if isinstance(value, dict) else None
    return None
