"""What a notebook shows of a restoration: a picture and words that hold nothing but text."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from micro_registry import tikhonov_model
from PIL import Image
from skimage import data

import deepblur
from deepblur.operators import ZernikeBlur

CAMERA = data.camera()[100:180, 150:240]


class Read(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.images += [dict(attributes)] if tag == "img" else []

    def handle_data(self, text):
        self.words += text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05)


def read(found):
    seen = Read(found._repr_html_())
    assert set(seen.tags) <= {"div", "img", "p", "b", "ul", "li"}
    return seen


def test_a_notebook_shows_picture_and_verdict(folder):
    found = deepblur.restore(CAMERA, model=folder)
    seen = read(found)
    assert f"{found.report.verdict}: {found.report.sentence}" in seen.words
    for flag in found.report.judged[0].flags:
        assert flag in seen.words
    (image,) = seen.images
    assert image["alt"] == repr(found)
    kind, _, content = image["src"].partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(2**24)) > 100
    titles = [axes.get_title() for axes in found.figure().axes]
    assert {"image", "restored"} <= set(titles)
    assert any("aberrations in waves" in title for title in titles)
    assert any("PSF" in title for title in titles)


@pytest.mark.parametrize(
    ("array", "axes"),
    [
        (data.astronaut()[:70, 100:180], None),
        (np.dstack([data.astronaut()[:70, 100:180], np.full((70, 80), 9, np.uint8)]), None),
        (np.stack([CAMERA, CAMERA[::-1]]), "CYX"),
        (np.stack([np.full_like(CAMERA, 3), CAMERA]), "TYX"),
        (np.stack([np.stack([CAMERA, CAMERA[::-1]], -1)] * 2), "TYXC"),
    ],
)
def test_any_kind_of_image_is_shown(array, axes, folder):
    found = deepblur.restore(array, axes=axes, model=folder)
    assert isinstance(found.figure(), Figure)
    before, after = found.shown.in_unit()
    assert before.shape == after.shape
    assert 0.5 < before.max() < 1.6
    assert np.abs(before - after).max() > 0


def test_the_picture_shows_what_was_given_even_where_that_was_changed(folder):
    array = CAMERA.copy()
    found = deepblur.restore(array, model=folder)
    array[:] = 0
    assert np.array_equal(found.shown.before[0], CAMERA)


def test_words_are_text_and_a_given_psf_is_called_so(tmp_path):
    psf = ZernikeBlur().psf(torch.zeros(1, 7))[0, 0].numpy()
    Image.fromarray(psf).save(tmp_path / "<img src=x onerror=y>.tif")
    found = deepblur.restore(CAMERA, psf=tmp_path / "<img src=x onerror=y>.tif", restorer="wiener")
    seen = read(found)
    assert len(seen.images) == 1
    assert "the PSF of <img src=x onerror=y>.tif: taken as it is" in seen.words
    assert any(axes.get_title().startswith("PSF, 31 px") for axes in found.figure().axes)
