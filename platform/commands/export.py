"""`deepblur export MODEL`; see `deepblur.platform.export.export`."""

import argparse
import re
from pathlib import Path

HELP = "write a trained model as ONNX, torch or bioimage.io files for other software"
FORMATS = ("onnx", "torch", "bioimage")
NETWORKS = ("blind", "deblurrer", "identifier")


def configure(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Write a trained model as files that other software runs, for one image size and any number of images. Every "
        "file is run and compared with the model before it appears; DIR is complete or as it was. Needs pip install "
        "'deepblur[export]'."
    )
    add = command.add_argument
    add("model", nargs="?", metavar="MODEL", help="a model folder, models:/NAME/VERSION, models:/NAME@ALIAS or "
        "runs:/ID (default: the champion)")  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="new folder, or one with an earlier export")
    add("--format", nargs="+", choices=FORMATS, default=list(FORMATS), metavar="FORMAT",
        help="onnx, torch (torch.export's .pt2) or bioimage (a bioimage.io package); default: all")  # fmt: skip
    add("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK",
        help="blind (image → restored, gamma, psf), deblurrer (image, gamma → restored), identifier (image → gamma); "
        "default: all")  # fmt: skip
    add("--size", type=_size, default=(256, 256), metavar="HxW", help="of the images, in pixels (default: 256x256)")
    add("--tracking-uri", help="of the registry (default: $MLFLOW_TRACKING_URI or the database in ./runs)")
    add("--runs", type=Path, help="folder of results whose registry is meant")


def _size(text: str) -> tuple[int, int]:
    form = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if form is None or not int(form[1]) or form[2] == "0":
        raise argparse.ArgumentTypeError(f"a size is HxW or one side, in pixels, such as 256x256; got {text}")
    return int(form[1]), int(form[2] or form[1])


def run(arguments: argparse.Namespace) -> int:
    import sys

    from deepblur.platform.export.export import export_model
    from deepblur.platform.registry.choice import choose_model
    from deepblur.platform.system.errors import OK, RestorationError
    from deepblur.platform.system.printable import say

    try:
        chosen = choose_model(arguments.model, tracking_uri=arguments.tracking_uri, runs=arguments.runs)
        written = export_model(
            chosen.model,
            chosen.name,
            arguments.output,
            formats=arguments.format,
            networks=arguments.network,
            size=arguments.size,
        )
    except RestorationError as error:
        say(f"deepblur export: {error}", sys.stderr)
        return error.exit_code
    say(f"{chosen.name} for images of {arguments.size[0]}x{arguments.size[1]} pixels, in {arguments.output}:")
    for entry in written:
        print(f"  {entry.file:26s} {' + '.join(entry.inputs)} → {', '.join(entry.outputs)}; within "
              f"{entry.difference:.1e} of the model")  # fmt: skip
    return OK
