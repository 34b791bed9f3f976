"""Makes the picture of the page on napari: xvfb-run -s "-screen 0 1600x1000x24" python docs/images/make_napari.py

In front of a screen without `xvfb-run`. The sample is opened and restored by the buttons, as a person would.
"""

import time
from collections.abc import Callable
from pathlib import Path

import napari
from PIL import Image
from qtpy.QtWidgets import QApplication

HERE = Path(__file__).resolve().parent
SIZE = (1350, 900)


def main() -> None:
    viewer = napari.Viewer()
    viewer.window.resize(*SIZE)
    viewer.open_sample("deepblur", "glands")
    _, panel = viewer.window.add_plugin_dock_widget("deepblur", "Restore a blurry image")
    panel.restore.click()
    wait(lambda: panel.restore.isEnabled())
    restored, scale = viewer.layers["blurry glands: restored"], viewer.layers[0].scale[1]
    for layer in viewer.layers:  # before and after, side by side
        layer.translate = (0, 0)
    restored.translate = (0, scale * (restored.data.shape[1] + 8))
    viewer.layers["blurry glands: PSF"].visible = False
    viewer.reset_view()
    end = time.monotonic() + 1
    wait(lambda: time.monotonic() > end)
    picture = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
    picture.save(HERE / "napari.jpg", quality=88)
    print(f"wrote napari.jpg to {HERE}")
    viewer.close()


def wait(true: Callable[[], bool]) -> None:
    while not true():
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
