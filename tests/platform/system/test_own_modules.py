"""The user's own modules that a study file imports, wherever they lie."""

import sys
from pathlib import Path

import pytest

from deepblur.platform.system.imports import own_modules


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A study with a helper, a package of its own and a module that nobody uses."""
    text = {
        "study.py": "import json, torch\nimport deepblur.operators\nfrom own_physics import blur\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import own_unused\n",
        "own_physics/__init__.py": "from . import constants\n",
        "own_physics/blur.py": "from .deep.lens import X\ndef f():\n    import own_helper\n",
        "own_physics/constants.py": "",
        "own_physics/deep/lens.py": "from .. import __name__\nX = 1\n",
        "own_helper.py": "import numpy as np\nimport no_such_module_anywhere\nimport own_old\n",
        "own_old.py": "print 'of another Python'\n",
        "own_unused.py": "",
    }
    for name, content in text.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


NAMES = {
    "own_helper": "own_helper.py",
    "own_old": "own_old.py",
    "own_physics": "own_physics/__init__.py",
    "own_physics.blur": "own_physics/blur.py",
    "own_physics.constants": "own_physics/constants.py",
    "own_physics.deep.lens": "own_physics/deep/lens.py",
}


def test_the_closure_holds_what_is_imported_and_neither_python_nor_packages(project):
    assert own_modules(project / "study.py") == {name: project / file for name, file in NAMES.items()}
    assert not any(name in sys.modules for name in NAMES)  # found, not run


def test_modules_that_are_imported_already_are_found_where_they_came_from(project, monkeypatch):
    import own_physics.blur

    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(project)])
    assert own_modules(project / "study.py")["own_physics.blur"] == Path(own_physics.blur.__file__)
    for name in [n for n in sys.modules if n.startswith("own_physics")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_study_of_the_package_has_no_own_modules():
    from deepblur.studies import ablation_eta

    assert own_modules(Path(ablation_eta.__file__)) == {}
