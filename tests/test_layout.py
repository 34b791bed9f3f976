"""The project's shape: what imports what, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("operators", "nets", "baselines", "platform", "studies")
MAY_IMPORT = {  # one way only
    "operators": {"operators"},
    "nets": {"nets", "operators"},
    "baselines": {"baselines", "nets", "operators"},
    "platform": {"platform", "baselines", "nets", "operators"},
    "studies": {"studies", "platform", "baselines", "nets", "operators"},
}
RAY = {"platform/scheduling.py", "platform/trials.py", "platform/worker_group.py"}
RELEASE = ("lookup", "clean_process", "promotion", "succession", "versions")
MLFLOW = {f"platform/{n}.py" for n in ("connection", "tracking", "registry", "mlflow_model", "janitor", "run_record")}
MLFLOW |= {f"platform/release/{name}.py" for name in RELEASE}
FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imports(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: imports are written deepblur.…, not relative"
            yield node.module


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_one_way(file):
    here = file.relative_to(ROOT).as_posix()
    for name in imports(file):
        parts = name.split(".")
        assert parts[0] not in ROOMS or parts == ["platform"], f"{here} imports {name}: write deepblur.{name}"
        if parts[0] == "deepblur" and len(parts) > 1:
            assert parts[1] in MAY_IMPORT[here.partition("/")[0]], f"{here} imports {name}"
        assert parts[0] != "ray" or here in RAY, f"{here} imports Ray"
        assert parts[0] != "mlflow" or here in MLFLOW, f"{here} imports MLflow"


def test_the_root_never_shadows_the_standard_platform_module():
    assert not (ROOT / "platform" / "__init__.py").exists()


def run(code):
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_importing_deepblur_costs_no_torch():
    run("import sys, deepblur; assert not {'torch', 'ray', 'mlflow'} & set(sys.modules)")


def test_the_command_line_answers_without_the_heavy_imports():
    run("import sys, deepblur.platform.cli as c; c.parser().format_help();"
        "assert not {'torch', 'ray', 'mlflow', 'numpy'} & set(sys.modules)")  # fmt: skip


def test_training_needs_no_ray_mlflow_optuna_or_pycocotools():
    run(
        "import sys\nfor name in ('ray', 'mlflow', 'optuna', 'pycocotools'): sys.modules[name] = None\n"
        "import deepblur.operators, deepblur.nets, deepblur.platform.training, deepblur.platform.execution\n"
        "import deepblur.platform.study_run"
    )


def test_the_command_line_bears_a_reader_that_stops_early():
    command = [sys.executable, "-m", "deepblur.platform.cli", "studies"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
