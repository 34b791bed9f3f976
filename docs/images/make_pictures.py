"""Makes the pictures of README.md and of the pages for microscopists: python docs/images/make_pictures.py

A micrograph that lies inside scikit-image (`skimage.data.immunohistochemistry()`, no known copyright restrictions) is
blurred by `deepblur simulate` with aberrations that `deepblur restore` is not told. Nothing is trained: the method is
spectral, the restorer total variation. Takes some minutes of one core at most.
"""

import contextlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import tifffile
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from deepblur import cli
from deepblur.platform.optics.simulate import write_stacks

HERE = Path(__file__).resolve().parent
SIMULATE = ("--eta", "0.1", "--read-std", "0.005")
"""As on the microscopists' page."""
SHOWN = (slice(280, 440), slice(225, 385))
"""Rows and columns that are shown enlarged."""
BORDER_PX = 15
"""Half a PSF: nobody knows what lies beyond the border."""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tutorial(folder / "tutorial")
        tifffile.imwrite(folder / "glands.tif", skimage.data.immunohistochemistry(), photometric="rgb")
        practice, restored = folder / "practice", folder / "restored"
        run("simulate", folder / "glands.tif", "-o", practice, *SIMULATE)
        for image in (practice / "glands_blurry.tif", folder / "glands.tif"):
            run("restore", image, "-o", restored, "--method", "spectral", "--cutoff", "0.2")
        keep_overview(restored, "glands", "overview_wrong.jpg")
        images = {name: tifffile.imread(practice / f"glands_{name}.tif") for name in ("sharp", "blurry", "true_psf")}
        images["restored"] = tifffile.imread(restored / "glands_blurry_restored.tif")
        images["estimate"] = tifffile.imread(restored / "glands_blurry_psf.tif").squeeze()
        report = json.loads((restored / "glands_blurry_report.json").read_text(encoding="utf-8"))
        calibration(folder)
    before_after(images, report).savefig(HERE / "before_after.png", metadata={"Software": None})
    print(f"wrote {', '.join(sorted(file.name for file in HERE.glob('*.[pj][np]g')))} to {HERE}")


def tutorial(folder: Path) -> None:
    """The picture of the tutorial, by what stands there: a file that says its lens, blurred and restored."""
    page = (HERE.parent / "microscopists.md").read_text(encoding="utf-8")
    folder.mkdir()
    with contextlib.chdir(folder):
        exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {})
    run("simulate", folder / "glands.ome.tif", "-o", folder / "practice", *SIMULATE)
    run("restore", folder / "practice" / "glands_blurry.tif", "-o", folder, "--method", "spectral")
    keep_overview(folder, "glands_blurry", "overview_good.jpg")


def keep_overview(folder: Path, name: str, picture: str) -> None:
    Image.open(folder / f"{name}_overview.png").convert("RGB").save(HERE / picture, quality=88)


def calibration(folder: Path) -> None:
    """The pictures of the page on calibration: bead stacks of a virtual microscope, as on that page."""
    write_stacks(folder / "beads", stacks=6)
    run("calibrate", folder / "beads", "-o", folder / "scope.safetensors", "--bead-um", "0.1", "--eigen-psfs", "4",
        "--space-maps", "4")  # fmt: skip
    for name, picture in (("optics.png", "calibration_optics.png"), ("beads_slide_0.png", "calibration_beads.jpg")):
        Image.open(folder / f"scope_{name}").convert("RGB").save(HERE / picture, quality=85, optimize=True)


def run(*words: Any) -> None:
    if code := cli.main([str(word) for word in words]):
        raise SystemExit(code)


def before_after(images: dict[str, np.ndarray], report: dict[str, Any]) -> Figure:
    """The picture of the README."""
    figure = Figure(figsize=(9.6, 3.5), dpi=100)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    sharp = images["sharp"]
    before, after = (psnr(images[name], sharp) for name in ("blurry", "restored"))
    show(panels[0], images["blurry"], f"blurry, {before:.1f} dB", images["true_psf"], "true PSF")
    how = f"{report['method']}, {report['restorer']}"
    show(panels[1], images["restored"], f"restored ({how}), {after:.1f} dB", images["estimate"], "estimated PSF")
    show(panels[2], sharp, "truth")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.92, 0.03, 0.03)
    return figure


def show(axes: Axes, image: np.ndarray, title: str, psf: np.ndarray | None = None, name: str = "") -> None:
    """The enlarged part, with a PSF (its square root) in a corner."""
    axes.imshow(image[SHOWN])
    axes.set_title(title, fontsize=10)
    axes.axis("off")
    if psf is None:
        return
    corner = axes.inset_axes((0.02, 0.02, 0.34, 0.34))
    corner.imshow((psf.clip(0) / psf.max()) ** 0.5, cmap="inferno")
    corner.set(xticks=[], yticks=[])
    corner.text(0.05, 0.95, name, color="white", fontsize=7, va="top", transform=corner.transAxes)


def psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    """In dB, half a PSF cut off at the borders."""
    inside = (slice(BORDER_PX, -BORDER_PX),) * 2
    return float(peak_signal_noise_ratio(sharp[inside], image[inside]))


if __name__ == "__main__":
    main()
