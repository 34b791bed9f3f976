"""Every second that a study reserves is accounted for, and a budget stops it where it can go on."""

import re
import sqlite3
import time

import pytest
from micro_study import STUDY

from deepblur.platform.experiment import run as study_run
from deepblur.platform.experiment.command_line import parser
from deepblur.platform.experiment.main import main
from deepblur.platform.report.page import cost_section
from deepblur.platform.stages.cost import CLASSES, Budget, BudgetSpentError, Cost, by_class, cost_of, cost_table
from deepblur.platform.stages.ledger import Ledger

FAST = ["--local", "--data", "photos", "--tracking-uri", "none"]


class StopsAt(Budget):
    """A budget that is spent when it is asked for the nth time."""

    left = 0

    def spent(self):
        StopsAt.left -= 1
        return None if StopsAt.left else "budget of 0.5 h spent"


@pytest.fixture(scope="module")
def stopped_and_done(tmp_path_factory):
    """The output of a study that a budget stopped in its second training, and of the same command again."""
    runs = tmp_path_factory.mktemp("runs")
    output = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_run, "Budget", StopsAt)
        StopsAt.left = 6  # before the IN, its three checkpoints, before the DN, its first checkpoint
        assert main(STUDY, [*FAST, "--runs", str(runs)]) == 3
    output.append(_sessions(runs))
    started = time.time()
    assert main(STUDY, [*FAST, "--runs", str(runs)]) == 0
    return runs, output[0], time.time() - started


def _sessions(runs):
    with sqlite3.connect(runs / "ledger.db") as database:
        return database.execute("select finished - started, cpu_s from session order by id").fetchall()


def test_a_spent_budget_leaves_what_the_same_command_goes_on_from(stopped_and_done):
    runs, _, _ = stopped_and_done
    with Ledger(runs) as ledger:
        table = cost_table(ledger)
    outcomes = table.groupby("kind", sort=False)["outcome"].apply(list).to_dict()
    assert outcomes == {"identify": ["done"], "deblur": ["interrupted", "done", "done"], "evaluate": ["done"] * 2}
    interrupted, resumed = table[table["key"] == table["key"][1]].to_dict("records")
    assert interrupted["useful_s"] > 0
    assert interrupted["lost_steps"] == 0  # it was stopped right after its checkpoint
    assert resumed["attempt"] == 2


def test_the_seconds_of_a_session_are_its_wall_clock_and_those_of_its_attempts(stopped_and_done):
    runs, before, seconds = stopped_and_done
    with Ledger(runs) as ledger:
        table = cost_table(ledger)
    assert len(before) == 1
    (first_wall, first), (second_wall, second) = _sessions(runs)[:2]
    assert first == pytest.approx(first_wall)
    assert second == pytest.approx(second_wall)  # one core
    assert seconds / 2 < second <= seconds  # of which some went to the command line
    for session, capacity in ((1, first), (2, second)):
        mine = table[table["session"] == session]
        reserved = sum(by_class(mine, "cpus").values())
        assert reserved == pytest.approx(mine["cpu_s"].sum())
        assert 0 < reserved <= capacity
    parts = table[[f"{name}_s" for name in CLASSES]]
    assert (parts >= 0).all(axis=None)
    assert (table["cpu_used_s"] > 0).all()


def test_the_report_says_what_it_cost(stopped_and_done):
    (report,) = stopped_and_done[0].glob("studies/*/report.html")
    text = report.read_text()
    assert "What it cost" in text
    assert re.search(r"This command took \d.*core-(s|min): \d+% useful", text)


def test_seconds_are_classed_by_the_outcome(tmp_path):
    with Ledger(tmp_path, "study", workers=2, cpus=3, gpus=0.5) as ledger:
        for key, end in {"a": ledger.fail, "b": ledger.prune}.items():
            ledger.start(key, "identify", key)
            end(key, "for a reason")
        ledger.start("c", "evaluate", "c", processes=1)
        ledger.beat(8.0, 2.0)
        cost = cost_of(ledger, ["a", "b", "c"])
        table = cost.attempts.set_index("key")
        assert table.loc["a", ["cpus", "gpus"]].tolist() == [6.0, 1.0]
        assert table["outcome"].to_dict() == {"a": "failed", "b": "pruned"}  # c is under way
        assert table.loc["a", "failed_s"] == table.loc["a", "seconds"] > 0
        assert table.loc["b", "pruned_s"] == table.loc["b", "seconds"] > 0
        assert sum(cost.cpu.values()) == pytest.approx(8 * cost.seconds, rel=0.01)
        assert cost.metrics()["cost/cpu_s/failed"] == pytest.approx(6 * table.loc["a", "seconds"])
        assert ledger.seconds("a") == table.loc["a", "seconds"]


def test_a_study_without_any_attempt_costs_nothing(tmp_path):
    with Ledger(tmp_path) as ledger:
        cost = cost_of(ledger, ["a"])
    assert isinstance(cost, Cost)
    assert cost.metrics()["cost/cpu_s"] == 0.0
    assert "this command took" in cost.sentence()
    assert cost_section(cost).blocks
    assert not cost_section(None).blocks


def test_a_budget_is_of_hours_or_of_gpu_hours(tmp_path):
    with Ledger(tmp_path, started=time.time() - 1800, gpus=2.0) as ledger:
        assert Budget(None, None, ledger).spent() is None
        assert Budget(0.6, None, ledger).spent() is None
        with pytest.raises(BudgetSpentError, match=r"^budget of 0.5 h spent: 12 of 40 stages done$"):
            Budget(0.5, None, ledger).check(12, 40)
        ledger.start("a", "identify", "IN")
        assert Budget(None, 1e-3, ledger).spent() is None
        time.sleep(0.02)
        assert Budget(None, 1e-6, ledger).spent() == "budget of 1e-06 GPU-h spent"


@pytest.mark.parametrize("option", ["--hours", "--gpu-hours"])
def test_a_budget_of_nothing_is_refused(option, tmp_path, capsys):
    assert main(STUDY, [*FAST, "--runs", str(tmp_path), option, "0"]) == 1
    assert f"{option} must be above 0; got 0" in capsys.readouterr().err


def test_help_tells_how_a_study_ends():
    text = parser(STUDY).format_help()
    assert "3 a budget is spent" in text
    assert "the same command goes on" in text
