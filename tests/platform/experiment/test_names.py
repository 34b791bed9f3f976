"""Names: those of arms, images and noise levels work everywhere or are refused before anything is computed."""

import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from micro_study import STUDY
from PIL import Image

from deepblur.platform.commands.studies import question
from deepblur.platform.evaluation.levels import NoiseLevel
from deepblur.platform.experiment.command_line import parser, plan
from deepblur.platform.experiment.main import main
from deepblur.platform.models.card import render
from deepblur.platform.tracking.names import file_name
from deepblur.platform.tracking.tracker import Tracker

ODD = ("10% a|b <i> $x$ `c` *d*", """it's "5'6" \\ %(prog)s %s; ../η""")
"""What breaks tables, search strings, help, formulas, HTML and paths."""


def with_arms(*names, **changes):
    arms = dict(zip(names, STUDY.arms.values(), strict=True))
    return replace(STUDY, arms=arms, contrast=(names[1], names[0]), **changes)


def test_odd_names_work_from_the_help_to_the_registry(tmp_path, capsys, mlflow_template):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(24):
        picture = Image.fromarray(rng.integers(0, 255, (72, 80), dtype=np.uint8))
        picture.save(tmp_path / "images" / f"a|b' % <i>\n {i:02d}.png")
    preset = STUDY.presets["quick"]
    level = NoiseLevel("no|ise' 5 % <b>", 0.0, 0.0)
    study = with_arms(*ODD, presets={"quick": replace(preset, grid=replace(preset.grid, noise=(level,), draws=1))})
    assert all(name in " ".join(parser(study).format_help().split()) for name in ODD)
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    command = ["--local", "--data", f"folder:{tmp_path}/images", "--runs", str(runs), "--images", "2", "--eta", "0.1"]
    for _ in range(2):
        assert main(study, command) == 0
    out = capsys.readouterr().out
    assert out.count("is arm") == 4, "both are registered, and found again"
    client = mlflow.MlflowClient(f"sqlite:///{runs}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("micro_study").experiment_id])
    assert sorted(run.data.tags["arm"] for run in found if run.data.tags["stage"] == "arm") == sorted(ODD)
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len({v.version for v in client.search_model_versions("name = 'deepblur'")}) == 2
    assert len(list(runs.glob("studies/*/pictures/*.png"))) == 2 * 2
    assert len(list(runs.glob("models/*/*/model.json"))) == 2
    report = next(runs.glob("studies/*/report.html")).read_text(encoding="utf-8")
    assert "<i>" not in report
    assert "a|b&#39; % &lt;i&gt;" in report


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ("a\nb", "c")}, r"the name of an arm begins with .*; got 'a\\nb'"),
        ({"arms": ("a\x1b[31m", "c")}, "no line breaks or other control characters"),
        ({"arms": ("", "c")}, "the name of an arm begins with"),
        ({"arms": ("_a", "c")}, "neither blank nor _"),
        ({"arms": ("x" * 101, "c")}, "100 signs at most"),
        ({"arms": ("a b", "a|b")}, "would both be called 'a-b' in MLflow"),
        ({"name": "a/b"}, "a study is called by letters, .*; got 'a/b'"),
        ({"name": ".."}, "a study is called by letters"),
        ({"name": "it's"}, "a study is called by letters"),
    ],
)
def test_names_that_cannot_be_written_are_refused_first(changes, message, tmp_path):
    study = with_arms(*changes["arms"]) if "arms" in changes else replace(STUDY, **changes)
    with pytest.raises(ValueError, match=message):
        plan(study, ["--runs", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("levels", "message"), [("a:0:0,a:0.1:0", "noise level 'a'"), ("a b:0:0,a-b:0:0", "a-b"),
                                                 ("a\tb:0:0", "control characters")])  # fmt: skip
def test_noise_levels_are_told_apart(levels, message):
    with pytest.raises(ValueError, match=message):
        plan(STUDY, ["--noise", levels])


def test_every_shipped_study_has_names_that_pass():
    import importlib

    from deepblur.platform.commands.studies import installed

    for name in installed():
        study = getattr(importlib.import_module(f"deepblur.studies.{name}"), "STUDY", None)
        for preset in study.presets if study else ():
            plan(study, ["--preset", preset])


def test_a_run_is_found_again_by_a_key_that_would_end_the_search_string(tmp_path, mlflow_template):
    shutil.copy(mlflow_template, tmp_path / "m.db")
    for _ in range(2):
        tracker = Tracker.open(f"sqlite:///{tmp_path}/m.db", "names")
        study = tracker.study_run(key='it\'s a "key"', name="it's", params={})
        child = tracker.child_run(parent=study, key="arm's/0", name="arm's", params={})
        tracker.finish(child, ok=True)
        tracker.finish(study, ok=True)
        assert tracker.problems == []
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 2


def test_file_names_are_plain_and_differ():
    assert file_name("T = 4, R(0)") == "T = 4, R(0)"
    odd = [file_name(text) for text in ("a/b", "a|b", "a-b ", "..", "", "η", "x" * 300, "a\nb")]
    assert len(set(odd)) == len(odd)
    assert all(name.isascii() and name.isprintable() and "/" not in name and 0 < len(name) < 100 for name in odd)


def test_a_card_keeps_its_table():
    lines = render({"study": "s", "arm": "a|b\nc"}).splitlines()
    assert r"| arm | a\|b c |" in lines


def test_a_study_file_without_docstring_is_called_by_its_name(tmp_path):
    for about in (None, "", "\n  \n"):
        study = replace(STUDY, about=about)
        assert (study.title, study.abstract) == ("micro_study", {})
        assert "usage:" in parser(study).format_help()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("x = (\n")
    (tmp_path / "c.py").write_text('"""Why?\n\nMore."""\n')
    assert question(tmp_path / "a.py").startswith("(no docstring")
    assert question(tmp_path / "b.py").startswith("(cannot be read")
    assert question(tmp_path / "c.py") == "Why?"


def test_a_study_file_elsewhere_is_called_as_it_was_typed(tmp_path, monkeypatch, capsys):
    source = Path(sys.modules["micro_study"].__file__).read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(source.replace('name="micro_study"', 'name="other"'), encoding="utf-8")
    monkeypatch.chdir(tmp_path.parent)
    typed = f"{tmp_path.name}/mine.py"
    monkeypatch.setattr(sys, "argv", [typed, "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(typed, run_name="__main__")
    assert capsys.readouterr().out.startswith(f"usage: python {typed} [-h]")
