"""A version's code is run only if it is this deepblur's, down to what MLflow is told to load."""

import shutil
from pathlib import Path

import pytest
from micro_registry import FAST, MICRO, add_version, empty_registry, home_of

from deepblur.cli import main
from deepblur.platform.registry import promotion
from deepblur.platform.registry.packed_code import copy_of, packed
from deepblur.platform.registry.promotion import Promoter
from deepblur.platform.system.errors import ModelError
from deepblur.platform.system.imports import imported_names

OURS = """flavors:
  python_function:
    artifacts: {model: {path: artifacts/model, uri: /somewhere/model}}
    cloudpickle_version: 3.1.3
    code: code
    config: {max_pixels: 4194304, threads: 0}
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.pyfunc.loaders.code_model
    model_code_path: /somewhere/mlflow_model.py
    python_version: 3.11.7
    streamable: false
saved_input_example_info: {artifact_path: input_example.json}
"""


def test_what_is_packed_brings_along_all_that_it_imports_of_deepblur():
    known = packed()
    for name, file in known.items():
        late = name == "code/deepblur/__init__.py"  # `deepblur.restore` is imported when it is asked for
        for imported in imported_names(file) if name.endswith(".py") and not late else []:
            if imported.startswith("deepblur."):
                module = f"code/{imported.rpartition('.')[0].replace('.', '/')}"
                brought = {f"{module}.py", f"{module}/__init__.py"} & set(known)
                assert brought, f"{name} imports {imported}, which no version brings along"
    assert "code/deepblur/_version.py" in known


def bring_code(version: Path) -> Path:
    """Makes a folder an MLflow model with this deepblur's code, as `registry.save_pyfunc` does."""
    for name, file in packed().items():
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, version / name)
    (version / "MLmodel").write_text(OURS)
    return version


@pytest.fixture
def version(tmp_path):
    (tmp_path / "version" / "artifacts" / "model").mkdir(parents=True)
    (tmp_path / "version" / "artifacts" / "model" / "model.json").write_text("{}")
    return bring_code(tmp_path / "version")


def test_a_version_of_this_deepblur_is_copied_without_what_it_does_not_know(version, tmp_path):
    (version / "code" / "sitecustomize.py").write_text("raise SystemExit('run')")
    (version / "code" / "deepblur" / "nets" / "__pycache__").mkdir()
    (version / "code" / "deepblur" / "nets" / "__pycache__" / "drunet.cpython-311.pyc").write_bytes(b"")
    assert copy_of(version, tmp_path / "copy", trust=False) == []
    copied = {p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*") if p.is_file()}
    assert copied == {*packed(), "MLmodel", "artifacts/model/model.json"}
    assert copy_of(version, tmp_path / "trusted", trust=True) == []
    assert (tmp_path / "trusted" / "code" / "sitecustomize.py").is_file()


@pytest.mark.parametrize("name", ["mlflow_model.py", "code/deepblur/__init__.py", "code/deepblur/nets/drunet.py"])
def test_a_changed_or_missing_file_is_named(version, tmp_path, name):
    (version / name).write_text("# older\n" + (version / name).read_text())
    assert copy_of(version, tmp_path / "changed", trust=False) == [name]
    (version / name).unlink()
    assert copy_of(version, tmp_path / "missing", trust=False) == [name]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("mlflow.pyfunc.loaders.code_model", "os"),
        ("code: code", "code: ."),
        ("code: code", "code: [code, artifacts/model]"),
        ("/somewhere/mlflow_model.py", "code/deepblur/evil.py"),
        ("    streamable: false", "    data: artifacts"),
        ("    streamable: false", "    streamable: true"),
        ("    streamable: false", "    predict_fn: unwrap_python_model"),
        ("    streamable: false", "    python_model: artifacts/model/model.pkl"),
        ("python_function", "sklearn"),
        (OURS, "flavors: [python_function"),
        (OURS, "- 1"),
        (OURS, "[" * 5000),
        (OURS, "!!python/object/apply:os.system [id]"),
        (OURS, "x: " + "y" * 1_000_001),
    ],
)
def test_another_way_to_load_it_is_named(version, tmp_path, ours, theirs):
    (version / "MLmodel").write_text(OURS.replace(ours, theirs))
    assert copy_of(version, tmp_path / "copy", trust=False) == ["MLmodel"]


@pytest.mark.parametrize("link", ["code/deepblur/nets", "artifacts/model/secret", "mlflow_model.py"])
def test_links_out_of_a_version_are_not_followed(version, tmp_path, link):
    (tmp_path / "secret").mkdir()
    if (version / link).is_dir():
        shutil.rmtree(version / link)
    (version / link).unlink(missing_ok=True)
    (version / link).symlink_to(tmp_path / "secret")
    for trust in (False, True):
        with pytest.raises(ValueError, match=r"by a link|is a link to"):
            copy_of(version, tmp_path / f"copy {trust}", trust=trust)


def test_a_promotion_runs_foreign_code_after_trust_alone(tmp_path, mlflow_template, folders, monkeypatch):
    tracker = empty_registry(tmp_path, mlflow_template)
    add_version(tracker, folders["fair"])
    home, ran = bring_code(home_of(tracker, folders["fair"])), []

    def promoter(trust):
        def clean(version, model):
            ran.append((version / "mlflow_model.py").read_bytes())
            return "in a clean process it does not load (a test)"

        return Promoter(tracker.uri, "deepblur", grid=MICRO, bound=FAST, clean=clean, trust=trust)

    promoter(trust=False).promote("1")
    assert ran == [packed()["mlflow_model.py"].read_bytes()]
    (home / "mlflow_model.py").write_text("import evil\n")
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "score", lambda *_: pytest.fail("measured before it was refused"))
        with pytest.raises(
            ModelError, match=r"code that is not this deepblur's \(mlflow_model.py\), and a promotion"
        ) as e:
            promoter(trust=False).promote("1")
    assert "'deepblur models register models:/deepblur/1' makes" in str(e.value)
    assert len(ran) == 1
    promoter(trust=True).promote("1")
    assert ran[1] == b"import evil\n"


def test_a_folder_that_links_out_of_itself_is_not_published(tmp_path, folders, capsys):
    gift = shutil.copytree(folders["fair"], tmp_path / "gift")
    (gift / "NOTICE").symlink_to("/etc/passwd")
    assert main(["models", "register", str(gift), "--tracking-uri", f"sqlite:///{tmp_path}/new.db"]) == 5
    assert (
        "NOTICE is a link to /etc/passwd, outside of the folder; put the file itself there" in capsys.readouterr().err
    )
    assert not (tmp_path / "new.db").exists()
