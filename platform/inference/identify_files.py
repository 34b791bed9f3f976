"""`deepblur identify`: the PSF and the aberrations of every frame, without restoring: metrology over a time series."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.inference.batch import Item, ending, items_of, output_folder, run_all, tell
from deepblur.platform.inference.engines import Engine
from deepblur.platform.inference.recording import read_recording
from deepblur.platform.inference.restoration import Blur, Options, identify_frame
from deepblur.platform.inference.restore_files import announced
from deepblur.platform.inference.results import write_gamma, write_picture, write_psfs, write_report
from deepblur.platform.inference.scale import parse_rule, scale_of
from deepblur.platform.inference.session import with_channels


def main(arguments: argparse.Namespace) -> int:
    """The command; exit codes as of `deepblur restore`."""
    return ending(lambda: _identify_all(arguments))


def _identify_all(arguments: argparse.Namespace) -> int:
    parse_rule(arguments.scale)
    items = items_of(arguments.images)
    with output_folder(arguments.output):
        engine, _ = announced(arguments)
        done, code = run_all(items, lambda item, tick: _identify(engine, item, arguments, tick))
    return tell(done, code, arguments.json, _say)


def _identify(
    engine: Engine, item: Item, arguments: argparse.Namespace, tick: Callable[[float], None]
) -> dict[str, Any]:
    recording = read_recording(item.path)
    options = with_channels(Options(varying=arguments.varying), recording, arguments.channels)
    scale = scale_of(recording, arguments.scale)
    engine.check(recording.size, recording.pixel_um)
    blurs: list[Blur] = []
    for i, label in enumerate(recording.labels):
        unit = scale.to_unit(recording.frame(i))
        blurs += identify_frame(engine, unit, options, label=label, saturated=scale.saturated)
        tick(1 / recording.length)
    folder: Path = arguments.output
    files = {"psf": f"{item.name}_psf.tif"}
    write_psfs(folder / files["psf"], blurs, recording.pixel_um)
    if any(blur.noll for blur in blurs):
        files["gamma"] = f"{item.name}_gamma.csv"
        write_gamma(folder / files["gamma"], blurs)
    if not arguments.no_pictures:
        from deepblur.platform.inference.overview import psf_picture, series_picture

        files["psf_picture"] = f"{item.name}_psf.png"
        write_picture(folder / files["psf_picture"], psf_picture(blurs[0]))
        if recording.length > 1 and blurs[0].noll:
            files["series"] = f"{item.name}_gamma.png"
            write_picture(folder / files["series"], series_picture(item.path.name, blurs, recording.interval_s))
    value = {
        "format": "deepblur-identification",
        "version": 1,
        "input": str(item.path),
        "files": files,
        "method": engine.name,
        "blurs": [blur.as_json() for blur in blurs],
    }
    write_report(folder, f"{item.name}_identify", value)
    return value | {"status": "done"}


def _say(entry: dict[str, Any]) -> None:
    """A table of the coefficients, in thousandths of a wave; the first frames of a long series."""
    print(f"{entry['input']}  ({entry['method']})")
    blurs = entry["blurs"]
    for blur in blurs[:_SHOWN]:
        place = ", ".join(part for part in (blur["frame"], blur["channel"]) if part)
        for mode in blur["gamma"]:
            std = "" if mode["std_waves"] is None else f" ± {mode['std_waves']:.3f}"
            print(f"    {place:16} {mode['name']:30} {mode['waves']:+.3f}{std} waves")
        if not blur["gamma"]:
            print(f"    {place:16} PSF only: see {entry['files']['psf']}")
        for flag in blur["flags"]:
            print(f"    {place:16} {flag}")
    if len(blurs) > _SHOWN:
        rms = [float(np.sqrt(sum(mode["waves"] ** 2 for mode in blur["gamma"]))) for blur in blurs]
        print(
            f"    … {len(blurs)} blurs in all, wavefront rms {min(rms):.3f} to {max(rms):.3f} waves; see the CSV file"
        )


_SHOWN = 3
