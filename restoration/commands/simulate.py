"""`deepblur simulate`; see `deepblur.restoration.batch.simulate`."""

import argparse
import json
from pathlib import Path

from deepblur.platform.system.errors import OK
from deepblur.platform.system.imports import unobserved
from deepblur.platform.system.printable import say
from deepblur.restoration.commands import restore
from deepblur.restoration.commands.outcome import called, ending
from deepblur.restoration.options import DEFAULT_RULE

HELP = "make test data: blur a sharp image with known aberrations and noise"
_MORE = """\
what is written for an image NAME, in the folder OUT:
  NAME_blurry.tif   what a camera would have given, in the image's axes, type and range
  NAME_sharp.tif    the image on the same pixels (the border of half a PSF is lost, as in a camera)
  NAME_true_psf.tif the PSF
  NAME_truth.json   coefficients, noise and scale

examples:
  deepblur simulate cells.tif -o test --eta 0.1 --read-std 0.01
  deepblur simulate cells.tif -o test --noll 4 5 6 --gamma 0.12 0 -0.05"""


def configure(command: argparse.ArgumentParser) -> None:
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = _MORE
    add = command.add_argument
    add("image", type=Path, metavar="IMAGE", help="a sharp image: TIFF, PNG, JPEG, BMP or WebP")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results, made if it is missing")
    add("--noll", type=int, nargs="+", default=[4, 5, 6, 7, 8, 9, 10], metavar="N",
        help="Noll indices of the Zernike modes (default: 4 to 10)")  # fmt: skip
    add("--gamma", type=float, nargs="+", metavar="WAVES", help="coefficient of each mode, in waves "
        "(default: drawn with --eta and --seed)")  # fmt: skip
    add("--eta", type=float, default=0.1, metavar="WAVES", help="coefficients are uniform in ±ETA (default: 0.1)")
    add("--cutoff", type=float, metavar="F",
        help="pupil radius NA / wavelength * pixel size, in cycles per pixel, at most 0.25 without --binning "
             "(default: that of the lens that the file states, else 0.2)")  # fmt: skip
    restore.lens(command)
    add("--psf-size", type=int, metavar="PX", help="side of the PSF, odd (default: 6 / cutoff, 31 at 0.2)")
    add("--binning", type=int, default=1, metavar="N", help="a pixel of the camera is N by N of the image's, for a "
        "lens that passes detail finer than the camera's pixels (default: 1)")  # fmt: skip
    add("--gain", type=float, default=0.0, help="variance per unit of signal, white being 1 (default: 0)")
    add("--read-std", type=float, default=0.01, help="standard deviation of the read noise (default: 0.01)")
    add("--seed", type=int, default=0, help="of coefficients and noise (default: 0)")
    add("--scale", default=DEFAULT_RULE, metavar="RULE",
        help="what counts as black and white: percentile:LOW,HIGH, bits:N or range:BLACK,WHITE")  # fmt: skip
    add("--json", action="store_true", help="the truth as JSON on standard output")


@ending
def run(arguments: argparse.Namespace) -> int:
    with unobserved():
        from deepblur.restoration.batch.simulate import simulate_file
        from deepblur.restoration.engines.optics import ChannelOptics

    truth = called(simulate_file, arguments)
    if arguments.json:
        print(json.dumps(truth, indent=2))
        return OK
    say(f"{arguments.image} -> {arguments.output / truth['files']['blurry']}")
    if "(" in (words := ChannelOptics.of_json(truth["optics"]).words):  # nobody's own word
        say(f"    {words}")
    for mode in truth["gamma"]:
        say(f"    {mode['name']:30} {mode['waves']:+.3f} waves")
    return OK
