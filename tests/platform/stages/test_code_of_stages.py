"""A stage is made anew when code that decides about its result changes, deepblur's or a user's own, and only then."""

import ast
import importlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fresh_code import forget
from micro_study import STUDY

from deepblur.platform.arms.methods.method import METHODS, Assess, Method
from deepblur.platform.arms.trained.arm import Evaluate
from deepblur.platform.arms.tuning.tuning import Tune, Tuning
from deepblur.platform.arms.uncertainty.uncertainty import Read
from deepblur.platform.data.cache import open_cache
from deepblur.platform.data.sources import DeadLeaves, parse_data
from deepblur.platform.optics.family import FieldBlur
from deepblur.platform.stages import identity
from deepblur.platform.system import code, source_tree
from deepblur.platform.system.code import differs_here
from deepblur.platform.system.imports import imported_names

DATA = parse_data("dead-leaves")
PRINTS = {DATA.train: "a", DATA.validation: "b", DATA.test: "c"}
GRID = STUDY.presets["quick"].grid


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for room in source_tree.ROOMS:
        shutil.copytree(source_tree.root() / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def source(copied, monkeypatch):
    """A copy of the source that the keys are taken of; what a test edits there is put back."""
    monkeypatch.setattr(source_tree, "root", lambda: copied)
    edited: dict[Path, str] = {}

    def edit(name, old="", new=""):
        file = copied / name
        text = edited.setdefault(file, file.read_text())
        assert old in text
        file.write_text(text.replace(old, new, 1) if old else text + "\n\nEDITED = True\n")
        forget()

    forget()
    yield edit
    for file, text in edited.items():
        file.write_text(text)
    forget()


def arm(seed=0):
    return STUDY.arm(operator="estimated", data=DATA, seed=seed)


def stages():
    """One of every kind."""
    built = arm()
    method = Method(degradation=built.identify.degradation, psf="identify", image="tv", networks=(built.identify,))
    l0 = replace(method, psf="l0_gradient", image="own", networks=())
    field = replace(
        built.identify, degradation=replace(built.identify.degradation, operator=FieldBlur.example("valid"))
    )
    return {
        "identify": built.identify,
        "deblur": built.deblur,
        "field": field,
        "watched": replace(built.identify, monitor=GRID),
        "evaluate": Evaluate(arm=built, grid=GRID, test=DATA.test),
        "read": Read(identify=built.identify, grid=GRID, validation=DATA.validation, test=DATA.test),
        "assess": Assess(method=method, grid=GRID, test=DATA.test, position=0),
        "l0": Assess(method=l0, grid=GRID, test=DATA.test, position=0),
        "tune": Tune(tuning=Tuning(method=l0, space={}, trials=1), noise=GRID.noise[0], grid=GRID, seed=0,
                     validation=DATA.validation),
    }  # fmt: skip


def keys():
    return {name: stage.key(PRINTS) for name, stage in stages().items()}


def changed(before):
    return {name for name, key in keys().items() if key != before[name]}


ALL = {"identify", "deblur", "field", "watched", "evaluate", "read", "assess", "l0", "tune"}
MEASURED = {"evaluate", "read", "assess", "l0", "tune", "watched"}
EDITS = {  # file → whose results it decides about
    "platform/evaluation/metrics.py": ALL,
    "platform/training/specification.py": ALL,
    "platform/models/model.py": {"read", "assess", "l0", "tune"},
    "operators/pupil.py": ALL,
    "nets/identifier.py": ALL,
    "platform/training/trainer.py": ALL - {"l0", "tune"},
    "platform/evaluation/grid.py": MEASURED,
    "platform/evaluation/levels.py": ALL,
    "platform/data/observations.py": ALL,
    "platform/arms/trained/measure.py": {"evaluate"},
    "platform/models/uncertainty.py": {"read"},
    "platform/optics/field_maps.py": {"field"},
    "baselines/l0_kernel.py": {"l0", "tune"},
    "baselines/spectral.py": set(),
    "platform/arms/tuning/space.py": {"tune"},
    "platform/arms/trained/report.py": set(),  # what shows and stores results does not change them
    "platform/stages/ledger.py": set(),
    "platform/stages/stage.py": set(),
    "platform/training/in_process.py": set(),
    "platform/arms/trained/evaluate.py": {"evaluate"},
    "platform/tracking/tracker.py": set(),
    "studies/content.py": set(),
}


@pytest.mark.parametrize(("file", "expected"), EDITS.items())
def test_an_edit_reaches_the_stages_that_run_the_code_and_no_other(source, file, expected):
    before = keys()
    source(file)
    assert changed(before) == expected


def test_the_noise_that_a_level_stands_for_counts(source):
    before = keys()
    source("platform/evaluation/levels.py", "0.5 * self.gain", "0.4 * self.gain")
    assert changed(before) == ALL


@pytest.mark.parametrize("name", ["sources", "coco", "entries", "image_file", "tiff_streams", "dead_leaves"])
def test_an_edit_of_what_decodes_or_draws_images_makes_their_cache_anew(source, tmp_path, name):
    def made():
        open_cache(DeadLeaves(count=2, side_px=16, seed=0), tmp_path, progress=False, max_skipped=0.0)
        return {folder.name for folder in tmp_path.glob("deadleaves-*")}

    before = made()
    assert made() == before
    source(f"platform/data/{name}.py")
    assert len(made()) == len(before) + 1


def test_comments_docstrings_and_layout_do_not_count(source):
    before = keys()
    source("platform/evaluation/metrics.py", '"""', '"""Said otherwise. ')
    source("platform/training/trainer.py", "\nimport math", "\n# why\nimport math  # what\n\n")
    assert changed(before) == set()


def test_a_new_import_counts_at_once(source):
    before = keys()
    source(
        "platform/training/losses.py",
        "from torch",
        "from deepblur.platform.evaluation.texture import local_std\nfrom torch",
    )
    assert "platform/evaluation/texture" in arm().identify.code()
    assert "identify" in changed(before)


def test_the_code_of_what_a_stage_needs_counts(source):
    """A network is trained anew, so what was measured with the old one is, too."""
    before = keys()["assess"]
    source("platform/training/trainer.py")
    assert "platform/training/trainer" not in stages()["assess"].code()
    assert keys()["assess"] != before


def test_every_import_of_what_carries_a_stage_out_is_counted_or_named(source):
    """What is left out is named in CARRIES and DOORS and nowhere else: both must name what is there."""
    for part in identity.CARRIES:
        assert list(source_tree.root().glob(f"{part}*.py")), part
    for importer, doors in identity.DOORS.items():
        names = imported_names(source_tree.root() / f"{importer}.py")
        assert all(any(n.replace(".", "/").startswith(f"deepblur/{door}") for n in names) for door in doors), importer


def test_the_hash_does_not_follow_the_version_of_python(tmp_path):
    """`ast.dump` would: it tells of fields that newer versions added, and leaves out empty ones since 3.13."""
    file = tmp_path / "module.py"
    file.write_text('"""Doc."""\n\ndef f(x, *, y=None):\n    return f"é{x:.2f} {y!r}", {**x}, b"\\0", 1e-3, None\n')
    tree = ast.parse(file.read_text())
    assert "type_params" not in code._plain(tree)
    for node in ast.walk(tree):
        node.type_params = []  # as 3.12 has it of functions and classes
        node._fields = (*node._fields, "type_params")
    assert code._plain(tree) == code._plain(ast.parse(file.read_text()))
    assert code.hash_of(file) == "366aae521f54f08692c52d6a42c637bf"


STUDY_FILE = """
from dataclasses import dataclass
from own_lens import bent
import own_words
from deepblur.operators import ZernikeBlur

@dataclass(frozen=True)
class MyBlur(ZernikeBlur):
    def psf(self, gamma):
        return super().psf(bent(gamma))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's modules: an operator, the helper that it imports, one beside it, and one that nobody imports."""
    for name, text in {
        "own_blur": STUDY_FILE,
        "own_lens": "from own_constants import FACTOR\ndef bent(gamma):\n    '''Why.'''\n    return FACTOR * gamma\n",
        "own_constants": "FACTOR = 1.0\n",
        "own_words": "TITLE = ''\n",
        "own_unused": "X = 1\n",
        "own_method": "def mine(image, psf_size=31, seed=0):\n    return None\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    operator = importlib.import_module("own_blur").MyBlur(noll=(4, 5), psf_size=15)
    degradation = replace(arm().identify.degradation, operator=operator)

    def key():
        forget()
        return replace(arm().identify, degradation=degradation).key(PRINTS)

    yield key, tmp_path
    for name in [n for n in sys.modules if n.startswith("own_")]:
        del sys.modules[name]
    forget()


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("own_blur", "bent(gamma)", "2 * bent(gamma)", True),
        ("own_lens", "FACTOR * gamma", "-FACTOR * gamma", True),
        ("own_constants", "1.0", "0.1", True),
        ("own_lens", "'''Why.'''", "'''How.'''  # and what", False),
        ("own_unused", "1", "2", False),
        ("own_words", "''", "'New'", False),
        ("own_blur", "import own_words", "import own_words\nTITLE = own_words.TITLE", False),
    ],
)
def test_a_users_own_operator_counts_with_all_it_imports(own, module, old, new, counts):
    key, folder = own
    before, file = key(), folder / f"{module}.py"
    file.write_text(file.read_text().replace(old, new))
    assert (key() != before) == counts


