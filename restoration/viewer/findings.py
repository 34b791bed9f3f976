"""What was found of a blur, in words, colours and pictures: the lower half of the panel."""

import html

import numpy as np
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from deepblur.platform.report.style import as_png
from deepblur.restoration.blurs import JudgedBlur
from deepblur.restoration.overview import COLOURS, findings_picture
from deepblur.restoration.viewer.work import Found


class Findings(QWidget):
    """Verdict, aberrations and wavefront of one frame."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Found | None = None
        self._shown: JudgedBlur | None = None
        self.words, self.picture = QLabel(), QLabel()
        self.words.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.words)
        layout.addWidget(self.picture)
        layout.addStretch(1)

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """A sentence in the place of what was found before."""
        self.found = self._shown = None
        words = html.escape(sentence)
        self.words.setText(_on(COLOURS["poor"], words) if bad else words)
        self.picture.clear()

    def show_frame(self, step: tuple[int, ...]) -> None:
        """What was found of the frame at these places along the viewer's axes, but for rows and columns."""
        if self.found is None:
            return
        sizes = self.found.sizes
        known = 0 < len(sizes) <= len(step)
        index = int(np.ravel_multi_index(step[-len(sizes) :], sizes, mode="clip")) if known else 0
        blur = self.found.blur_of(index)
        if blur is self._shown:  # a slider moves many times over frames that have this one blur
            return
        self._shown = blur
        self.words.setText(_in_words(self.found, blur))
        pixmap = QPixmap()
        pixmap.loadFromData(as_png(findings_picture(blur)))
        self.picture.setPixmap(pixmap)


def _in_words(found: Found, blur: JudgedBlur) -> str:
    """Rich text: the verdict in its colour, then what speaks against it."""
    report = found.report
    flags = "".join(f"<li>{html.escape(line)}</li>" for line in dict.fromkeys([*blur.flags, *report.remarks]))
    head = " · ".join(part for part in (blur.place, report.method, report.restorer, report.cutoff) if part)
    verdict = _on(COLOURS[blur.verdict], f"&nbsp;{blur.verdict}&nbsp;")
    sentence = "" if flags and blur.sentence in blur.flags else html.escape(blur.sentence)
    return f"<p>{html.escape(head)}</p><p>{verdict} {sentence}</p>" + (f"<ul>{flags}</ul>" if flags else "")


def _on(colour: str, words: str) -> str:
    return f'<span style="background-color:{colour};color:white">{words}</span>'
