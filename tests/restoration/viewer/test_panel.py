"""The napari plugin in the real viewer, without a screen: a person opens sample data, clicks and reads."""

import os
import time

import numpy as np
import pytest
import tifffile
from skimage import data

from deepblur.restoration.session import Session
from deepblur.restoration.viewer.samples import LENS, blurry_glands

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
napari = pytest.importorskip("napari", reason="needs pip install 'deepblur[napari]'")
try:
    from qtpy.QtWidgets import QApplication
except ImportError as error:  # Qt without the libraries of a desktop
    pytest.skip(f"Qt cannot start here: {error}", allow_module_level=True)

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of Qt, vispy and napari, which are none of ours


@pytest.fixture(scope="module")
def viewer():
    """napari; where nothing can be drawn, OpenGL says nothing about itself, and everything else is real."""
    import napari._qt.qt_viewer
    import napari._vispy.canvas
    import vispy.app
    from vispy.gloo import gl

    vispy.app.use_app("pyqt6")
    with pytest.MonkeyPatch.context() as patch:
        if os.environ["QT_QPA_PLATFORM"] == "offscreen":
            patch.setattr(gl, "glGetParameter", lambda what: "" if what == gl.GL_EXTENSIONS else 4096)
        shown = napari.Viewer(show=False)
        yield shown
        shown.close()


@pytest.fixture
def panel(viewer):
    viewer.layers.clear()
    dock, widget = viewer.window.add_plugin_dock_widget("deepblur", "Restore a blurry image")
    yield widget
    viewer.window.remove_dock_widget(dock)


def wait(panel, true, patience_s=300):
    end = time.monotonic() + patience_s
    while not true():
        QApplication.processEvents()
        time.sleep(0.01)
        assert time.monotonic() < end, panel.findings.words.text()


def click(panel, button):
    """And wait until the work is done."""
    assert button.isEnabled()
    button.click()
    wait(panel, panel.restore.isEnabled)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def small(name="cells", **about):
    """A layer of 96² pixels: (data, what napari is told)."""
    image, known, _ = blurry_glands()[0]
    return image[:96, :96], known | {"name": name} | about


def test_the_sample_is_restored(viewer, panel):
    viewer.open_sample("deepblur", "glands")
    assert {name: field.value() for name, field in panel.optics.items()} == LENS
    assert panel.cutoff.text() == "cutoff 0.2 cycles per pixel"
    click(panel, panel.restore)
    assert names(viewer) == [
        "blurry glands",
        "blurry glands: PSF",
        "blurry glands: residual",
        "blurry glands: restored",
    ]
    image, psf, residual, restored = viewer.layers
    assert restored.data.shape == residual.data.shape == image.data.shape
    assert restored.data.dtype == np.uint16
    assert restored.data.astype(float).std() > image.data.astype(float).std()
    assert np.abs(residual.data[16:-16, 16:-16]).max() < 0.05 * image.data.max()
    assert restored.scale.tolist() == image.scale.tolist()
    assert psf.data.sum() == pytest.approx(1, abs=1e-3)
    assert psf.translate[1] == pytest.approx(image.scale[1] * (image.data.shape[1] + 8))
    assert "NA 1.3 from the file" in panel.findings.words.text()
    assert ">&nbsp;good&nbsp;<" in panel.findings.words.text()
    assert not panel.findings.picture.pixmap().isNull()
    assert restored.metadata["deepblur"]["verdict"] == "good"
    assert panel.image.value is image


def test_a_preview_is_a_part_of_the_frame_in_view(viewer, panel):
    image, about = small()
    viewer.add_image(
        np.stack([image, image[::-1]]), **about | {"units": None, "scale": (1, 2, 3), "translate": (0, 5, 7)}
    )
    layer = viewer.layers[0]
    viewer.dims.set_point(0, 1)
    for _ in range(2):  # of which the second takes the place of the first
        layer.corner_pixels = np.array([[1, 20, 10], [1, 80, 70]])
        click(panel, panel.preview)
    assert names(viewer) == ["cells", "cells, preview: PSF", "cells, preview: residual", "cells, preview: restored"]
    restored = viewer.layers[-1]
    assert restored.data.shape == (1, 61, 61)
    assert restored.translate.tolist() == [1, 5 + 2 * 20, 7 + 3 * 10]
    assert restored.scale.tolist() == [1, 2, 3]


def test_identify_measures_every_frame_and_restores_none(viewer, panel):
    image, about = small(axis_labels=("t", "y", "x"), units=None, scale=None)
    viewer.add_image(np.stack([image, image[::-1], np.zeros_like(image)]), **about)
    click(panel, panel.identify)
    assert names(viewer) == ["cells", "cells: PSF"]
    assert viewer.layers[1].data.shape == (3, 31, 31)
    for frame in (0, 1):
        viewer.dims.set_point(0, frame)
        assert panel.findings.words.text().startswith(f"<p>t={frame} · ")