def test_stages_without_own_classes_do_not_follow_a_users_files(own):
    _, folder = own
    before = arm().identify.key(PRINTS)
    (folder / "own_blur.py").write_text(STUDY_FILE + "X = 2\n")
    forget()
    assert arm().identify.key(PRINTS) == before


def test_an_own_method_counts(own, monkeypatch):
    _, folder = own
    monkeypatch.setitem(METHODS, "l0_gradient", importlib.import_module("own_method").mine)
    before = keys()
    (folder / "own_method.py").write_text("def mine(image, psf_size=31, seed=0):\n    return 1\n")
    forget()
    assert changed(before) == {"l0", "tune"}


def test_a_study_file_may_move_and_be_run_as_a_script(own, monkeypatch):
    key, _ = own
    before = key()
    main = importlib.import_module("own_blur")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(main.MyBlur, "__module__", "__main__")
    assert key() == before


def test_a_class_that_was_typed_in_by_hand_is_refused(own, monkeypatch):
    key, _ = own
    monkeypatch.delattr(sys.modules["own_blur"], "__file__")
    with pytest.raises(ValueError, match=r"module own_blur, which is no file.*put it into a file and import it"):
        key()


def test_a_process_with_other_code_is_told_which(own):
    """What a worker finds out before it begins: its own modules and deepblur's must be those of the driver."""
    _, folder = own
    code = identity.code_of(("platform/training/trainer",), [sys.modules["own_blur"].MyBlur])
    assert {
        "own_blur:MyBlur",
        "own_lens",
        "own_constants",
        "platform/training/trainer",
        "operators/pupil",
    } <= code.keys()
    assert differs_here(code) is None
    assert differs_here({**code, "platform/training/trainer": "x"}) == "platform/training/trainer"
    assert differs_here({**code, "__main__": "x", "own_that_is_not_imported_here": "x"}) is None
    (folder / "own_lens.py").write_text("def bent(gamma):\n    return gamma\n")
    assert differs_here(code) is None  # this process has imported the old one
    forget()
    assert differs_here(code) == "own_lens"
