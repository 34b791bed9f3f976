"""What a program may import says what it takes and when it refuses: each parameter, and each ValueError of its own."""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from functools import cache
from itertools import pairwise

import doc_pages
import pytest

import deepblur
from deepblur.operators import PoissonGaussian, ZernikeBlur
from deepblur.operators.microscope import Microscope, MicroscopeState
from deepblur.platform.export.export import export_model
from deepblur.platform.models.model import BlindModel, Restoration, load_model
from deepblur.platform.optics.optics_file import Optics, load_optics
from deepblur.platform.registry.publish import load_registered
from deepblur.platform.reproduce.reproduce import Conditions, Reproduction, reproduce
from deepblur.platform.study import Study
from deepblur.restoration.batch.calibrate import calibrate_files
from deepblur.restoration.batch.identify import identify_files
from deepblur.restoration.batch.image_files import Results
from deepblur.restoration.batch.psf import psf_file
from deepblur.restoration.batch.restore import restore_files
from deepblur.restoration.batch.simulate import simulate_file
from deepblur.restoration.options import EngineChoice, Options
from deepblur.restoration.restore import Restored

ROOMS = ("deepblur.operators", "deepblur.nets", "deepblur.baselines", "deepblur.platform.study")
LIBRARY = (
    deepblur.restore, Restored, restore_files, identify_files, psf_file, simulate_file, calibrate_files, Results,
    EngineChoice, Options, ZernikeBlur.from_optics, ZernikeBlur.psf, ZernikeBlur.forward, PoissonGaussian.__call__,
    Microscope, Microscope.psf, MicroscopeState, Optics, Optics.operator, Optics.sample, Optics.local_psfs, load_optics,
    load_model, load_registered, BlindModel, BlindModel.restore, Restoration, export_model, reproduce, Conditions,
    Reproduction, Study.run,
)  # fmt: skip
"""What docs/library.md names beside the rooms' own lists."""


def public():
    for room in map(importlib.import_module, ROOMS):
        yield from ((f"{room.__name__}.{name}", getattr(room, name)) for name in room.__all__)
    yield from ((thing.__qualname__, thing) for thing in LIBRARY)


PUBLIC = {name: thing for name, thing in public() if inspect.isroutine(thing) or inspect.isclass(thing)}


@cache
def tree(thing):
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def described_fields(cls):
    """Names of a dataclass's fields below which a docstring stands."""
    body = tree(cls).body
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield field.target.id


def section(thing, heading):
    """What stands below `heading:` in a docstring, up to the next line that is not indented."""
    found = re.search(rf"^{heading}:\n((?: +.*\n|\n)*)", (inspect.getdoc(thing) or "") + "\n", re.MULTILINE)
    return found[1] if found else ""


def documented(thing):
    lines = re.findall(r"^ {4}(\w[\w, ]*):", section(thing, "Args"), re.MULTILINE)
    names = {name for line in lines for name in line.split(", ")}
    if inspect.isclass(thing):
        parts = (cls for cls in thing.__mro__ if "__dataclass_fields__" in vars(cls))
        names.update(*map(described_fields, parts))
    return names


def taken(thing):
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return set()
    return {*inspect.signature(thing).parameters} - {"self"}


def refuses(thing):
    """Whether a function, or what a class does when it is made, raises a ValueError itself."""
    if inspect.isclass(thing):
        own = [vars(thing).get("__post_init__" if dataclasses.is_dataclass(thing) else "__init__")]
        return any(refuses(method) for method in own if method is not None)
    raised = [node.exc for node in ast.walk(tree(thing)) if isinstance(node, ast.Raise)]
    return any(isinstance(call, ast.Call) and ast.unparse(call.func) == "ValueError" for call in raised)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_parameter_of_what_is_public_is_documented(name):
    assert inspect.getdoc(PUBLIC[name]), "no docstring"
    assert taken(PUBLIC[name]) - documented(PUBLIC[name]) == set(), "without a line of their own"


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if refuses(thing)])
def test_what_refuses_a_value_says_so(name):
    assert "ValueError" in section(PUBLIC[name], "Raises")


def test_what_the_page_for_programs_imports_is_held_here():
    page = doc_pages.ROOT / "docs" / "library.md"
    for block in (block for block in doc_pages.blocks(page) if block.kind == "python"):
        for node in (node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.ImportFrom)):
            for alias in node.names if node.module.startswith("deepblur") else ():
                thing = getattr(importlib.import_module(node.module), alias.name)
                assert isinstance(thing, dict) or thing in PUBLIC.values(), f"{block.name} imports {alias.name}"
