"""The gate lets a better model pass and no other; the alias moves whole, one mover at a time, and back."""

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from micro_registry import FAST, MICRO, copy_of, home_of
from places import ROOT

from deepblur.platform.registry import clean_process, gate
from deepblur.platform.registry.champion import CHAMPION, CLAIM, BusyError, ChampionAlias, Claim
from deepblur.platform.registry.gate import BLURRY, compare, judge
from deepblur.platform.registry.gate_grid import GRID, score
from deepblur.platform.system.errors import ModelError
from deepblur.platform.tracking.connection import connect


def decide(candidate, champion, **changes):
    names = ("candidate", "champion")
    return judge(candidate, champion, **{"names": names, "grid": MICRO, "bound": FAST, "clean": str, **changes})


def test_the_grid_is_the_one_that_all_versions_were_judged_on():
    assert GRID.fingerprint() == "9d7fc00120f3"
    tables = [(rows, batch) for rows, batch in GRID.observations()]
    assert sum(map(len, (rows for rows, _ in tables))) == 126
    means = [[float(b.blurry.mean()), float(b.blurry.std()), float(b.gamma.std())] for _, b in (tables[0], tables[-1])]
    assert np.allclose(means, PINNED, atol=1e-5), means


PINNED = [[0.47142618, 0.24878113, 0.02978367], [0.67901480, 0.15186146, 0.03737445]]


def test_a_better_an_equal_and_a_worse_candidate(models):
    better = decide(models["good"], models["fair"])
    assert better.passed
    assert better.figures["difference_low_db"] > 0
    equal = decide(models["fair"], models["fair"])
    assert not equal.passed
    assert equal.figures["difference_db"] == 0
    assert "is not shown to restore better than champion" in equal.reason
    worse = decide(models["fair"], models["good"])
    assert not worse.passed
    assert "restores worse than champion" in worse.reason
    assert worse.figures["difference_db"] == pytest.approx(-better.figures["difference_db"])


def test_the_first_champion_must_beat_doing_nothing(models):
    assert decide(models["fair"], None).passed
    refused = decide(models["bad"], None)
    assert not refused.passed
    assert f"restores worse than {BLURRY}" in refused.reason
    assert refused.rival == BLURRY


def test_better_is_not_enough_for_one_who_is_much_slower(models, monkeypatch):
    monkeypatch.setattr(gate, "_seconds", lambda models, y, reverse: [2.0, 1.0][: len(models)])
    slow = decide(models["good"], models["fair"])
    assert [check.name for check in slow.checks if not check.passed] == ["latency"]
    assert "2.00 times the champion's; allowed are 1.5 times, or 1.5 s" in slow.reason
    assert decide(models["good"], models["fair"], bound=replace(FAST, free_s=2.5)).passed


def test_a_slow_round_alone_refuses_nobody(models, monkeypatch):
    rounds = iter([[1.0, 1.0], [9.0, 1.0], *[[1.9, 1.8]] * 9])
    monkeypatch.setattr(gate, "_seconds", lambda *_, **__: next(rounds))
    assert decide(models["good"], models["fair"]).passed


class Broken:
    """Refuses, or gives what is no image."""

    def __init__(self, model, image) -> None:
        self.model, self.image, self.identifier, self.card = model, image, model.identifier, {}

    def restore(self, y):
        if self.image is None:
            raise RuntimeError("out of memory\nand more")
        return replace(self.model.restore(y), image=torch.full_like(y, self.image))


def test_what_fails_on_the_grid_is_refused_with_the_reason(models):
    raised = decide(Broken(models["good"], None), models["fair"])
    assert raised.reason == "it fails on the grid: out of memory"
    lost = decide(Broken(models["good"], float("nan")), models["fair"])
    assert lost.reason == "7 of 7 restorations are not finite"
    deaf = decide(replace(models["good"], identifier=None), models["fair"])
    assert deaf.reason == "it has no identification network"
    assert not raised.passed | lost.passed | deaf.passed
    with pytest.raises(ValueError, match="version 2 gives values that are not finite"):
        compare(models["good"], Broken(models["fair"], float("inf")), names=("version 1", "version 2"), grid=MICRO,
                bound=FAST)  # fmt: skip


def test_a_model_that_does_otherwise_in_a_clean_process_is_refused(models):
    found = decide(models["good"], models["fair"], clean=lambda: "in a clean process it does not load (no torch)")
    assert found.reason == "in a clean process it does not load (no torch)"
    unasked = decide(models["bad"], models["fair"], clean=lambda: pytest.fail("a refused model is not loaded"))
    assert not unasked.passed


