"""A study from its command line to its report, in one process without Ray."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from micro_study import STUDY

from deepblur.platform.experiment.command_line import parser, plan
from deepblur.platform.experiment.main import main
from deepblur.platform.experiment.run import is_done
from deepblur.platform.models.model import load_model

FAST = ["--local", "--data", "photos", "--tracking-uri", "none"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def run(runs, capsys, *options, code=0):
    assert main(STUDY, [*FAST, "--runs", str(runs), *options]) == code
    return capsys.readouterr()


def test_a_study_runs_reports_and_reuses(runs, capsys):
    first = run(runs, capsys).out
    assert "5 stages, 0 done before" in first
    assert all(f"[{i}/5]" in first for i in range(1, 6))
    assert "IN, seed 0" in first
    report = Path(re.search(r"report  (\S+)", first)[1])
    assert "<html" in report.read_text()
    items = pd.read_parquet(report.parent / "items.parquet")
    assert len(list((report.parent / "pictures").glob("*.png"))) == 2 * 2
    assert len(items) == 2 * 1 * 2 * 2 * 2  # arms, noise, eta, images, draws
    model = load_model(runs / "models" / report.parent.name / "estimated")
    assert model.card["arm"] == "estimated"
    assert [level["windows"] for level in model.card["uncertainty"]["levels"]] == [1, 4]

    again = run(runs, capsys).out
    assert "5 stages, 5 done before" in again
    assert "[1/" not in again
    pd.testing.assert_frame_equal(pd.read_parquet(report.parent / "items.parquet"), items)
    assert is_done(plan(STUDY, [*FAST, "--runs", str(runs)], program=False))
    assert not is_done(plan(STUDY, [*FAST, "--runs", str(runs), "--set", "dn_steps=4"], program=False))


def test_changing_one_arm_trains_only_that_arm(runs, capsys):
    run(runs, capsys)
    arms = {**STUDY.arms, "true": {"operator": "true", "dn_steps": 3}}
    assert main(replace(STUDY, arms=arms), [*FAST, "--runs", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "5 stages, 3 done before" in out
    assert re.findall(r"\] (.+?): ", out) == ["DN true, seed 0", "evaluation true, seed 0"]


def test_a_failing_stage_ends_with_its_own_error_in_one_line(runs, capsys):
    result = run(runs, capsys, "--set", "batch=12", code=1)
    assert (
        result.err.strip()
        .splitlines()[-1]
        .startswith("error: batch must be a multiple of 8 and at least 8 x 1 workers")
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arms", "tru"], "--arms names 'tru'; this study has true, estimated"),
        (["--set", "eta_wave=0.1"], "no setting 'eta_wave'; did you mean 'eta_waves'?"),
        (["--set", "eta_waves=big"], "the setting eta_waves is a float such as 0.1; got 'big', a str"),
        (["--set", "eta_waves"], "a setting is written NAME=VALUE; got 'eta_waves'"),
        (["--seeds", "0,x"], "--seeds takes numbers with commas between them, such as 0,1,2; got '0,x'"),
        (["--seeds", "1,1"], "--seeds names a number twice: '1,1'"),
        (["--noise", "low:0.1"], "--noise takes NAME:GAIN:READ, such as low:0.005:0.01; got 'low:0.1'"),
        (["--noise", "low:0.1:-1"], "gain and read noise of at least 0"),
        (["--eta", "0.1,-0.1"], "PSF complexities η ≥ 0"),
        (["--draws", "0"], "--draws must be at least 1; got 0"),
        (["--data", "mars"], "data is one of photos, dead-leaves, coco:ROOT, folder:ROOT; got 'mars'"),
        (["--data", "coco:/nowhere"], "/nowhere"),
        (["--workers", "2"], "--local is one process on one device"),
    ],
)
def test_a_bad_command_line_is_one_sentence_and_leaves_no_record(options, message, tmp_path, capsys):
    error = run(tmp_path / "new", capsys, *options, code=1).err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not list((tmp_path / "new").glob("studies/*"))


def test_settings_are_typed_by_their_defaults():
    assert STUDY.parse_setting("eta_waves=1") == ("eta_waves", 1.0)
    assert STUDY.parse_setting("in_steps=5") == ("in_steps", 5)
    assert STUDY.parse_setting("ema=0.9") == ("ema", 0.9)


def test_a_study_that_names_an_unknown_keyword_or_arm_fails_when_it_is_stated():
    with pytest.raises(ValueError, match="no setting 'unrol'"):
        replace(STUDY, arms={"a": {"unrol": 3}})
    with pytest.raises(ValueError, match="the contrast names the arm 'b'"):
        replace(STUDY, contrast=("b", "true"))


def test_the_arms_keywords_win_over_the_settings():
    chosen = plan(STUDY, ["--set", "in_steps=7"])
    arm = STUDY.build("true", settings={**chosen.settings, "operator": "estimated"}, data=chosen.data, seed=3)
    assert arm.deblur.identify is None
    assert arm.identify.optimization.steps == 7
    assert arm.identify.seed == 3


def test_the_docstring_is_the_abstract_and_the_help():
    assert STUDY.title == "Does the machinery hold?"
    assert STUDY.abstract["Measure"] == "Nothing that anybody should quote."
    text = parser(STUDY).format_help()
    assert "Does the machinery hold?" in text
    assert "eta_waves" in text


def test_an_arm_may_have_a_comma_in_its_name():
    arms = dict.fromkeys(("IN", "IN, K = 7", "K = 7"), STUDY.arms["true"])
    study = replace(STUDY, arms=arms, contrast=("IN", "K = 7"))
    assert plan(study, ["--arms", "IN, K = 7,IN,K = 7"]).arms == ("IN, K = 7", "IN", "K = 7")
    with pytest.raises(ValueError, match="--arms names ' K = 8'; this study has IN, IN, K = 7, K = 7"):
        plan(study, ["--arms", "IN, K = 8"])
