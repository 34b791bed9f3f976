"""`deepblur psf`; see `deepblur.restoration.batch.psf`."""

import argparse
import json
from pathlib import Path

from deepblur.platform.system.errors import OK
from deepblur.platform.system.imports import unobserved
from deepblur.platform.system.printable import say
from deepblur.restoration.commands import restore
from deepblur.restoration.commands.outcome import called, ending

HELP = "compute the PSF of a lens, for restore --psf"
_MORE = """\
what is written beside NAME.tif, which is 32-bit and sums to 1:
  NAME.png          the PSF, the wavefront and the aberrations
  NAME_report.json  what it was computed for, the light outside of it, the Strehl ratio

examples:
  deepblur psf --cutoff 0.2 -o ideal.tif
  deepblur psf --na 1.4 --wavelength-nm 520 --pixel-nm 65 -o ideal.tif
  deepblur psf --cutoff 0.15 --noll 4 11 --gamma 0.05 0.12 -o spherical.tif
  deepblur restore cells.tif -o restored --psf spherical.tif"""


def configure(command: argparse.ArgumentParser) -> None:
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = _MORE
    add = command.add_argument
    add("-o", "--output", type=Path, required=True, metavar="NAME.tif", help="the file to write")
    add("--cutoff", type=float, metavar="F",
        help="pupil radius NA / wavelength * pixel size, in cycles per pixel, at most 0.5")  # fmt: skip
    restore.lens(command)
    add("--noll", type=int, nargs="+", default=[4, 5, 6, 7, 8, 9, 10], metavar="N",
        help="Noll indices of the Zernike modes (default: 4 to 10)")  # fmt: skip
    add("--gamma", type=float, nargs="+", metavar="WAVES",
        help="coefficient of each mode, in waves (default: no aberrations)")  # fmt: skip
    add("--psf-size", type=int, metavar="PX", help="side of the PSF, odd (default: 6 / cutoff, 31 at 0.2)")
    add("--no-pictures", dest="pictures", action="store_false", help="no PNG file")
    add("--json", action="store_true", help="the report as JSON on standard output")


@ending
def run(arguments: argparse.Namespace) -> int:
    with unobserved():
        from deepblur.restoration.batch.psf import psf_file

    report = called(psf_file, arguments)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return OK
    size = report["psf_size"]
    say(
        f"-> {arguments.output}: {size}x{size} pixels, {100 * report['outside']:.1f} % of the light outside, "
        f"Strehl ratio {report['strehl']:.2f}"
    )
    for mode in (mode for mode in report["gamma"] if mode["waves"]):
        say(f"    {mode['name']:30} {mode['waves']:+.3f} waves")
    return OK
