"""Small images on disk, and a store of them."""

import numpy as np
import pytest
from PIL import Image

from deepblur.platform.data.sources import Folder
from deepblur.platform.data.store import open_store


@pytest.fixture
def make_images():
    """(folder, count, seed) → a source of that many images of noise, each of another size."""

    def made(root, count=5, seed=0):
        values = np.random.default_rng(seed)
        root.mkdir(parents=True, exist_ok=True)
        for k in range(count):
            Image.fromarray(values.integers(0, 256, (20 + 3 * k, 50 - 4 * k), dtype=np.uint8)).save(root / f"{k}.png")
        return Folder(str(root))

    return made


@pytest.fixture
def folder(make_images, tmp_path):
    return make_images(tmp_path / "images")


@pytest.fixture
def store(folder, tmp_path):
    return open_store((folder,), tmp_path / "cache")
