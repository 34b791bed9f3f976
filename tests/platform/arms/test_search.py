"""A search: the same trials whoever is quicker and whatever is killed, shared stages, pruning among equals."""

import os
import random
import sqlite3
from types import SimpleNamespace

import optuna
import pytest
from micro_search import SPACE, STUDY
from micro_study import STUDY as BASE

from deepblur.platform.arms.search.history import History
from deepblur.platform.arms.search.loop import END, WAIT, Loop
from deepblur.platform.arms.search.pruning import costs, dearer, rungs, should_stop
from deepblur.platform.arms.search.search import Search
from deepblur.platform.arms.tuning.space import Between, OneOf
from deepblur.platform.data.sources import parse_data
from deepblur.platform.experiment.main import main
from deepblur.platform.stages.stage import Work
from deepblur.platform.training.specification import Training

FAST = ["--local", "--data", "photos"]
TWO = ["--arms", "tpe,random", "--trials", "4"]
GRID = BASE.presets["quick"].grid


def search(**changes):
    given = {"base": BASE, "arm": "true", "settings": {}, "space": SPACE, "objectives": ("psnr_gain_db",), "seed": 0,
             "sampler": "tpe", "pruner": "none", "trials": 12, "startup": 3,
             "data": parse_data("dead-leaves")}  # fmt: skip
    return Search(**{**given, **changes})


class Results(dict):
    """What the loop wants of a ledger, in memory."""

    def __init__(self, folder):
        self.stages = folder

    def done(self, key):
        return self.get(key)

    def attempts(self, key):
        return 0

    def start(self, key, kind, label, processes):
        return 1

    def finish(self, key, result):
        self[key] = result

    def folder(self, key):
        return self.stages / key


def score(params):
    gain = -((params["dn_steps"] - 7) ** 2) - abs(params.get("lr", 0.01) - 0.01)
    return {"psnr_db": gain, "blurry_psnr_db": 0.0, "ssim": 0.0, "blurry_ssim": 0.0, "psf_snr_db": 0.0,
            "latency_ms": 1.0, "seconds": 1.0}  # fmt: skip


def made_up_works(folder):
    """One stage a trial, named by its settings, so that equal trials share it."""

    def works(arm, number):
        settings = (arm.identify.optimization.steps, arm.deblur.optimization.steps, arm.identify.optimization.lr)
        stage = SimpleNamespace(kind="evaluate", processes=1)
        return (Work(stage=stage, key="-".join(map(str, settings)), label="", attempt=0, runs=folder, inputs={},
                     code={}, pixels={}, threads=1),)  # fmt: skip

    return works


SILENT = SimpleNamespace(started=lambda *_: None, rows=lambda *_: None, ended=lambda *_: None)


def run(wanted, folder, concurrent, order, stop_after=None):
    """Carry the trials out in an order of their own; the settings of all, by number."""
    history = History(folder, wanted, "here")
    results = Results(folder)
    loop = Loop(wanted, GRID, history, results, made_up_works(folder), concurrent, SILENT)
    finished = 0
    while True:
        job = loop.next()
        if job == END and not loop.running:
            break
        if job in (END, WAIT):
            chosen = order.choice(sorted(loop.running))
            running = loop.running[chosen]
            loop.done(running, running.works[0], score(running.params))
            finished += 1
            if finished == stop_after:
                break
    return [wanted.params(trial) for trial in history.trials]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "random"])
def test_the_trials_do_not_depend_on_which_is_quicker(sampler, tmp_path):
    wanted = search(sampler=sampler)
    found = [run(wanted, tmp_path / str(i), 3, random.Random(i)) for i in range(2)]
    assert len(found[0]) == 12
    assert found[0] == found[1]


def test_a_search_that_was_stopped_goes_on_to_the_same_trials(tmp_path):
    whole = run(search(), tmp_path / "whole", 2, random.Random(0))
    run(search(), tmp_path / "broken", 2, random.Random(1), stop_after=5)
    assert run(search(), tmp_path / "broken", 2, random.Random(2)) == whole


