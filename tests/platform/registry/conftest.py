"""What the tests of the gate share: the tiny models as loaded, and who promotes them in a copy of the registry."""

import pytest
from micro_registry import FAST, MICRO, copy_of

from deepblur.platform.models.model import load_model
from deepblur.platform.registry.promotion import Promoter


@pytest.fixture(scope="module")
def models(folders):
    return {name: load_model(folder) for name, folder in folders.items()}


@pytest.fixture
def promoter(base, tmp_path):
    uri = copy_of(base, tmp_path / "copy")
    return Promoter(uri, "deepblur", grid=MICRO, bound=FAST, clean=lambda *_: "")
