"""`deepblur restore`: image files in, restored files and what is known of their blur out."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepblur.platform.inference.batch import Item, ending, items_of, kept, key_of, output_folder, run_all, tell
from deepblur.platform.inference.choosing import Choice, choose_engine
from deepblur.platform.inference.engines import Engine
from deepblur.platform.inference.recording import Recording, read_recording, write_recording
from deepblur.platform.inference.restoration import Options, with_room
from deepblur.platform.inference.results import (
    write_gamma,
    write_picture,
    write_psfs,
    write_report,
    write_wavefronts,
)
from deepblur.platform.inference.scale import parse_rule
from deepblur.platform.inference.session import VERSION, Report, Session, with_channels
from deepblur.platform.inference.tiff_ome import other_files
from deepblur.platform.inference.tiles import check_tile


def main(arguments: argparse.Namespace) -> int:
    """The command; its exit code is that of the worst that happened, see `failures`."""
    return ending(lambda: _restore(arguments))


def _restore(arguments: argparse.Namespace) -> int:
    parse_rule(arguments.scale)
    if arguments.tile is not None:
        check_tile(arguments.tile)
    items = items_of(arguments.images)
    with output_folder(arguments.output):
        engine, notes = announced(arguments)
        options = Options(varying=arguments.varying, max_memory_gib=arguments.max_memory, tile_px=arguments.tile)
        done, code = run_all(items, _Job(engine, options, arguments, notes).restore)
    return tell(done, code, arguments.json, _say)


def announced(arguments: argparse.Namespace) -> tuple[Engine, tuple[str, ...]]:
    """The engine that the options name, and what was said about the choice."""
    engine, note = choose_engine(choice_of(arguments))
    if note:
        print(f"note: {note}", file=sys.stderr)
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
        key = key_of(item.path, [*self.parts, *(key_of(path, ()) for path in other_files(item.path))])
        if not self.again and (report := kept(self.folder, item.name, key)) is not None:
            return report | {"status": "kept"}
        recording = with_room(read_recording(item.path), self.engine, self.options.max_memory_gib, self.folder)
        options = with_channels(self.options, recording, self.channels, len(self.engine.of_channels))
        session = Session(
            self.engine, recording, self.scale, options, tick=lambda share: tick(share / recording.length)
        )
        files = {"image": f"{item.name}_restored{item.suffix}"}
        write_recording(self.folder / files["image"], session.frames(), recording)
        report = session.report(self.notes, self.asked)
        files |= self._beside(item, session, report, recording)
        value = {"input": str(item.path), "key": key, "files": files, **report.as_json()}
        write_report(self.folder, item.name, value)
        return value | {"status": "done"}

    def _beside(self, item: Item, session: Session, report: Report, recording: Recording) -> dict[str, str]:
        """Write PSFs, coefficients and pictures; what → file name."""
        files = {"psf": f"{item.name}_psf.tif"}
        write_psfs(self.folder / files["psf"], report.blurs, recording.pixel_um, recording.pixel_height_um)
        if any(blur.noll for blur in report.blurs):
            files |= {"gamma": f"{item.name}_gamma.csv", "wavefront": f"{item.name}_wavefront.tif"}
            write_gamma(self.folder / files["gamma"], report.blurs)
            write_wavefronts(self.folder / files["wavefront"], report.blurs)
        if self.pictures and session.first is not None:
            from deepblur.platform.inference.overview import overview, psf_picture  # a second that --no-pictures saves

            files |= {"overview": f"{item.name}_overview.png", "psf_picture": f"{item.name}_psf.png"}
            write_picture(self.folder / files["overview"], overview(item.path.name, *session.first, report))
            write_picture(self.folder / files["psf_picture"], psf_picture(report))
        return files


def _say(entry: dict[str, Any]) -> None:
    """One line about an image, for people."""
    seconds = "done before" if entry["status"] == "kept" else f"{entry['seconds']:.1f} s"
    print(f"{entry['input']} -> {entry['files']['image']}  [{entry['verdict']}] {entry['sentence']}  ({seconds})")
    for flag in dict.fromkeys(flag for blur in entry["blurs"] for flag in blur["flags"]):
        if flag not in entry["sentence"]:
            print(f"    {flag}")
    tell_remarks(entry)


def tell_remarks(entry: dict[str, Any]) -> None:
    """What was done to frames beside, each in a line; of many the first."""
    for remark in entry["remarks"][:_REMARKS]:
        print(f"    {remark}")
    if (more := len(entry["remarks"]) - _REMARKS) > 0:
        print(f"    … and {more} more of the kind; see the report")


_REMARKS = 10