def test_colours_and_a_known_psf(viewer, panel):
    image, _ = small()
    viewer.add_image(np.stack([image, image // 2, image // 3], -1), rgb=True, name="colours")
    psf = np.outer(np.hanning(9), np.hanning(9))
    viewer.add_image(psf / psf.sum(), name="my PSF")
    panel.image.value, panel.psf.value = viewer.layers["colours"], viewer.layers["my PSF"]
    panel.restorer.setCurrentText("wiener")
    click(panel, panel.restore)
    restored = viewer.layers["colours: restored"]
    assert restored.rgb
    assert restored.data.shape == (96, 96, 3)
    assert viewer.layers["colours: residual"].data.shape == (96, 96)


def test_what_the_user_types_counts_more_than_what_is_known(viewer, panel):
    image, about = small()
    viewer.add_image(image, **about)
    panel.optics["na"].setValue(1.2)
    panel.restorer.setCurrentText("wiener")
    click(panel, panel.restore)
    known = viewer.layers[-1].metadata["deepblur"]["optics"]["known"][0]
    assert (known["na"]["from"], known["wavelength_nm"]["from"]) == ("told", "file")
    assert known["cutoff"]["value"] == pytest.approx(1.2 / 520 * 80)


def test_optics_come_from_the_file_that_a_layer_was_read_from(viewer, panel, tmp_path):
    side = {"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.1, "PhysicalSizeYUnit": "µm"}
    about = {"axes": "YX", **side, "Channel": {"EmissionWavelength": 510, "EmissionWavelengthUnit": "nm"}}
    tifffile.imwrite(tmp_path / "cells.ome.tif", data.camera()[:64, :64], metadata=about)
    viewer.open(tmp_path / "cells.ome.tif", plugin="napari")
    values = {name: field.value() for name, field in panel.optics.items()}
    assert values == {"na": 0, "wavelength_nm": 510, "pixel_nm": 100, "index": 0}
    assert panel.cutoff.text() == "cutoff read from the image"


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [((4, 4), float, "but both sides need"), ((64, 64), bool, "holds booleans")],
)
def test_what_cannot_be_restored_is_one_sentence(viewer, panel, shape, dtype, words):
    viewer.add_image(np.ones(shape, dtype), name="other")
    click(panel, panel.restore)
    assert words in panel.findings.words.text()
    assert names(viewer) == ["other"]


def test_sentences_instead_of_work(viewer, panel):
    click(panel, panel.restore)
    assert "open an image first" in panel.findings.words.text()
    image, about = small()
    viewer.add_image(np.stack([image, image]), **about | {"units": None, "scale": None})
    viewer.dims.order = (1, 0, 2)
    click(panel, panel.preview)
    assert "show the image in 2-D" in panel.findings.words.text()
    viewer.dims.order = (0, 1, 2)
    image = viewer.layers[0].data
    panel.optics["na"].setValue(1.5)
    panel.optics["index"].setValue(1.33)
    click(panel, panel.restore)
    assert "cannot exceed the index" in panel.findings.words.text()
    viewer.layers[0].data = np.zeros_like(image)
    panel.optics["na"].setValue(1.2)
    click(panel, panel.restore)
    assert "nothing to restore" in panel.findings.words.text()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ArithmeticError("the search diverged\nin frame 1; take another method"),
            "the search diverged in frame 1; take",
        ),
        (RuntimeError("[enforce fail] cannot allocate"), "cannot allocate"),
        (MemoryError(), "there is not enough memory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (IndexError("a fault of ours"), "IndexError: a fault of ours"),
    ],
)
def test_a_method_that_fails_is_one_sentence_and_the_panel_is_free_again(viewer, panel, monkeypatch, error, words):
    from napari.utils.notifications import notification_manager

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(Session, "frames", fails)
    image, about = small(units=None, scale=None)
    viewer.add_image(image, **about)
    with notification_manager:  # as in napari.run: it shows what no image is to blame for
        click(panel, panel.restore)
    assert words in panel.findings.words.text()
    assert panel.restore.isEnabled()
    assert len(viewer.layers) == 1


def test_work_is_stopped_between_frames(viewer, panel):
    image, about = small(units=None, scale=None)
    viewer.add_image(np.stack([image] * 50), **about)
    panel.restore.click()
    assert not panel.restore.isEnabled()
    wait(panel, lambda: panel.progress.value() > 0)
    panel.cancel.click()
    wait(panel, panel.restore.isEnabled)
    assert panel.work.share < 1
    assert panel.findings.words.text() == "stopped; nothing was changed"
    assert names(viewer) == ["cells"]


def test_a_layer_that_is_removed_while_it_is_restored_leaves_its_results(viewer, panel):
    image, about = small(units=None, scale=None)
    viewer.add_image(image, **about)
    panel.restore.click()
    viewer.layers.clear()
    wait(panel, panel.restore.isEnabled)
    assert names(viewer) == ["cells: PSF", "cells: residual", "cells: restored"]
    assert ">&nbsp;" in panel.findings.words.text()
