"""`deepblur calibrate`; see `deepblur.restoration.batch.calibrate`."""

import argparse
import json
from pathlib import Path
from typing import Any

from deepblur.platform.system.errors import OK
from deepblur.platform.system.imports import unobserved
from deepblur.platform.system.printable import say
from deepblur.restoration.commands.outcome import called, ending, say_left_out

HELP = "measure the optics of a microscope from stacks of bead images"
_MORE = """\
Each STACK is a TIFF z-stack of small fluorescent beads, scattered over the whole field; stacks of several slides, days
and depths make the calibration hold for all of them. What comes out describes the blur of this microscope, all over
its field, with I·J numbers: I eigen-PSFs and J spatial maps.

what is written beside MODEL.safetensors:
  MODEL_optics.png         the eigen-PSFs and the spatial maps, and how much they explain
  MODEL_field.png          the PSF at 7 x 7 places of the field, in the sharpest state
  MODEL_beads_STACK.png    which beads were kept, and why the others were not
  MODEL_report.json        all of it in numbers

examples:
  deepblur calibrate beads/*.tif -o scope.safetensors
  deepblur calibrate beads/*.tif -o scope.safetensors --bead-um 0.17 --z-range 0.4
  deepblur calibrate beads/*.tif -o scope.safetensors --eigen-psfs 4 --space-maps 4"""


def configure(command: argparse.ArgumentParser) -> None:
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = _MORE
    add = command.add_argument
    add("stacks", type=Path, nargs="+", metavar="STACK", help="a TIFF file with the axes Z, Y, X")
    add("-o", "--output", type=Path, required=True, metavar="MODEL", help="the file to write, NAME.safetensors")
    add("--eigen-psfs", type=int, metavar="I", help="number of eigen-PSFs (default: by --explained, at most 8)")
    add("--space-maps", type=int, metavar="J", help="number of spatial maps (default: by --explained, at most 8)")
    add("--explained", type=float, default=0.99, metavar="F",
        help="fraction of the energy, noise apart, that they must explain (default: 0.99)")  # fmt: skip
    add("--psf-size", type=int, default=31, metavar="PX", help="side of the PSFs, odd (default: 31)")
    add("--z-range", dest="z_range_um", type=float, metavar="UM",
        help="only planes this far from the focus (default: all)")  # fmt: skip
    add("--bead-um", type=float, metavar="UM", help="diameter of the beads, to be deconvolved (default: points)")
    add("--field", dest="field_model", choices=("spline", "plane", "quadratic", "cubic"), default="spline",
        help="interpolation over the field (default: spline, smoothed by cross-validation)")  # fmt: skip
    add("--brightness", choices=("bead", "stack"), default="bead",
        help="bead: beads differ in brightness, only the PSF's shape counts; stack: they are alike, so that the maps "
        "show vignetting (default: bead)")  # fmt: skip
    add("--min-snr", type=float, default=20.0, metavar="R", help="least peak of a bead over the noise (default: 20)")
    add("--likeness", type=float, default=0.6, metavar="R",
        help="least correlation of a bead with the median bead (default: 0.6)")  # fmt: skip
    add("--ceiling", type=float, metavar="COUNTS", help="where the camera clips (default: what the file says)")
    add("--pixel-um", type=float, metavar="UM", help="pixel in the sample (default: what the files say)")
    add("--z-um", type=float, metavar="UM", help="distance of the planes (default: what the files say)")
    add("--no-pictures", dest="pictures", action="store_false", help="no PNG files")
    add("--json", action="store_true", help="the report as JSON on standard output")


@ending
def run(arguments: argparse.Namespace) -> int:
    with unobserved():
        from deepblur.platform.optics.beads import Finding
        from deepblur.platform.optics.measure import Settings
        from deepblur.restoration.batch.calibrate import calibrate_files

    settings = called(Settings, arguments, finding=called(Finding, arguments))
    report = called(calibrate_files, arguments, settings=settings)
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)
        say_left_out(report["left_out"])
    return OK


def _show(report: dict[str, Any]) -> None:
    for name, counts in report["beads"].items():
        lost = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n and reason != "kept")
        say(f"{name}: {counts['kept']} beads kept" + (f"; rejected: {lost}" if lost else ""))
    psfs, maps = report["eigen_psfs"], report["space_maps"]
    say(
        f"{report['states']} states; {psfs} eigen-PSFs explain {100 * report['explained_psfs'][psfs - 1]:.1f} % of the "
        f"PSFs, {maps} spatial maps {100 * report['explained_maps'][maps - 1]:.1f} % of their change over the field: "
        f"K = {psfs * maps}"
    )
    held = report["held_out"]
    if held:
        say(
            f"{held['beads']} beads that were left out are predicted to {held['snr_db']:.1f} dB "
            f"(their noise alone allows {held['snr_of_noise_alone_db']:.1f} dB)"
        )
    for note in report["notes"]:
        say(f"note: {note}")
    say(f"-> {report['files']['optics']}, and pictures beside it")
