"""`deepblur identify`: the PSF and the aberrations of every frame, without restoring: metrology over a time series."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.system.printable import say
from deepblur.restoration.batch.image_files import ending, key_of, output_folders, run_all, shown, tell
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.batch.outputs import write_gamma, write_picture, write_psfs
from deepblur.restoration.batch.ownership import IDENTIFIED, Item, claimed
from deepblur.restoration.batch.restore import announced, asked_for, tell_remarks
from deepblur.restoration.blurs import EMPTY, VERDICTS
from deepblur.restoration.engines import Engine
from deepblur.restoration.frame import Options, with_room
from deepblur.restoration.images.io import read_recording
from deepblur.restoration.scale import parse_rule
from deepblur.restoration.session import Session, with_channels


def main(arguments: argparse.Namespace) -> int:
    """The command; exit codes as of `deepblur restore`."""
    return ending(lambda: _identify_all(arguments))


def _identify_all(arguments: argparse.Namespace) -> int:
    parse_rule(arguments.scale)
    given = items_of(arguments.images, arguments.output)
    with output_folders(arguments.output, given):
        engine, notes = announced(arguments)
        done, code = run_all(given.items, lambda item, tick: _identify(engine, item, arguments, notes, tick))
    return tell(given, done, code, arguments.json, lambda entry: _show(entry, arguments.output))


def _identify(
    engine: Engine, item: Item, arguments: argparse.Namespace, notes: tuple[str, ...], tick: Callable[[float], None]
) -> dict[str, Any]:
    key, folder = key_of(item.path, [repr(asked_for(arguments))]), arguments.output / item.below
    asked = Options(varying=arguments.varying, max_memory_gib=arguments.max_memory)
    recording = with_room(read_recording(item.path), engine, asked.max_memory_gib, folder)
    options = with_channels(asked, recording, arguments.channels, len(engine.of_channels))
    session = Session(engine, recording, arguments.scale, options)
    for _ in session.identified():
        tick(1 / recording.length)
    report, blurs = session.report(notes, asked_for(arguments)), session.blurs
    with claimed(folder, item, IDENTIFIED, key) as place:
        write_psfs(place.path("psf", "_psf.tif"), blurs, recording.pixel_um, recording.pixel_height_um)
        if any(blur.noll for blur in blurs):
            write_gamma(place.path("gamma", "_gamma.csv"), blurs)
        if not arguments.no_pictures:
            from deepblur.restoration.batch.overview import psf_picture, series_picture

            write_picture(place.path("psf_picture", "_psf.png"), psf_picture(report))
            if recording.length > 1 and blurs[0].noll:
                picture = series_picture(item.path.name, report, recording.interval_s)
                write_picture(place.path("series", "_gamma.png"), picture)
        value = place.finish(report.as_json() | {"format": IDENTIFIED.format})
    return value | {"folder": str(folder), "status": "done"}


def _show(entry: dict[str, Any], output: Path) -> None:
    """The verdict and a table of the coefficients; of a long series the first frames, and how many are how good."""
    psf = shown(entry, "psf", output)
    say(f"{entry['input']} -> {psf}  [{entry['verdict']}] {entry['sentence']}  ({entry['method']})")
    blurs = entry["blurs"]
    for blur in blurs[:_SHOWN]:
        place = ", ".join(part for part in (blur["frame"], blur["channel"]) if part)
        if len(blurs) > 1:
            say(f"    {place:16} [{blur['verdict']}] {blur['sentence']}")
        for mode in blur["gamma"]:
            if mode["waves"] is None:
                continue
            std = "" if mode["std_waves"] is None else f" ± {mode['std_waves']:.3f}"
            say(f"    {place:16} {mode['name']:30} {mode['waves']:+.3f}{std} waves")
        if not blur["gamma"]:
            say(f"    {place:16} PSF only: see {psf}")
        for flag in blur["flags"]:
            if flag not in entry["sentence"] + blur["sentence"]:
                say(f"    {place:16} {flag}")
    if len(blurs) > _SHOWN:
        seen = [blur["gamma"] for blur in blurs if blur["verdict"] != EMPTY]
        rms = [float(np.sqrt(sum(mode["waves"] ** 2 for mode in modes))) for modes in seen]
        verdicts = [blur["verdict"] for blur in blurs]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in (*VERDICTS, EMPTY) if word in verdicts)
        say(
            f"    … {len(blurs)} blurs in all: {counts}; wavefront rms {min(rms):.3f} to {max(rms):.3f} waves; see the "
            "CSV file"
        )
    tell_remarks(entry)


_SHOWN = 3