def test_another_psf_support_is_measured_on_that_of_the_truth(models):
    smaller = replace(models["fair"], operator=replace(models["fair"].operator, psf_size=21))
    larger = replace(models["fair"], operator=replace(models["fair"].operator, psf_size=41))
    means = [score(model, MICRO)["psf_snr_db"].mean() for model in (models["fair"], smaller, larger)]
    assert 20 < means[1] < means[0]  # what it leaves out is counted as zero
    assert means[2] > 20


NAMED = ("observations.csv", "cells.csv", "decision.json")


def test_promotion_writes_decision_reasons_and_evaluation(promoter):
    assert promoter.promote("2").promoted
    refused = promoter.promote("1")
    assert not refused.promoted
    state = promoter.alias.read()
    assert (state.champion, state.challenger) == ("2", "1")
    first, second = (promoter.client.get_model_version("deepblur", v) for v in ("1", "2"))
    assert (first.tags["gate.decision"], second.tags["gate.decision"]) == ("refused", "passed")
    assert first.tags["gate.rival"] == "version 2"
    assert first.tags["gate.reason"] in first.description
    assert float(second.tags["gate.gain_low_db"]) > 0
    files = {file.path for file in promoter.client.list_artifacts(second.run_id, "gate/version-2")}
    assert files == {f"gate/version-2/{name}" for name in (*NAMED, "gate_scores.json")}
    assert promoter.promote("2").sentences == ("version 2 is the champion already",)


def test_rollback_goes_back_one_by_one(promoter):
    promoter.alias.move("2", expected=None, how="promote")
    promoter.alias.move("3", expected="2", how="promote")
    promoter.alias.client.set_registered_model_alias("deepblur", CHAMPION, "1")  # somebody did it by hand
    assert [reign.how for reign in promoter.alias.read().reigns] == ["promote", "promote", "by hand"]
    for expected in ("3", "2"):
        assert promoter.rollback().promoted
        assert promoter.alias.read().champion == expected
    with pytest.raises(ModelError, match="no earlier champion"):
        promoter.rollback()
    promoter.alias.move("3", expected="2", how="promote")
    assert [reign.version for reign in promoter.alias.read().reigns] == ["2", "3"]


def test_a_champion_that_cannot_be_loaded_is_not_replaced_unseen(promoter, base, folders):
    promoter.alias.move("2", expected=None, how="promote")
    home = home_of(base, folders["fair"])
    home.rename(home.with_name("away"))
    try:
        with pytest.raises(ModelError, match="version 2 of deepblur is registered, but"):
            promoter.promote("3")
    finally:
        home.with_name("away").rename(home)
    assert promoter.alias.read().champion == "2"


def test_who_compared_with_an_earlier_champion_compares_again(promoter, monkeypatch):
    promoter.alias.move("1", expected=None, how="promote")
    other = ChampionAlias(promoter.client, "deepblur", promoter.uri)
    rivals = []
    decide = promoter._decide

    def meanwhile(version, candidate, champion, folder):
        rivals.append(champion)
        found = decide(version, candidate, champion, folder)
        if champion == "1":
            other.move("3", expected="1", how="promote")
        return found

    monkeypatch.setattr(promoter, "_decide", meanwhile)
    assert not promoter.promote("2").promoted
    assert rivals == ["1", "3"]
    assert promoter.alias.read().champion == "3"


MOVERS = """
import json, os, sys, time
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store  # once for all children
from deepblur.platform.registry.champion import ChampionMovedError, ChampionAlias
from deepblur.platform.tracking.connection import connect

def move(uri, to, dies_after, lock, start):
    client = connect(uri)
    alias = ChampionAlias(client, "deepblur", uri)
    if not lock:
        alias._lock_file = None  # as on a server
    writes = 0
    def counted(call):
        def write(*values):
            nonlocal writes
            call(*values)
            writes += 1
            if writes == dies_after:
                os._exit(9)
        return write
    for name in ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_tag"):
        setattr(client, name, counted(getattr(client, name)))
    time.sleep(max(0.0, start - time.time()))
    try:
        alias.move(to, expected="1", how="promote")
        os._exit(0)
    except ChampionMovedError:
        os._exit(1)

codes = {}
for case, (uri, tos, dies_after, lock) in json.loads(sys.argv[1]).items():
    start = time.time() + (1.0 if len(tos) > 1 else 0.0)
    children = []
    for to in tos:
        children.append(os.fork())
        if children[-1] == 0:
            move(uri, to, dies_after, lock, start)
    codes[case] = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(json.dumps(codes))
"""
CRASHES = {"claimed": 1, "alias-set": 2, "history-written": 3}
RACES = ("locked", "unlocked", "unlocked-again")


