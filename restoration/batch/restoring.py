"""What a batch does with each image, in plain values, and how: any process can do it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.system.imports import unobserved
from deepblur.platform.system.whole_files import remove
from deepblur.restoration.batch.image_files import chosen_engine, key_of
from deepblur.restoration.batch.outputs import (
    write_gamma,
    write_picture,
    write_plain,
    write_psfs,
    write_wavefronts,
)
from deepblur.restoration.batch.ownership import RESTORED, Item, Place, abandon, claimed, kept
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.formats.files import open_image, result_suffix, write_image
from deepblur.restoration.images.tiff_ome import other_files
from deepblur.restoration.memory import share_of
from deepblur.restoration.options import EngineChoice, Options, asked
from deepblur.restoration.pixels.masks import mask_of
from deepblur.restoration.report import VERSION, Report
from deepblur.restoration.session import Part, Session


@dataclass(frozen=True)
class Restoring:
    """What is to be done with each image of a batch, in plain values: any process can do it."""

    output: Path
    engine: EngineChoice
    options: Options
    pictures: bool
    again: bool
    notes: tuple[str, ...]
    """What was said about the choice of the engine."""
    wanted: dict[str, Any]
    """What the user asked for, for the report."""
    described: dict[str, Any]
    """The engine that was chosen; another process that finds another one does nothing."""

    @classmethod
    def of(
        cls, output: Path, engine: EngineChoice, options: Options, *, pictures: bool, again: bool
    ) -> "tuple[Restoring, Engine]":
        """With the engine, which is chosen now.

        Raises:
            InputError, ModelError: it cannot be had; the mask is none.
        """
        wanted, options = asked(engine, options), replace(options, mask=mask_of(options.mask))
        made, notes = chosen_engine(engine)
        return cls(output, engine, options, pictures, again, notes, wanted, made.described()), made

    def kept(self, item: Item) -> dict[str, Any] | None:
        """The report of an image that is done already.

        Raises:
            InputError: there is no such file, or it cannot be read.
        """
        item = self._named(item)
        key = self._key(item)  # which refuses what is no file, before anything else opens it
        report = None if self.again else kept(self.output / item.below, item, RESTORED, key)
        return None if report is None else report | self._about(item) | {"status": "kept"}

    def part(self, made: Engine, item: Item, frames: range) -> Part:
        """Restore some frames of an image, for `restored` to write; till then they lie in the folder of its results."""
        folder = self.output / item.below
        session = Session.of(made, self.engine, open_image(item.path, item.position), self.options, folder)
        return session.part(frames, folder / part_name(item, frames.start))

    def restored(
        self, made: Engine, item: Item, tick: Callable[[float], None], parts: Sequence[Part] = ()
    ) -> dict[str, Any]:
        """Restore an image, and write all that belongs to it; its report.

        Args:
            tick: called with the share of the image that was just done.
            parts: in which others have restored it already, which then are removed.
        """
        item, options = self._named(item), self.options
        folder, key = self.output / item.below, self._key(item)
        recording = open_image(item.path, item.position)

        def done(share: float) -> None:
            tick(share / recording.length)

        session = Session.of(made, self.engine, recording, options, folder, done)
        frames = session.joined(parts) if parts else session.frames()
        with claimed(folder, item, RESTORED, key, (self._image(item),)) as place:
            if options.crop:
                write_plain(place.path("image", self._image(item)), np.stack(list(frames)), recording)
            else:
                write_image(place.path("image", self._image(item)), frames, session.recording, item.position)
            value = _write(place, session, session.report(self.notes, self.wanted), self.pictures)
        for part in parts:
            remove(part.file)
        return value | self._about(item) | {"status": "done"}

    def abandon(self, item: Item) -> None:
        """Take away what a process that was killed left unfinished."""
        for file in (self.output / item.below).glob(f"{escape(part_name(item))}*.part"):
            remove(file)
        item = self._named(item)
        abandon(self.output / item.below, item, RESTORED, (self._image(item),))

    def in_share(self, workers: int) -> "Restoring":
        """The same for one of several processes that share the memory."""
        return replace(self, options=share_of(self.options, workers))

    def _named(self, item: Item) -> Item:
        """No trial replaces a result."""
        return replace(item, name=f"{item.name}_region") if self.options.crop else item

    def _image(self, item: Item) -> str:
        return "_restored.tif" if self.options.crop else f"_restored{result_suffix(item.path, item.suffix)}"

    def _about(self, item: Item) -> dict[str, Any]:
        position = {} if item.position is None else {"position": item.position}
        return {"input": str(item.path), "folder": str(self.output / item.below), **position}

    def _key(self, item: Item) -> str:
        """What the results depend on."""
        mask = mask_of(self.options.mask)
        # how much memory there is decides nothing; of a mask the pixels count
        same = replace(self.options, max_memory_gib=Options.max_memory_gib, mask=None)
        parts = (
            repr(self.described),
            repr(self.engine.said),
            self.engine.restorer,  # auto may take another one for an image than the engine's
            repr(same),
            str(self.pictures),
            "" if mask is None else mask.digest,
            f"report version {VERSION}",
        )
        own = key_of(item.path, parts if item.position is None else (*parts, f"position {item.position}"))
        return " ".join([own, *(key_of(path, ()) for path in other_files(item.path))])


def part_name(item: Item, first: int | None = None) -> str:
    """Of the file with the frames from the `first` on; what all of an image begin with, without. Its end has them taken
    away where nobody does that any more, by `output_folder`."""
    digest = hashlib.blake2b(item.source.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f".deepblur-frames-{digest}-" + ("" if first is None else f"{first}.part")


def _write(place: Place, session: Session, report: Report, pictures: bool) -> dict[str, Any]:
    """PSFs, coefficients, pictures and the report, which is returned."""
    recording = session.recording
    write_psfs(place.path("psf", "_psf.tif"), report.blurs, recording.pixel_um, recording.pixel_height_um)
    if any(blur.noll for blur in report.blurs):
        write_gamma(place.path("gamma", "_gamma.csv"), report.blurs)
        write_wavefronts(place.path("wavefront", "_wavefront.tif"), report.blurs)
    if pictures and session.first is not None:
        with unobserved():
            from deepblur.restoration.overview import overview, psf_picture  # half a second that --no-pictures saves

        picture = overview(place.item.path.name, *session.first, report)
        write_picture(place.path("overview", "_overview.png"), picture)
        write_picture(place.path("psf_picture", "_psf.png"), psf_picture(report))
    return place.finish(report.as_json())
