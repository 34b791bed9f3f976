"""A trial that cannot be carried out is a failed trial with its reason; an error of ours still stops the search."""

import random
from types import SimpleNamespace

import optuna
import pytest
import torch
from micro_search import SPACE
from micro_search import STUDY as SEARCH
from test_search import GRID, SILENT, Results, made_up_works, run, score, search

from deepblur.platform.arms.search import loop as search_loop
from deepblur.platform.arms.search.history import History
from deepblur.platform.arms.search.loop import END, Loop
from deepblur.platform.arms.tuning.space import Between, OneOf
from deepblur.platform.experiment.main import main
from deepblur.platform.stages.failure import of_the_settings
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.disk import DiskFullError
from deepblur.platform.system.errors import SettingsError
from deepblur.platform.training.specification import Training

FAST = ["--local", "--data", "photos", "--tracking-uri", "none", "--images", "1", "--draws", "1", "--eta", "0.1"]


@pytest.mark.parametrize(
    ("error", "is_the_trials"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 80 GB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (FloatingPointError("the loss is nan"), True),
        (SettingsError("batch must be a multiple of 8"), True),
        (ValueError("a bug"), False),
        (KeyError("a bug"), False),
        (RuntimeError("the cluster is gone"), False),
        (DiskFullError("no space left on device"), False),
        (OSError(28, "No space left on device"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_which_errors_are_a_trials_own(error, is_the_trials):
    assert of_the_settings(error) == is_the_trials


def test_refused_settings_are_a_failed_trial_and_are_not_asked_for_again(tmp_path):
    wanted = search(sampler="grid", pruner="median", space={"lr": OneOf((1e-3, -1.0, 1e-2))}, trials=3)
    for _ in range(2):
        history = History(tmp_path, wanted, "here")
        told = []
        audience = SimpleNamespace(
            started=lambda job: None,
            rows=lambda *_: None,
            ended=lambda job, state, about, told=told: told.append(state),
        )
        results = Results(tmp_path)
        loop = Loop(wanted, GRID, history, results, made_up_works(tmp_path), 1, audience)
        while (job := loop.next()) != END:
            results[job.works[0].key] = {**score({"dn_steps": 6}), "seconds": 1.0}
            loop._complete(job)
        assert [trial.state.name for trial in history.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
        assert history.trials[1].user_attrs["reason"] == "ValueError: lr must be positive; got -1.0"
    assert told == [], "the second command has nothing left to do"


def test_networks_that_do_not_fit_into_memory_are_a_failed_trial(tmp_path, monkeypatch):
    real = search_loop.costs

    def hungry(arm, grid):
        if arm.deblur.optimization.steps > 6:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(arm, grid)

    monkeypatch.setattr(search_loop, "costs", hungry)
    run(search(trials=5, space={"dn_steps": OneOf((6, 7, 5))}, sampler="grid"), tmp_path, 2, random.Random(0))
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/optuna.db")
    assert sorted(trial.state.name for trial in study.trials) == ["COMPLETE", "COMPLETE", "FAIL"]


def test_an_error_in_the_arm_function_stops_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(search_loop, "costs", lambda *_: {}["a bug"])
    with pytest.raises(KeyError):
        Loop(search(), GRID, History(tmp_path, search(), "here"), Results(tmp_path), made_up_works(tmp_path), 1,
             SILENT).next()  # fmt: skip


def test_a_study_goes_on_after_trials_that_ran_out_of_memory_or_were_refused(tmp_path, capsys, monkeypatch):
    real = Work.carry_out

    def carry_out(work, watch):
        if isinstance(work.stage, Training) and "trial 1" in work.label:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(work, watch)

    monkeypatch.setattr(Work, "carry_out", carry_out)
    command = [*FAST, "--runs", str(tmp_path), "--arms", "random", "--trials", "3", "--set", "pruner=none"]
    assert main(SEARCH, command) == 0
    said = capsys.readouterr().out
    assert "random trial 1 fail: OutOfMemoryError: CUDA out of memory" in said
    assert "[3/3]" in said
    assert main(SEARCH, command) == 0
    assert "3 of 3 trials asked for before" in capsys.readouterr().out


def test_a_search_of_which_no_trial_came_to_an_end_says_so(tmp_path, capsys):
    command = [*FAST, "--runs", str(tmp_path), "--arms", "random", "--trials", "2", "--set", "batch=12"]
    assert main(SEARCH, command) == 1
    assert "error: no trial came to an end; the first one: SettingsError: batch must be" in capsys.readouterr().err


def test_a_warm_start_takes_the_trials_that_lie_in_the_space(tmp_path):
    run(search(trials=8, space={"dn_steps": OneOf((6, 3))}), tmp_path / "earlier", 1, random.Random(0))
    more = search(trials=4, space={"dn_steps": OneOf((6, 3, 9))}, warm_start=str(tmp_path / "earlier"))
    history = History(tmp_path / "more", more, "here")
    assert (len(history.warm), history.told) == (8, f"warm start from 8 of 8 complete trials in {tmp_path}/earlier")
    assert len(run(more, tmp_path / "more", 1, random.Random(0))) == 4
    fewer = search(space={"dn_steps": OneOf((6, 9))}, warm_start=str(tmp_path / "earlier"))
    history = History(tmp_path / "fewer", fewer, "here")
    assert 0 < len(history.warm) < 8
    assert history.told.endswith("others lie outside of the space that is searched now")
    numbers = search(space={"dn_steps": Between(2, 9, integer=True)}, warm_start=str(tmp_path / "earlier"))
    assert len(History(tmp_path / "numbers", numbers, "here").warm) == 8


@pytest.mark.parametrize("space", [{"dn_steps": OneOf((6, 12))}, {"in_steps": OneOf((12, 13))}, SPACE])
def test_a_warm_start_none_of_whose_trials_fits_is_refused_before_any_trial(space, tmp_path):
    run(search(trials=3, space={"dn_steps": OneOf((6, 3)), "lr": OneOf((1e-3,))}), tmp_path / "earlier", 1,
        random.Random(0))  # fmt: skip
    wanted = search(space=space, warm_start=str(tmp_path / "earlier"))
    with pytest.raises(ValueError, match=r"none of the 3 complete trials in .* lies in the space that is searched now"):
        History(tmp_path / "later", wanted, "here")
    assert not (tmp_path / "later").exists()


def test_a_warm_start_from_what_is_no_search_is_one_sentence_and_leaves_the_file_alone(tmp_path, mlflow_template):
    (tmp_path / "text.db").write_text("nothing")
    (tmp_path / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    for name in ("text.db", "mlflow.db"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=r"which cannot be read as a search \(.*\); give the folder"):
            History(tmp_path / "later", search(warm_start=str(tmp_path / name)), "here")
        assert (tmp_path / name).read_bytes() == before