@pytest.fixture(scope="module")
def struck(tmp_path_factory, base):
    """Copies of a registry whose champion is 1, each after processes tried to make 2 (and 3) champion.

    Case → alias and exit codes: 0 moved, 1 came too late, 9 killed.
    """
    home = tmp_path_factory.mktemp("struck")
    start = copy_of(base, home / "start")
    ChampionAlias(connect(start), "deepblur", start).move("1", expected=None, how="promote")
    cases = {}
    for case in (*CRASHES, *RACES):
        shutil.copytree(home / "start", home / case)
        tos = ["2"] if case in CRASHES else ["2", "3"]
        cases[case] = [f"sqlite:///{home}/{case}/mlflow.db", tos, CRASHES.get(case, 0), "unlocked" not in case]
    done = subprocess.run([sys.executable, "-c", MOVERS, json.dumps(cases)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    uris = {case: values[0] for case, values in cases.items()}
    return {case: (ChampionAlias(connect(uris[case]), "deepblur", uris[case]), codes[case]) for case in cases}


@pytest.mark.parametrize("case", CRASHES)
def test_a_crash_between_the_writes_is_completed_or_undone(struck, case):
    found, codes = struck[case]
    assert codes == [9]
    before = found.read()
    moved = case != "claimed"
    assert before.champion == ("2" if moved else "1")
    assert [claim.to for claim in before.claims] == ["2"]
    told = found.settle()
    assert told == [
        "completed an interrupted promotion: version 2 is champion"
        if moved
        else "undid an interrupted promotion: version 2 did not become champion"
    ]
    after = found.read()
    assert (after.champion, after.claims) == (before.champion, ())
    assert [reign.version for reign in after.history] == (["1", "2"] if moved else ["1"])
    assert found.settle() == []
    found.move("3", expected=after.champion, how="promote")
    found.back(after.champion, expected="3")
    assert found.read() == after


def test_the_next_mover_needs_no_settling(struck):
    """As after `settle`, but by the mover itself."""
    found, _ = struck["claimed"]
    host = Claim("dead", "1", "2", (), socket.gethostname(), 2**22 + 1, 0.0)
    found.client.set_registered_model_tag("deepblur", CLAIM + "dead", json.dumps(asdict(host)))
    champion = found.read().champion
    found.move("3", expected=champion, how="promote")
    assert (found.read().champion, found.read().claims) == ("3", ())
    found.back(champion, expected="3")


@pytest.mark.parametrize("case", RACES)
def test_of_two_who_promote_at_once_one_wins(struck, case):
    found, codes = struck[case]
    assert sorted(codes) == [0, 1]
    state = found.read()
    winner = "2" if codes[0] == 0 else "3"
    assert (state.champion, state.claims) == (winner, ())
    assert [reign.version for reign in state.history] == ["1", winner]


def test_a_living_mover_of_another_machine_is_waited_for_and_a_silent_one_is_not(struck, monkeypatch):
    found, _ = struck["locked"]
    champion = found.read().champion
    far = Claim("far", champion, "1", (), "another-machine", 1, 0.0)
    found.client.set_registered_model_tag("deepblur", CLAIM + "far", json.dumps(asdict(far)))
    monkeypatch.setattr(f"{ChampionAlias.__module__}.PATIENCE_S", 0.2)
    with pytest.raises(BusyError, match="does not finish"):
        found.move("1", expected=champion, how="promote")
    assert [claim.id for claim in found.read().claims] == ["far"]
    monkeypatch.setattr(f"{ChampionAlias.__module__}.PATIENCE_S", 20)
    monkeypatch.setattr(f"{ChampionAlias.__module__}.LEASE_S", 0.5)
    found.move("1", expected=champion, how="promote")
    assert (found.read().champion, found.read().claims) == ("1", ())


def test_a_clean_process_that_fails_or_answers_otherwise_is_told(models, tmp_path, monkeypatch):
    y = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    found = models["fair"].restore(y)
    same = {name: getattr(found, name).numpy() for name in ("image", "gamma", "psf")}
    np.savez(tmp_path / "results.npz", example=y.numpy(), **same)
    assert clean_process._differences(tmp_path / "results.npz", models["fair"]) == ""
    assert "its image differs by" in clean_process._differences(tmp_path / "results.npz", models["good"])
    np.savez(tmp_path / "results.npz", example=y.numpy(), **same | {"gamma": same["gamma"][:, :2]})
    assert "its gamma has shape (1, 2) and here (1, 3)" in clean_process._differences(
        tmp_path / "results.npz", models["fair"]
    )
    monkeypatch.setattr(clean_process.sys, "executable", "/bin/false")
    told = clean_process.works_in_a_clean_process(tmp_path / "nowhere", models["fair"])
    assert told == "in a clean process it does not load (exit code 1)"