@pytest.mark.parametrize("damage", ["cut", "text", "another program's", "a folder", "no UTF-8"])
def test_damaged_trials_are_set_aside_and_asked_for_again(damage, tmp_path, capsys):
    whole = run(search(trials=4), tmp_path, 1, random.Random(0))
    file = tmp_path / "optuna.db"
    match damage:
        case "cut":
            os.truncate(file, file.stat().st_size // 2)
        case "text":
            file.write_text("hello " * 1000)
        case "another program's":
            file.unlink()
            sqlite3.connect(file).execute("create table trials (x)").connection.close()
        case "a folder":
            file.unlink()
            file.mkdir()
        case "no UTF-8":
            with sqlite3.connect(file) as database:
                database.execute("update trial_user_attributes set value_json = cast(x'ff' as text)")
            database.close()
    capsys.readouterr()
    assert run(search(trials=4), tmp_path, 1, random.Random(0)) == whole
    said = capsys.readouterr().out
    assert f"the trials in {file} cannot be read" in said
    assert "the file is now optuna.db.damaged-1, and the same trials are asked for again" in said
    assert (tmp_path / "optuna.db.damaged-1").exists()


def test_more_trials_go_on_from_fewer(tmp_path):
    few = run(search(trials=6), tmp_path / "few", 1, random.Random(0))
    assert run(search(trials=9), tmp_path / "few", 1, random.Random(0))[:6] == few


def test_trial_0_is_the_defaults(tmp_path):
    first = run(search(trials=1), tmp_path, 1, random.Random(0))[0]
    assert first == {"in_steps": 12, "dn_steps": 6, "lr": 1e-3}


def test_a_condition_leaves_a_setting_at_its_default(tmp_path):
    for params in run(search(trials=20, sampler="random"), tmp_path, 1, random.Random(0)):
        assert ("lr" in params) == (params["in_steps"] == 12)


def test_tpe_learns(tmp_path):
    found = run(search(trials=20, space={"dn_steps": Between(1, 200, integer=True)}), tmp_path, 1, random.Random(0))
    late = [abs(params["dn_steps"] - 7) for params in found[14:]]
    assert sum(late) / len(late) < 60, "at random it is 94"


def test_a_grid_takes_every_point_once(tmp_path):
    space = {"in_steps": OneOf((6, 12)), "dn_steps": Between(2, 6, step=2, integer=True),
             "lr": OneOf((1e-3, 1e-2), when={"in_steps": 12})}  # fmt: skip
    found = run(search(sampler="grid", space=space, trials=99), tmp_path, 2, random.Random(0))
    assert len(found) == 3 + 3 * 2
    assert all(found.count(params) == 1 for params in found)


def test_trials_that_need_the_same_stage_wait_for_it(tmp_path):
    wanted = search(space={"dn_steps": OneOf((6, 7))}, sampler="random", trials=8)
    history = History(tmp_path, wanted, "here")
    loop = Loop(wanted, GRID, history, Results(tmp_path), made_up_works(tmp_path), 4, SILENT)
    while (job := loop.next()) not in (WAIT, END):
        keys = [work.key for other in loop.running.values() for work in other.works]
        assert len(set(keys)) == len(keys), "a stage was under way twice"
    assert job == WAIT
    assert len(loop.running) == 2


def test_the_worse_are_stopped_among_their_peers():
    asha = search(pruner="asha", startup=4)
    peers = [{1: value, 3: value} for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    assert should_stop(asha, {1: 1.5}, peers)
    assert not should_stop(asha, {1: 5.5}, peers)
    assert not should_stop(asha, {1: 1.5}, peers[:1]), "too few to judge by"
    assert rungs(asha, 9) == {1, 3}
    assert not should_stop(search(pruner="median", startup=4), {1: 4.0}, peers)


def test_a_cheap_trial_is_no_peer_of_a_dear_one():
    both = search(objectives=("psnr_gain_db", "latency_ms"))
    assert dearer(both, {"gmacs": 2.0, "parameters": 1.0}, {"gmacs": 1.0, "parameters": 2.0})
    assert not dearer(both, {"gmacs": 1.0, "parameters": 2.0}, {"gmacs": 1.0, "parameters": 1.0})
    assert not dearer(search(), {"gmacs": 2.0, "parameters": 2.0}, {"gmacs": 1.0, "parameters": 1.0})


def test_costs_are_those_of_the_networks():
    arm = search().configuration({"dn_steps": 6}, GRID)
    found = costs(arm, GRID)
    assert found["parameters"] == 6618
    assert found["gmacs"] > 0
    assert costs(arm, GRID) == found


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"space": {"dn_step": OneOf((1, 2))}}, "did you mean 'dn_steps'"),
        ({"space": {"lr": OneOf((1, 2), when={"in_steps": 6})}}, "'lr' depends on in_steps"),
        ({"objectives": ("speed",)}, "objectives of a search: psnr_gain_db, .*; got 'speed'"),
        ({"sampler": "cma"}, "sampler of a search: .*; got 'cma'"),
        ({"sampler": "grid"}, "a grid needs a step for the range 0.0001 to 0.1"),
        ({"trials": 0}, "at least 1; got 0"),
        ({"objectives": ()}, "a search has objectives"),
    ],
)
def test_a_senseless_search_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        search(**changes)


