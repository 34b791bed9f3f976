"""`deepblur identify`: the PSF and the aberrations of every frame, without restoring: metrology over a time series."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.inference.batch import Item, ending, items_of, output_folder, run_all, tell
from deepblur.platform.inference.blurs import EMPTY, VERDICTS
from deepblur.platform.inference.engines import Engine
from deepblur.platform.inference.recording import read_recording
from deepblur.platform.inference.restoration import Options, with_room
from deepblur.platform.inference.restore_files import announced, asked_for, tell_remarks
from deepblur.platform.inference.results import write_gamma, write_picture, write_psfs, write_report
from deepblur.platform.inference.scale import parse_rule
from deepblur.platform.inference.session import Session, with_channels


def main(arguments: argparse.Namespace) -> int:
    """The command; exit codes as of `deepblur restore`."""
    return ending(lambda: _identify_all(arguments))


def _identify_all(arguments: argparse.Namespace) -> int:
    parse_rule(arguments.scale)
    items = items_of(arguments.images)
    with output_folder(arguments.output):
        engine, notes = announced(arguments)
        done, code = run_all(items, lambda item, tick: _identify(engine, item, arguments, notes, tick))
    return tell(done, code, arguments.json, _say)


def _identify(
    engine: Engine, item: Item, arguments: argparse.Namespace, notes: tuple[str, ...], tick: Callable[[float], None]
) -> dict[str, Any]:
    asked = Options(varying=arguments.varying, max_memory_gib=arguments.max_memory)
    recording = with_room(read_recording(item.path), engine, asked.max_memory_gib, arguments.output)
    options = with_channels(asked, recording, arguments.channels, len(engine.of_channels))
    session = Session(engine, recording, arguments.scale, options)
    for _ in session.identified():
        tick(1 / recording.length)
    report, blurs = session.report(notes, asked_for(arguments)), session.blurs
    folder: Path = arguments.output
    files = {"psf": f"{item.name}_psf.tif"}
    write_psfs(folder / files["psf"], blurs, recording.pixel_um, recording.pixel_height_um)
    if any(blur.noll for blur in blurs):
        files["gamma"] = f"{item.name}_gamma.csv"
        write_gamma(folder / files["gamma"], blurs)
    if not arguments.no_pictures:
        from deepblur.platform.inference.overview import psf_picture, series_picture

        files["psf_picture"] = f"{item.name}_psf.png"
        write_picture(folder / files["psf_picture"], psf_picture(report))
        if recording.length > 1 and blurs[0].noll:
            files["series"] = f"{item.name}_gamma.png"
            write_picture(folder / files["series"], series_picture(item.path.name, report, recording.interval_s))
    value = {"input": str(item.path), "files": files, **report.as_json(), "format": "deepblur-identification"}
    write_report(folder, f"{item.name}_identify", value)
    return value | {"status": "done"}


def _say(entry: dict[str, Any]) -> None:
    """The verdict and a table of the coefficients; of a long series the first frames, and how many are how good."""
    print(f"{entry['input']} -> {entry['files']['psf']}  [{entry['verdict']}] {entry['sentence']}  ({entry['method']})")
    blurs = entry["blurs"]
    for blur in blurs[:_SHOWN]:
        place = ", ".join(part for part in (blur["frame"], blur["channel"]) if part)
        if len(blurs) > 1:
            print(f"    {place:16} [{blur['verdict']}] {blur['sentence']}")
        for mode in blur["gamma"]:
            if mode["waves"] is None:
                continue
            std = "" if mode["std_waves"] is None else f" ± {mode['std_waves']:.3f}"
            print(f"    {place:16} {mode['name']:30} {mode['waves']:+.3f}{std} waves")
        if not blur["gamma"]:
            print(f"    {place:16} PSF only: see {entry['files']['psf']}")
        for flag in blur["flags"]:
            if flag not in entry["sentence"] + blur["sentence"]:
                print(f"    {place:16} {flag}")
    if len(blurs) > _SHOWN:
        seen = [blur["gamma"] for blur in blurs if blur["verdict"] != EMPTY]
        rms = [float(np.sqrt(sum(mode["waves"] ** 2 for mode in modes))) for modes in seen]
        verdicts = [blur["verdict"] for blur in blurs]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in (*VERDICTS, EMPTY) if word in verdicts)
        print(
            f"    … {len(blurs)} blurs in all: {counts}; wavefront rms {min(rms):.3f} to {max(rms):.3f} waves; see the "
            "CSV file"
        )
    tell_remarks(entry)


_SHOWN = 3
