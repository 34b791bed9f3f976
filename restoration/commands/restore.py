"""`deepblur restore`; see `deepblur.restoration.batch.restore`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from deepblur.platform.system.imports import unobserved
from deepblur.platform.system.printable import say
from deepblur.restoration.commands.outcome import (
    called,
    ending,
    file_of,
    say_optics,
    say_remarks,
    say_results,
    undisturbed,
)
from deepblur.restoration.engines.names import METHODS, RESTORERS
from deepblur.restoration.options import CHANNELS, DEFAULT_RULE, EngineChoice, Options

HELP = "restore blurry images: identify the blur of each and remove it"
_MORE = """\
what lies beside NAME_restored, in the folder OUT:
  NAME_overview.png    before, after, PSF, aberrations, residual and the verdict, in one picture
  NAME_psf.tif, .png   the PSF, estimated or yours, one page for each frame and channel that has its own
  NAME_gamma.csv       Zernike coefficients in waves, with their uncertainty
  NAME_wavefront.tif   the wavefront over the pupil, in waves
  NAME_report.json     everything that was found, and how far to trust it

examples:
  deepblur restore cells.tif -o restored
  deepblur restore images/ -o restored --model models:/deepblur@champion
  deepblur restore timelapse.tif -o restored --scale bits:12 --max-memory 1
  deepblur restore slide.tif -o restored --method l0 --varying
  deepblur restore cells.tif -o restored --psf bead.tif
  deepblur restore images/ -o restored --recursive --workers 8
  deepblur restore /mnt/images/ -o /mnt/restored --ray 10.0.0.1:6379
  deepblur restore camera/ -o restored --watch

