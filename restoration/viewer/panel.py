"""What people click on: a layer, its optics, a method; then preview, identify or restore; and what was found."""

from typing import TYPE_CHECKING, Any, cast

import napari
import numpy as np
from magicgui.widgets import create_widget
from napari.qt.threading import create_worker
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from deepblur.platform.system.errors import OF_AN_IMAGE, sentence_of
from deepblur.restoration.engines.names import METHODS, RESTORERS
from deepblur.restoration.options import LENS, EngineChoice, Options
from deepblur.restoration.viewer.findings import Findings
from deepblur.restoration.viewer.layers import View, known_optics, recording_of_layer, result_layers, view_of
from deepblur.restoration.viewer.work import Found, Work

if TYPE_CHECKING:
    from napari.layers import Image

_FIELDS = {
    "na": ("NA", 3, "numerical aperture of the objective"),
    "wavelength_nm": ("wavelength", 1, "of the light, in nanometres"),
    "pixel_nm": ("pixel", 2, "its side in the sample, in nanometres"),
    "index": ("index", 3, "refractive index of the immersion medium"),
}
"""Label, decimals and tip."""
_POLL_MS = 100
_WIDTH_PX = 350
_STEPS = 1000


class RestorePanel(QWidget):
    """The dock widget of the plugin."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.image = _layer_box(napari.layers.Image)
        self.psf = _layer_box(napari.layers.Image | None, nullable=True)
        self.optics = {name: _spin_box(name) for name in _FIELDS}
        self.cutoff = QLabel()
        self.method, self.restorer = _combo_box(METHODS), _combo_box(RESTORERS)
        self.preview = _button("Preview", "restore what is in view", self._preview)
        self.identify = _button("Identify", "measure the blur of all frames, and restore nothing", self._identify)
        self.restore = _button("Restore", "identify and remove the blur of all frames", self._restore)
        self.cancel = _button("Cancel", "stop what is going on", self._stop)
        self.progress = QProgressBar()
        self.progress.setRange(0, _STEPS)
        self.findings = Findings()
        self.work: Work | None = None
        self._known: dict[str, float] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._show_progress)
        self._lay_out()
        self._busy(False)
        for choice in (self.image, self.psf):
            for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
                event.connect(choice.reset_choices)
        self.image.changed.connect(self._read_optics)
        for field in self.optics.values():
            field.valueChanged.connect(self._say_cutoff)
        viewer.dims.events.current_step.connect(self._show_frame)
        self._read_optics()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("image", self.image.native)
        for name, field in self.optics.items():
            form.addRow(_FIELDS[name][0], field)
        form.addRow("", self.cutoff)
        form.addRow("method", self.method)
        form.addRow("restorer", self.restorer)
        form.addRow("PSF", self.psf.native)
        self.psf.native.setToolTip("a layer that shows a PSF you have; without one it is identified")
        buttons = QGridLayout()
        for k, button in enumerate((self.preview, self.identify, self.restore, self.cancel)):
            buttons.addWidget(button, k // 2, k % 2)
        below = QScrollArea()
        below.setWidgetResizable(True)
        below.setWidget(self.findings)
        below.setMinimumWidth(_WIDTH_PX)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(below, stretch=1)

    def _read_optics(self) -> None:
        """The fields say what is known of the chosen layer."""
        known = {} if self.image.value is None else known_optics(self.image.value)
        for name, field in self.optics.items():
            field.setValue(known.get(name, 0))
        self._known = {name: self.optics[name].value() for name in known}  # as the fields round them

    def _say_cutoff(self) -> None:
        na, wavelength_nm, pixel_nm = (self.optics[name].value() for name in ("na", "wavelength_nm", "pixel_nm"))
        known = na and wavelength_nm and pixel_nm
        words = (
            f"cutoff {na / wavelength_nm * pixel_nm:.3g} cycles per pixel" if known else "cutoff read from the image"
        )
        self.cutoff.setText(words)

    def _asked(self) -> tuple[EngineChoice, dict[str, float]]:
        """What the user says, and what is known without."""
        values = {name: field.value() for name, field in self.optics.items() if field.value()}
        known = {name: value for name, value in values.items() if self._known.get(name) == value}
        method, restorer = self.method.currentText(), cast(Any, self.restorer.currentText())
        if self.psf.value is not None:
            return EngineChoice(method=method, restorer=restorer, psf=np.asarray(self.psf.value.data)), {}
        said: dict[str, Any] = {name: value for name, value in values.items() if name not in known}
        return EngineChoice(method=method, restorer=restorer, **said), known

    def _preview(self) -> None:
        self._begin(restores=True, in_view=True)

    def _identify(self) -> None:
        self._begin(restores=False)

    def _restore(self) -> None:
        self._begin(restores=True)

    def _begin(self, *, restores: bool, in_view: bool = False) -> None:
        layer: Image | None = self.image.value
        if layer is None:
            self.findings.say("open an image first; File, Open Sample, deepblur has two", bad=True)
            return
        try:
            view = view_of(layer, self.viewer.dims.point, self.viewer.dims.displayed) if in_view else None
            choice, known = self._asked()
            recording = recording_of_layer(layer, known, view)
        except OF_AN_IMAGE as error:
            self.findings.say(sentence_of(error), bad=True)
            return
        options = Options() if view is None else Options(region=view.region, crop=True)
        self.work = work = Work(choice, recording, options, restores)
        self._busy(True)
        self.findings.say("at work …")
        worker = create_worker(work.run)
        worker.returned.connect(lambda found: self._show(found, work, layer, view))
        worker.errored.connect(self._say_error)
        worker.finished.connect(lambda: self._busy(False))
        worker.start()

    def _say_error(self, error: Exception) -> None:
        """Of what no image is to blame for: a disk that is full, a fault of ours, which napari shows in full."""
        self.findings.say(" ".join(f"{type(error).__name__}: {error}".split()), bad=True)

    def _stop(self) -> None:
        if self.work is not None:
            self.work.stopped.set()
            self.findings.say("stopping …")

    def _busy(self, busy: bool) -> None:
        for button in (self.preview, self.identify, self.restore):
            button.setEnabled(not busy)
        self.cancel.setEnabled(busy)
        self.progress.setVisible(busy)
        self.progress.setValue(0)
        (self._timer.start if busy else self._timer.stop)()

    def _show_progress(self) -> None:
        if self.work is not None:
            self.progress.setValue(min(_STEPS, round(_STEPS * self.work.share)))

    def _show(self, found: Found | str | None, work: Work, layer: "Image", view: View | None) -> None:
        """What became of the work: results, a sentence, or nothing where it was stopped."""
        if found is None:
            self.findings.say("stopped; nothing was changed")
        elif isinstance(found, str):
            self.findings.say(found, bad=True)
        else:
            self.findings.found = found
            self._show_frame()
            for data, about in result_layers(found, layer, work.recording, view):
                if view is not None and about["name"] in self.viewer.layers:
                    self.viewer.layers.remove(about["name"])  # of the preview before
                self.viewer.add_image(data, **about)
            if layer in self.viewer.layers:  # the user may have removed it meanwhile
                self.image.value = layer
                self.viewer.layers.selection.active = layer

    def _show_frame(self) -> None:
        """What was found of the frame in view."""
        self.findings.show_frame(self.viewer.dims.current_step[:-2])


def _layer_box(kind: Any, **options: Any) -> Any:
    """What chooses one of the viewer's layers."""
    return create_widget(annotation=kind, options=options)


def _spin_box(name: str) -> QDoubleSpinBox:
    _, decimals, tip = _FIELDS[name]
    field = QDoubleSpinBox()
    field.setDecimals(decimals)
    field.setRange(0, LENS[name][1])
    field.setSingleStep(10 ** (1 - decimals))
    field.setSpecialValueText("not known")
    field.setToolTip(tip)
    return field


def _combo_box(choices: tuple[str, ...]) -> QComboBox:
    box = QComboBox()
    box.addItems(choices)
    return box


def _button(text: str, tip: str, clicked: Any) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.clicked.connect(lambda _: clicked())
    return button
