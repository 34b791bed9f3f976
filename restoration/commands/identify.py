"""`deepblur identify`; see `deepblur.restoration.batch.identify`."""

import argparse
from pathlib import Path

from deepblur.restoration.commands import restore

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


def configure(command: argparse.ArgumentParser) -> None:
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = _MORE
    restore.images(command)
    add = command.add_argument
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results, made if it is missing")
    restore.engine(command)
    add("--varying", action="store_true", help="the blur changes over the field: identify tile by tile")
    restore.intensities(command)
    restore.memory(command)
    add("--no-pictures", action="store_true", help="no PNG files")
    add("--json", action="store_true", help="the findings as JSON on standard output")


def run(arguments: argparse.Namespace) -> int:
    from deepblur.restoration.batch.identify import main

    return main(arguments)
