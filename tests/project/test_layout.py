"""The project's shape: what imports what, how large a room is, and what an import costs."""

import ast
import subprocess
import sys
from collections import Counter

import pytest
from floor_plan import FACE, FloorPlan, circles, room_of
from places import ROOT, TESTS

LEVELS = (
    "operators", "nets", "baselines",
    "platform/system", "platform/data", "platform/evaluation", "platform/models", "platform/stages",
    "platform/training", "platform/report", "platform/tracking", "platform/optics", "platform/cluster",
    "platform/registry", "platform/export", "platform/experiment",
    "platform/arms/trained", "platform/arms/methods", "platform/arms/agreement", "platform/arms/uncertainty",
    "platform/arms/tuning", "platform/arms/search", "platform/arms",
    "platform/reproduce", "platform/commands", "platform", "studies",
    "restoration/images", "restoration/pixels", "restoration/formats", "restoration/engines", "restoration",
    "restoration/viewer", "restoration/batch", "restoration/commands", "deepblur",
)  # fmt: skip
"""Rooms from the ground up: a file imports its own room and those before it."""
ROOMS = {level.partition("/")[0] for level in LEVELS}
LARGEST_ROOM = 15  # files; studies and baselines are catalogues, a file each
RAY = ("platform/cluster/", "platform/arms/search/ray_trials.py")
MLFLOW = ("platform/tracking/", "platform/registry/", "platform/reproduce/recorded_run.py")
PLAN = FloorPlan(ROOT)


def arrows_up():
    floor = {level: i for i, level in enumerate(LEVELS)}
    for file, leads in PLAN.arrows.items():
        yield from ((file, to) for to in sorted(leads - FACE) if floor[room_of(to)] > floor[room_of(file)])


@pytest.mark.parametrize("file", PLAN.files)
def test_imports_are_written_in_full(file):
    for name, _ in PLAN.imports(file):
        parts = name.split(".")
        assert parts[0] not in ROOMS - {"deepblur", "platform"}, f"{file} imports {name}: write deepblur.{name}"
        assert parts[0] != "ray" or file.startswith(RAY), f"{file} imports Ray"
        assert parts[0] != "mlflow" or file.startswith(MLFLOW), f"{file} imports MLflow"


def test_a_file_imports_its_own_room_and_those_below():
    assert {room_of(file) for file in PLAN.files} <= set(LEVELS), "a room without a level"
    assert sorted(f"{file} -> {to}" for file, to in arrows_up()) == []


def test_no_files_import_one_another_in_a_circle():
    assert circles(PLAN.arrows) == []


def test_a_room_is_small_enough_to_look_over():
    sizes = Counter(room_of(file) for file in PLAN.files if not file.endswith("__init__.py"))
    rooms = {name: size for name, size in sizes.items() if name.startswith(("platform", "restoration"))}
    assert {name: size for name, size in rooms.items() if size > LARGEST_ROOM} == {}


def test_tests_lie_in_folders_like_those_of_the_packages():
    tests = [path.relative_to(TESTS) for path in TESTS.rglob("test_*.py") if "chaos" not in path.parts]
    rooms = {path.parent.as_posix() for path in tests} - {"project"}
    assert [room for room in sorted(rooms) if not (ROOT / room).is_dir()] == []
    assert {room: n for room, n in Counter(path.parent for path in tests).items() if n > LARGEST_ROOM} == {}


def test_a_room_says_what_lives_in_it():
    rooms = {room_of(file) for file in PLAN.files} - {"platform", "studies"}
    assert [name for name in sorted(rooms) if not (ROOT / name / "__init__.py").is_file()] == []
    for name in sorted(rooms):
        tree = ast.parse((ROOT / name / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{name}/__init__.py has no docstring"
        if name.startswith(("platform/", "restoration")):
            assert len(tree.body) == 1, f"{name}/__init__.py holds more than its docstring"


def test_the_root_never_shadows_the_standard_platform_module():
    assert not (ROOT / "platform" / "__init__.py").exists()


def run(code):
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_importing_deepblur_costs_no_torch():
    run("import sys, deepblur; assert not {'torch', 'ray', 'mlflow'} & set(sys.modules)")


def test_the_command_line_answers_without_the_heavy_imports():
    run("import sys, deepblur.cli as c; c.parser().format_help();"
        "assert not {'torch', 'ray', 'mlflow', 'numpy'} & set(sys.modules)")  # fmt: skip


def test_training_needs_no_ray_mlflow_optuna_or_pycocotools():
    run(
        "import sys\nfor name in ('ray', 'mlflow', 'optuna', 'pycocotools'): sys.modules[name] = None\n"
        "import deepblur.operators, deepblur.nets, deepblur.platform.training.in_process\n"
        "import deepblur.platform.experiment.run"
    )


def test_the_command_line_bears_a_reader_that_stops_early():
    command = [sys.executable, "-m", "deepblur.cli", "studies"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
