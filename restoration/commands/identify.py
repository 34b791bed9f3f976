"""`deepblur identify`; see `deepblur.restoration.batch.identify`."""

import argparse
import math
from pathlib import Path
from typing import Any

from deepblur.platform.system.imports import unobserved
from deepblur.platform.system.printable import say
from deepblur.restoration.commands import restore
from deepblur.restoration.commands.outcome import called, ending, file_of, say_optics, say_remarks, say_results
from deepblur.restoration.options import EngineChoice, Options

HELP = "measure the blur of images, or of every frame of a time series: PSF and aberrations"
_MORE = """\
what is written for an image NAME, in the folder OUT:
  NAME_gamma.csv             Zernike coefficients in waves with their uncertainty, a line per frame, channel and mode
  NAME_gamma.png             the same over the frames of a series
  NAME_psf.tif, .png         the PSFs, a page per frame and channel
  NAME_identify_report.json  all of it

examples:
  deepblur identify timelapse.tif -o psf
  deepblur identify field.tif -o psf --varying          the PSF all over the field of view"""
_SHOWN = 3
"""Blurs in the table."""


def configure(command: argparse.ArgumentParser) -> None:
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = _MORE
    restore.images(command)
    add = command.add_argument
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results, made if it is missing")
    restore.engine(command)
    add("--varying", action="store_true", help="the blur changes over the field: identify tile by tile")
    restore.parts(command)
    restore.intensities(command)
    restore.memory(command)
    add("--no-pictures", dest="pictures", action="store_false", help="no PNG files")
    add("--json", action="store_true", help="the findings as JSON on standard output")


@ending
def run(arguments: argparse.Namespace) -> int:
    with unobserved():
        from deepblur.restoration.batch.identify import identify_files

    engine, options = called(EngineChoice, arguments), called(Options, arguments)
    results = called(identify_files, arguments, engine=engine, options=options)
    return say_results(results, arguments.json, lambda entry: _show(entry, arguments.output))


def _show(entry: dict[str, Any], output: Path) -> None:
    """The verdict and a table of the coefficients; of a long series the first frames, and how many are how good."""
    from deepblur.restoration.blurs import EMPTY, VERDICTS

    psf = file_of(entry, "psf", output)
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
        rms = [math.hypot(*(mode["waves"] for mode in modes)) for modes in seen]
        verdicts = [blur["verdict"] for blur in blurs]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in (*VERDICTS, EMPTY) if word in verdicts)
        say(
            f"    … {len(blurs)} blurs in all: {counts}; wavefront rms {min(rms):.3f} to {max(rms):.3f} waves; see the "
            "CSV file"
        )
    say_optics(entry)
    say_remarks(entry)