Typed again, the same command only does what is not done yet. Exit codes: 0 all done, 2 an option, 4 an image that
cannot be used (the others are done), 5 the model or its registry, 6 a result that cannot be written."""


def configure(command: argparse.ArgumentParser) -> None:
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.description = (
        "Restore blurry images. No PSF is needed: it is identified from each image, with the champion of the\n"
        "registry, any other trained model, or a published method without training."
    )
    command.epilog = _MORE
    images(command)
    add = command.add_argument
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results, made if it is missing")
    engine(command)
    add("--psf", type=Path, metavar="FILE", help="the PSF where you have it, measured or computed: an image of a "
        "point, or a stack, of which the sharpest plane counts. Nothing is identified then; --psf-size cuts it, and of "
        "--model the network alone counts")  # fmt: skip
    add("--restorer", default="auto", choices=RESTORERS,
        help="what removes the blur: the model's network, or a classical method; auto with a model: its network, "
             "with `compact` and its like TV instead in noise beyond its training; without a model, and "
             "with --psf: TV")  # fmt: skip
    add("--varying", action="store_true", help="the blur changes over the field: identify and restore tile by tile")
    parts(command)
    add(
        "--crop",
        action="store_true",
        help="restore the --region alone, as a quick trial: the result, a TIFF, has its size",
    )
    intensities(command)
    memory(command, "the command, all workers together, or with --ray of each", "2 for each worker")
    add("--workers", type=int, metavar="N", help="so many images at a time, each in a process of its own; the results "
        "are those of one worker (default: 1; with --ray as many as the cluster has cores)")  # fmt: skip
    add("--ray", metavar="ADDRESS", help="a Ray cluster restores the images, a task for each: HOST:PORT of its head, "
        "or auto, the cluster of this machine; all nodes see images and OUT under the same paths")  # fmt: skip
    add("--tile", dest="tile_px", type=int, metavar="PX",
        help="side of the tiles, 256 or more (default: as large as memory allows)")  # fmt: skip
    add("--no-pictures", dest="pictures", action="store_false", help="no PNG files")
    add("--again", action="store_true", help="restore also what is done already")
    add("--watch", action="store_true", help="go on and restore what comes into the folders, once it is complete, "
        "until Ctrl-C; the exit code is that of the images that have failed")  # fmt: skip
    # fmt: off
    add("--settle", dest="settle_s", type=float, default=10.0, metavar="SECONDS",
        help="with --watch, a file is complete once size and time have not changed for so long (default: 10)")
    # fmt: on
    add(
        "--json", action="store_true", help="the reports as JSON on standard output; with --watch a line for each image"
    )


def images(command: argparse.ArgumentParser) -> None:
    """The images that every command of this kind takes."""
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGES",
        help="files or folders: TIFF (8 to 32 bit, stacks, channels, times), PNG, JPEG, BMP, WebP; with pip install "
        "'deepblur[formats]' OME-Zarr, CZI, ND2, LIF, DeltaVision, MRC and FITS too")  # fmt: skip
    command.add_argument("--recursive", action="store_true",
        help="search folders below too; OUT then has the same folders. Links to other folders are not "
        "followed")  # fmt: skip


def engine(command: argparse.ArgumentParser) -> None:
    """Which model or method identifies the blur."""
    add = command.add_argument
    add("--model", metavar="MODEL",
        help="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, a folder, or compact, which ships with "
        "deepblur (default: the registry's champion; where there is none, compact)")  # fmt: skip
    add("--optics", type=Path, metavar="FILE", help="the calibrated microscope of these images, which show its whole "
        "field, from deepblur calibrate, with networks trained for it: the blur may change over the field")  # fmt: skip
    add("--method", default="auto", choices=METHODS,
        help="deep-blur is a trained model; the others need no training")  # fmt: skip
    add("--tracking-uri", metavar="URI", help="of the registry (default: $MLFLOW_TRACKING_URI, else the database in "
        "the runs folder)")  # fmt: skip
    add("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N")
    optics = command.add_argument_group("optics, for compact and for methods without training")
    optics.add_argument("--cutoff", type=_numbers, metavar="F[,F...]",
        help="pupil radius NA / wavelength * pixel size, in cycles per pixel, at most 0.5; for all channels, or one "
        "for each, as in 0.2,0.17. Left out, it is read from the image where its spectrum ends clearly; else 0.2 is "
        "assumed and no verdict is better than doubtful. A model whose network knows one takes only that")  # fmt: skip
    lens(optics, "; for all channels, or one for each, as in 450,520")
    optics.add_argument("--eta", dest="eta_waves", type=float, metavar="WAVES",
        help="largest aberration to expect (default: 0.15)")  # fmt: skip
    optics.add_argument(
        "--psf-size", type=int, metavar="PX", help="side of the PSF, odd (default: 6 / cutoff, 31 at 0.2)"
    )


def lens(optics: argparse._ActionsContainer, channels: str = "") -> None:
    """What says the cutoff in the words of a microscope; `channels` is how wavelengths are typed."""
    add = optics.add_argument
    add("--na", type=float, metavar="NA", help="numerical aperture of the objective: with wavelength and pixel size "
        "the cutoff follows, and is not to be said")  # fmt: skip
    add("--wavelength-nm", type=_numbers if channels else float, metavar="NM[,NM...]" if channels else "NM",
        help=f"wavelength of the light that the camera sees (emission), in nanometres{channels}")  # fmt: skip
    add("--pixel-nm", type=float, metavar="NM", help="side of a pixel in the sample, in nanometres: that of the "
        "camera over the magnification")  # fmt: skip
    add("--index", type=float, metavar="N", help="refractive index of the immersion medium, such as 1.518 for oil; "
        "an NA above it is refused")  # fmt: skip


def parts(command: argparse.ArgumentParser) -> None:
    """Which pixels the blur is read from."""
    command.add_argument("--region", type=_region, metavar="Y,X,H,W",
        help="identify the blur in this part of each image: first row, first column, rows, columns")  # fmt: skip
    command.add_argument("--mask", type=Path, metavar="FILE",
        help="an image of the same size, not 0 where pixels say nothing (saturated, dead, text burnt in): they do not "
        "count, and stay as they are")  # fmt: skip


def _region(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


_region.__name__ = "region"


def _numbers(text: str) -> float | tuple[float, ...]:
    """One number, or several with commas between them."""
    numbers = tuple(float(part) for part in text.split(","))
    return numbers if len(numbers) > 1 else numbers[0]


_numbers.__name__ = "number"  # what argparse calls the value that it refuses


def memory(command: argparse.ArgumentParser, whole: str = "the whole process", default: str = "2") -> None:
    """How much of it may be taken."""
    command.add_argument("--max-memory", dest="max_memory_gib", type=float, default=argparse.SUPPRESS, metavar="GIB",
        help=f"memory of {whole}; larger images are cut into tiles, and go over the disk of OUT where a frame "
             f"does not fit (default: {default})")  # fmt: skip


def intensities(command: argparse.ArgumentParser) -> None:
    """How stored values are read."""
    add = command.add_argument
    add("--scale", default=DEFAULT_RULE, metavar="RULE",
        help="what counts as black and white: percentile:LOW,HIGH, bits:N or range:BLACK,WHITE "
        f"(default: {DEFAULT_RULE}); the output has the input's scale whatever this is")  # fmt: skip
    add("--channels", default="auto", choices=CHANNELS,
        help="one PSF for all channels, from the luminance, or one for each (auto: shared for colours)")  # fmt: skip


@ending
def run(arguments: argparse.Namespace) -> int:
    with unobserved():
        from deepblur.restoration.batch.restore import restore_files

    if "max_memory_gib" not in arguments:
        arguments.max_memory_gib = Options.max_memory_gib * (1 if arguments.ray else max(1, arguments.workers or 1))
    engine, options = called(EngineChoice, arguments), called(Options, arguments)
    if arguments.watch:
        from deepblur.restoration.batch.watch import watch_folders

        return called(watch_folders, arguments, folders=arguments.images, engine=engine, options=options,
                      told=lambda entry: _tell(entry, arguments))  # fmt: skip
    results = called(restore_files, arguments, engine=engine, options=options)
    return say_results(results, arguments.json, lambda entry: _show(entry, arguments.output))


def _tell(entry: dict[str, Any], arguments: argparse.Namespace) -> None:
    """What became of an image of a watched folder, at once."""
    with undisturbed():
        if arguments.json:
            print(json.dumps(entry), flush=True)
        elif entry["status"] == "done":
            _show(entry, arguments.output)
            sys.stdout.flush()


def _show(entry: dict[str, Any], output: Path) -> None:
    """One line about an image, for people."""
    seconds = "done before" if entry["status"] == "kept" else f"{entry['seconds']:.1f} s"
    image = file_of(entry, "image", output)
    say(f"{entry['input']} -> {image}  [{entry['verdict']}] {entry['sentence']}  ({seconds})")
    for flag in dict.fromkeys(flag for blur in entry["blurs"] for flag in blur["flags"]):
        if flag not in entry["sentence"]:
            say(f"    {flag}")
    say_optics(entry)
    say_remarks(entry)