def test_defaults_outside_the_space_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not hold the default of dn_steps"):
        run(search(space={"dn_steps": Between(100, 200, integer=True)}), tmp_path, 1, random.Random(0))


def test_a_warm_start_uses_an_earlier_search_of_the_same_grid(tmp_path):
    run(search(trials=8), tmp_path / "earlier", 1, random.Random(0))
    later = search(trials=6, seed=5, warm_start=str(tmp_path / "earlier"))
    assert len(History(tmp_path / "later", later, "here").warm) == 8
    run(later, tmp_path / "later", 1, random.Random(0))
    with pytest.raises(ValueError, match="another grid"):
        History(tmp_path / "elsewhere", later, "there")
    with pytest.raises(ValueError, match=r"where no optuna\.db is"):
        History(tmp_path / "nowhere", search(warm_start=str(tmp_path / "none")), "here")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole search study without Ray, recorded."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(STUDY, [*FAST, "--runs", str(runs), *TWO]) == 0
    return runs


def databases(runs):
    return sorted(runs.glob("searches/*/optuna.db"))


def trials(runs):
    found = [optuna.load_study(study_name=None, storage=f"sqlite:///{file}") for file in databases(runs)]
    return {
        study.study_name: [(t.number, t.state, t.params, t.values, t.user_attrs.get("curves")) for t in study.trials]
        for study in found
    }


def test_a_search_study_goes_from_the_command_to_the_report(finished):
    assert len(databases(finished)) == 2
    reports = sorted(finished.glob("studies/*/report.html"))
    assert len(reports) == 2, "the search, and best against default on the test images"


def test_mlflow_has_a_run_for_every_trial(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished}/mlflow.db")
    experiment = client.get_experiment_by_name("micro_search")
    runs = client.search_runs([experiment.experiment_id], "tags.stage = 'trial'")
    assert len(runs) == 8
    assert {run.info.status for run in runs} == {"FINISHED"}
    done = [run for run in runs if run.data.tags["state"] == "complete"]
    assert done
    metrics = {"grid/psnr_gain_db", "cost/latency_ms", "train/IN/loss", "val/DN/psnr_db"}
    assert all(metrics <= run.data.metrics.keys() and "dn_steps" in run.data.params for run in done)


def test_a_search_that_dies_in_a_trial_ends_as_an_undisturbed_one(finished, tmp_path, monkeypatch, capsys):
    options = [*FAST, "--runs", str(tmp_path), "--tracking-uri", "none", *TWO]
    seen = []
    real = Loop.look

    def dying(self, job, work):
        if isinstance(work.stage, Training) and job.number == 2:
            seen.append(work)
            if len(seen) == 3:
                raise RuntimeError("the power went")
        return real(self, job, work)

    monkeypatch.setattr(Loop, "look", dying)
    assert main(STUDY, options) == 1
    monkeypatch.undo()
    capsys.readouterr()
    assert main(STUDY, options) == 0
    said = capsys.readouterr().out
    assert "3 of 4 trials asked for before" in said
    assert "optuna-dashboard sqlite:///" in said
    assert "micro_study.py --preset quick --arms true --set" in said
    assert trials(tmp_path) == trials(finished)
