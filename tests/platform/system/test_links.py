"""The links of the package to the folders beside it are for editors: nothing that runs takes or needs them."""

import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import ROOT
from ray._private.runtime_env.packaging import create_package

import deepblur.operators
import deepblur.platform.study
import deepblur.restoration.restore
from deepblur.platform.commands.studies import installed
from deepblur.platform.system import source_tree

IMPORTS = """
import sys
from pathlib import Path
import deepblur.restoration, deepblur.studies, deepblur.cli
from deepblur.platform.commands.studies import installed
from deepblur.platform.system import source_tree
here = Path(sys.argv[1])
assert source_tree.root() == here
assert deepblur.restoration.__file__ == str(here / "restoration/__init__.py")
assert installed() and all(file.parent == here / "studies" for file in installed().values())
print(source_tree.source_hash(here))
"""


def links(folder: Path) -> list[Path]:
    return [folder / "deepblur" / room for room in source_tree.ROOMS]


@pytest.fixture
def tree(tmp_path):
    """A copy of the source tree, links as links."""
    for top in ("deepblur", *source_tree.ROOMS):
        shutil.copytree(ROOT / top, tmp_path / top, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("cluster.yaml", ".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def hash_where_it_runs(folder: Path) -> str:
    line = [sys.executable, "-P", "-B", "-c", IMPORTS, str(folder)]
    ran = subprocess.run(line, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_every_room_has_its_link():
    assert {link.name: os.readlink(link) for link in links(ROOT)} == {room: f"../{room}" for room in source_tree.ROOMS}


def test_a_module_has_one_name_and_one_file_and_is_not_read_through_a_link():
    files = {name: Path(m.__file__) for name, m in sys.modules.items()
             if name.partition(".")[0] == "deepblur" and getattr(m, "__file__", None)}  # fmt: skip
    assert len(files) > 50
    assert {name: file for name, file in files.items() if file != file.resolve()} == {}
    assert len(set(files.values())) == len(files)
    assert Path(inspect.getsourcefile(deepblur.operators.ZernikeBlur)).parent == ROOT / "operators"
    assert {file.parent for file in installed().values()} == {ROOT / "studies"}
    assert not [name for name in source_tree.files(ROOT) if name.startswith("deepblur/") and name.count("/") > 1]


@pytest.mark.parametrize("instead", ["links", "text files, as of git without links", "nothing"])
def test_the_source_runs_with_and_without_the_links(tree, instead):
    for link in links(tree) if instead != "links" else ():
        target = os.readlink(link)
        link.unlink()
        if instead != "nothing":
            link.write_text(target)
    assert hash_where_it_runs(tree) == source_tree.source_hash(ROOT)


def test_rays_upload_has_every_file_once_and_runs(tree, tmp_path_factory):
    place = tmp_path_factory.mktemp("upload")
    create_package(str(tree), place / "upload.zip", include_gitignore=True)
    with zipfile.ZipFile(place / "upload.zip") as upload:
        names = [name for name in upload.namelist() if not name.endswith("/")]
        upload.extractall(place / "copy")
    assert len(names) == len(set(names))
    assert {n for n in names if n.startswith("deepblur/")} == {f"deepblur/{f.name}" for f in tree.glob("deepblur/*.py")}
    assert hash_where_it_runs(place / "copy") == source_tree.source_hash(ROOT)
