"""What a cold process does not load: a second or more of other packages that the work does not need."""

import subprocess
import sys

import pytest
import skimage.data
import tifffile


def loaded(code, *arguments):
    """The names of all modules that a process has when it has run this."""
    code += "\nimport sys; print('loaded', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded ")[2].split())


RESTORE = "import deepblur.cli; deepblur.cli.main()"


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cold")
    tifffile.imwrite(folder / "a.tif", skimage.data.camera()[200:328, 200:328])
    return loaded(RESTORE, "restore", str(folder / "a.tif"), "-o", str(folder / "out"), "--no-pictures")


@pytest.mark.parametrize(
    "package", ["torch._dynamo", "sympy", "matplotlib", "scipy.optimize", "pandas", "mlflow", "ray"]
)
def test_an_image_is_restored_without(package, restored):
    """The first two come with a convolution on the device "meta", where a model's weights are checked."""
    assert "torch" in restored
    assert package not in restored


def test_deepblur_restore_is_there_without_pictures():
    names = loaded("import gc, deepblur; deepblur.restore; assert gc.isenabled()")
    assert "torch" in names
    assert not names & {"matplotlib", "scipy.optimize", "pandas", "torch._dynamo"}
