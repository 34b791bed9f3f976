"""Which model restores: found by any of its names, refused with a sentence, and nothing of it is ever run."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from micro_registry import add_version, empty_registry, home_of, tikhonov_model
from places import ROOT

from deepblur.platform.registry import lookup
from deepblur.platform.registry.choice import NoChampionError, choose_model
from deepblur.platform.system.errors import ModelError
from deepblur.platform.tracking.connection import database_file

Y = torch.linspace(0, 1, 32 * 40).reshape(1, 1, 32, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tikhonov_model(tmp_path_factory.mktemp("trained") / "arm", lam=0.1, card={"study": "micro"})


@pytest.fixture(scope="module")
def tracker(tmp_path_factory, mlflow_template, folder):
    """Versions 1 and 2; 2 is the champion."""
    found = empty_registry(tmp_path_factory.mktemp("registry"), mlflow_template)
    add_version(found, folder)
    add_version(found, tikhonov_model(folder.parent / "other", lam=0.2))
    found.client.set_registered_model_alias("deepblur", "champion", "2")
    return found


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def refused(spec, **keywords) -> str:
    """The sentence with which a model is refused."""
    with pytest.raises(ModelError) as refusal:
        choose_model(spec, **keywords)
    assert refusal.value.exit_code == 5
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("spec", [None, "models:/deepblur@champion", "models:/deepblur/1", "run", "folder", "mlflow"])
def test_a_model_is_found_by_each_of_its_names(tracker, folder, spec):
    run = tracker.client.get_model_version("deepblur", "1").run_id
    given = {"run": f"runs:/{run}", "folder": folder, "mlflow": home_of(tracker, folder)}.get(spec, spec)
    champion = spec in (None, "models:/deepblur@champion")
    chosen = choose_model(given, tracking_uri=tracker.uri)
    assert chosen.version == ("2" if champion else None if spec in ("folder", "mlflow") else "1")
    assert float(chosen.model.deblurrer.lam) == pytest.approx(0.2 if champion else 0.1)
    assert chosen.model.restore(Y).image.shape == Y.shape
    if champion:
        assert chosen.name == "models:/deepblur@champion (version 2)"


def test_the_database_and_mlflow_say_the_same(tracker):
    with lookup.registry(tracker.uri) as read:
        assert isinstance(read, lookup._DatabaseFile)
        asked = lookup._ThroughMlflow(tracker.client, tracker.uri)
        run = tracker.client.get_model_version("deepblur", "1").run_id
        for question in (("version", "deepblur", "1"), ("alias", "deepblur", "champion"), ("of_run", run)):
            name, *values = question
            assert getattr(read, name)(*values) == getattr(asked, name)(*values)
        for name, *values in (("version", "deepblur", "9"), ("alias", "deepblur", "nobody"), ("of_run", "0" * 32)):
            for one in (read, asked):
                with pytest.raises(lookup.MissingError):
                    getattr(one, name)(*values)


def test_a_database_with_other_tables_is_left_to_mlflow(tmp_path, monkeypatch):
    import sqlite3

    sqlite3.connect(tmp_path / "mlflow.db").execute("CREATE TABLE registered_models_2 (name)").connection.close()
    monkeypatch.setattr(lookup, "connect", lambda uri, remedy: "client")
    with lookup.registry(f"sqlite:///{tmp_path}/mlflow.db") as found:
        assert isinstance(found, lookup._ThroughMlflow)


def test_without_a_champion_the_caller_can_tell(tracker, tmp_path, mlflow_template):
    nowhere = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(NoChampionError, match=r"no champion .*there is no registry"):
        choose_model(tracking_uri=nowhere)
    assert list(tmp_path.iterdir()) == []
    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    with pytest.raises(NoChampionError, match="deepblur@champion is not registered"):
        choose_model(tracking_uri=nowhere)
    with pytest.raises(ModelError) as asked_for:  # whoever names a model wants that one and no other method
        choose_model("models:/deepblur@champion", tracking_uri=nowhere)
    assert not isinstance(asked_for.value, NoChampionError)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("models:/deepblur@nobody", "models:/deepblur@nobody is not registered at"),
        ("models:/deepblur/99", "models:/deepblur/99 is not registered"),
        ("models:/other@champion", "is not registered"),
        ("runs:/" + "0" * 32, f"run {'0' * 32} registered no model"),
        ("models:/deepblur", "models:/NAME/VERSION"),
        ("runs:/../../etc", "runs:/ID"),
        ("no/such/folder", "no/such/folder does not exist"),
        (__file__, "is a file"),
    ],
)
def test_what_is_no_model_is_refused_with_a_sentence(tracker, spec, sentence):
    assert sentence in refused(spec, tracking_uri=tracker.uri)


def test_a_registry_that_is_down_or_no_database_is_named(tmp_path):
    said = refused(None, tracking_uri="http://127.0.0.1:9")
    assert "MLflow cannot be used at http://127.0.0.1:9" in said
    assert "start that server" in said
    assert "secret" not in refused("models:/deepblur/1", tracking_uri="http://me:secret@127.0.0.1:9")
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but long enough to be read as one" * 9)
    assert "cannot be read" in refused(None, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_files_that_are_gone_are_named(tracker, folder):
    moved = home_of(tracker, folder.parent / "other")
    moved.rename(folder.parent / "elsewhere")
    try:
        assert "version 2 of deepblur is registered, but" in refused(None, tracking_uri=tracker.uri)
    finally:
        (folder.parent / "elsewhere").rename(moved)


def edited(folder: Path, **changes) -> None:
    description = json.loads((folder / "model.json").read_text())
    for key, value in changes.items():
        description[key] |= value
    (folder / "model.json").write_text(json.dumps(description))


def test_damage_is_refused_with_a_sentence(copy):
    weights = copy / "deblurrer.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-7])
    assert "is damaged" in refused(copy)
    weights.write_bytes(b"\xff" * 200)
    assert "is damaged" in refused(copy)
    weights.write_bytes(whole)
    edited(copy, deblurrer={"widths": [1 << 17, 1 << 17]})  # would take terabytes if it were built
    assert "widths is at most" in refused(copy)
    edited(copy, deblurrer={"widths": [1 << 12, 1 << 12]})
    assert "does not fit the configuration" in refused(copy)
    (copy / "model.json").write_text("[" * 100_000)
    assert "nested too deeply" in refused(copy)
    (copy / "model.json").write_text("{}" + " " * (17 << 20))
    assert "too many for the description" in refused(copy)


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


KINDS = ("only pickles", "beside a model", "renamed weights", "renamed description")


def foreign_folder(foreign: Path, mark: Path, model_folder: Path, kind: str) -> None:
    """An MLflow model folder in which all that can run leaves the file `mark`."""
    payload = pickle.dumps(Bomb(mark))
    model = foreign / "artifacts" / "model"
    (foreign / "code" / "deepblur" / "platform" / "models").mkdir(parents=True)
    (foreign / "data").mkdir()
    model.mkdir(parents=True)
    for name in ("python_model.pkl", "model.pkl", "data.pkl", "data/model.pth", "artifacts/model/weights.pt"):
        (foreign / name).write_bytes(payload)
    torch.save({"weights": Bomb(mark)}, foreign / "checkpoint.pt")
    for name in (
        "code/sitecustomize.py",
        "code/deepblur/__init__.py",
        "code/deepblur/platform/models/model.py",
        "loader.py",
    ):
        (foreign / name).write_text(f"import os\nos.system('touch {mark}')\n")
    (foreign / "MLmodel").write_text(
        "flavors:\n  python_function:\n    code: code\n    loader_module: loader\n    python_model: python_model.pkl\n"
        f"    extra: !!python/object/apply:os.system ['touch {mark}']\n"
    )
    if kind != "only pickles":
        shutil.copytree(model_folder, model, dirs_exist_ok=True)
    if kind == "renamed weights":
        (model / "identifier.safetensors").write_bytes(payload)
    if kind == "renamed description":
        (model / "model.json").write_bytes(payload)


def test_nothing_of_a_foreign_folder_is_run(folder, tmp_path):
    mark = tmp_path / "ran"
    for kind in KINDS:
        foreign_folder(tmp_path / kind, mark, folder, kind)
    code = (
        "import sys\nfrom deepblur.platform.registry.choice import ModelError, choose_model\n"
        "for folder in sys.argv[1:]:\n"
        "    try: print('loaded', choose_model(folder).name)\n"
        "    except ModelError as error: print('refused', error)\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, *(tmp_path / kind for kind in KINDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["refused", "loaded", "refused", "refused"]
    assert "runs no code of a model" in lines[0]
    assert "identifier.safetensors is damaged" in lines[2]
    assert "is not JSON" in lines[3]
    assert not mark.exists()
    with (tmp_path / KINDS[0] / "data.pkl").open("rb") as payload:
        pickle.load(payload)
    assert mark.exists(), "the payload itself must work, or the test shows nothing"


def test_the_default_registry_is_the_nearest(tmp_path, monkeypatch):
    from deepblur.platform.tracking.connection import registry_uri

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DEEPBLUR_RUNS"):
        monkeypatch.delenv(name, raising=False)
    assert database_file(registry_uri()) == tmp_path / "deepblur-runs" / "mlflow.db"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").touch()
    assert database_file(registry_uri()) == tmp_path / "runs" / "mlflow.db"
    monkeypatch.setenv("DEEPBLUR_RUNS", str(tmp_path / "mine"))
    assert database_file(registry_uri()) == tmp_path / "mine" / "mlflow.db"
    assert database_file(registry_uri(tmp_path / "given")) == tmp_path / "given" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert registry_uri() == registry_uri(tmp_path / "given") == "http://server:5000"
