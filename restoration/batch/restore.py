"""`deepblur restore`: image files in, restored files and what is known of their blur out."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepblur.platform.system.errors import ModelError
from deepblur.platform.system.printable import say
from deepblur.restoration.batch.image_files import check_given, ending, key_of, output_folders, run_all, shown, tell
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.batch.outputs import (
    write_gamma,
    write_picture,
    write_psfs,
    write_wavefronts,
)
from deepblur.restoration.batch.ownership import RESTORED, Item, Place, claimed, kept
from deepblur.restoration.engine_choice import Choice, choose_engine
from deepblur.restoration.engines import Engine
from deepblur.restoration.frame import Options, with_room
from deepblur.restoration.images.io import read_recording, write_recording
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.images.tiff_ome import other_files
from deepblur.restoration.scale import parse_rule
from deepblur.restoration.session import VERSION, Report, Session, with_channels
from deepblur.restoration.tiles import check_tile


def main(arguments: argparse.Namespace) -> int:
    """The command; its exit code is that of the worst that happened, see `failures`."""
    return ending(lambda: _restore(arguments))


def _restore(arguments: argparse.Namespace) -> int:
    parse_rule(arguments.scale)
    if arguments.tile is not None:
        check_tile(arguments.tile)
    given = items_of(arguments.images, arguments.output)
    with output_folders(arguments.output, given):
        engine, notes = announced(arguments)
        options = Options(varying=arguments.varying, max_memory_gib=arguments.max_memory, tile_px=arguments.tile)
        done, code = run_all(given.items, _Job(engine, options, arguments, notes).restore)
    return tell(given, done, code, arguments.json, lambda entry: _show(entry, arguments.output))


def announced(arguments: argparse.Namespace) -> tuple[Engine, tuple[str, ...]]:
    """The engine that the options name, and what was said about the choice."""
    try:
        engine, note = choose_engine(choice_of(arguments))
    except PermissionError as error:
        name = error.filename or arguments.model
        raise ModelError(f"{name}: may not be read; ask its owner for permission") from None
    if note:
        say(f"note: {note}", sys.stderr)
    return engine, (note,) if note else ()


def choice_of(arguments: argparse.Namespace) -> Choice:
    """Which engine the options name."""
    return Choice(
        method=arguments.method,
        model=arguments.model,
        restorer=getattr(arguments, "restorer", "auto"),
        optics=arguments.optics,
        tracking_uri=arguments.tracking_uri,
        device=arguments.device,
        psf_size=arguments.psf_size,
        eta_waves=arguments.eta,
        cutoff=arguments.cutoff,
    )


def asked_for(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of a command that decide about its results, as plain values."""
    names = ("method", "model", "optics", "restorer", "cutoff", "eta", "psf_size", "scale", "channels", "varying",
             "tile", "max_memory", "device")  # fmt: skip
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


class _Job:
    """What is the same for all images of a command."""

    def __init__(self, engine: Engine, options: Options, arguments: argparse.Namespace, notes: tuple[str, ...]):
        self.engine, self.options, self.notes = engine, options, notes
        self.folder: Path = arguments.output
        self.scale, self.channels = arguments.scale, arguments.channels
        self.pictures, self.again = not arguments.no_pictures, arguments.again
        asked = {**asdict(options), "max_memory_gib": None}
        made_by = repr(engine.described())
        self.parts = [engine.fingerprint(), made_by, repr(asked), self.scale, self.channels, str(self.pictures)]
        self.parts.append(f"report version {VERSION}")
        self.asked = asked_for(arguments)

    def restore(self, item: Item, tick: Callable[[float], None]) -> dict[str, Any]:
        check_given(item.path)
        key = key_of(item.path, [*self.parts, *(key_of(path, ()) for path in other_files(item.path))])
        folder = self.folder / item.below
        about = {"input": str(item.path), "folder": str(folder)}
        if not self.again and (report := kept(folder, item, RESTORED, key)) is not None:
            return report | about | {"status": "kept"}
        recording = with_room(read_recording(item.path), self.engine, self.options.max_memory_gib, folder)
        options = with_channels(self.options, recording, self.channels, len(self.engine.of_channels))
        session = Session(
            self.engine, recording, self.scale, options, tick=lambda share: tick(share / recording.length)
        )
        image = f"_restored{item.suffix}"
        with claimed(folder, item, RESTORED, key, (image,)) as place:
            write_recording(place.path("image", image), session.frames(), recording)
            report = session.report(self.notes, self.asked)
            self._beside(place, session, report, recording)
            value = place.finish(report.as_json())
        return value | about | {"status": "done"}

    def _beside(self, place: Place, session: Session, report: Report, recording: Recording) -> None:
        """Write PSFs, coefficients and pictures."""
        write_psfs(place.path("psf", "_psf.tif"), report.blurs, recording.pixel_um, recording.pixel_height_um)
        if any(blur.noll for blur in report.blurs):
            write_gamma(place.path("gamma", "_gamma.csv"), report.blurs)
            write_wavefronts(place.path("wavefront", "_wavefront.tif"), report.blurs)
        if self.pictures and session.first is not None:
            from deepblur.restoration.batch.overview import overview, psf_picture  # a second that --no-pictures saves

            picture = overview(place.item.path.name, *session.first, report)
            write_picture(place.path("overview", "_overview.png"), picture)
            write_picture(place.path("psf_picture", "_psf.png"), psf_picture(report))


def _show(entry: dict[str, Any], output: Path) -> None:
    """One line about an image, for people."""
    seconds = "done before" if entry["status"] == "kept" else f"{entry['seconds']:.1f} s"
    image = shown(entry, "image", output)
    say(f"{entry['input']} -> {image}  [{entry['verdict']}] {entry['sentence']}  ({seconds})")
    for flag in dict.fromkeys(flag for blur in entry["blurs"] for flag in blur["flags"]):
        if flag not in entry["sentence"]:
            say(f"    {flag}")
    tell_remarks(entry)


def tell_remarks(entry: dict[str, Any]) -> None:
    """What was done to frames beside, each in a line; of many the first."""
    for remark in entry["remarks"][:_REMARKS]:
        say(f"    {remark}")
    if (more := len(entry["remarks"]) - _REMARKS) > 0:
        say(f"    … and {more} more of the kind; see the report")


_REMARKS = 10
