"""Tuning: the defaults are trial 0, a killed search goes on where it was, and a comparison can read the result."""

import json

import pytest
from micro_tuning import SPACES, STUDY, arm

from deepblur.platform.arms.methods.method import Method
from deepblur.platform.arms.tuning import tuning
from deepblur.platform.arms.tuning.space import OneOf
from deepblur.platform.arms.tuning.tuned import read_tuned
from deepblur.platform.arms.tuning.tuning import Tuning, _before
from deepblur.platform.experiment.main import main

FAST = ["--local", "--data", "photos", "--tracking-uri", "none"]


def run(runs):
    assert main(STUDY, [*FAST, "--runs", str(runs)]) == 0
    (file,) = runs.glob("studies/*/tuned.json")
    return json.loads(file.read_text())["methods"], file


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs"))


def quality(methods):
    """What must be equal whenever and wherever a search ran: all but the seconds."""
    return {
        name: [{k: {a: b for a, b in e[k].items() if a != "seconds_per_image"} for k in ("default", "tuned")}
               for e in entries]
        for name, entries in methods.items()
    }  # fmt: skip


def test_tuned_is_never_worse_than_the_defaults(undisturbed):
    methods, _ = undisturbed
    assert set(methods) == set(SPACES)
    for entries in methods.values():
        assert [entry["noise"]["name"] for entry in entries] == ["clean", "noisy"]
        for entry in entries:
            assert entry["trials"] == 4
            assert entry["default"]["settings"] == {}
            assert entry["tuned"]["psnr_gain_db"] >= entry["default"]["psnr_gain_db"]


def test_a_killed_search_goes_on_to_the_same_end(undisturbed, tmp_path, monkeypatch):
    calls = []
    whole = tuning._try

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 7:  # in the middle of the second search
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(tuning, "_try", killed)
    assert main(STUDY, [*FAST, "--runs", str(tmp_path)]) == 130
    monkeypatch.setattr(tuning, "_try", lambda *a: (calls.append(1), whole(*a))[1])
    methods, _ = run(tmp_path)
    assert len(calls) == 16 + 1  # no finished trial was repeated
    assert quality(methods) == quality(undisturbed[0])


def test_a_comparison_reads_the_tuned_settings(undisturbed):
    methods, file = undisturbed
    levels = read_tuned(file, "wiener")
    assert [level.name for level, _ in levels] == ["clean", "noisy"]
    assert levels[0][1] == methods["wiener"][0]["tuned"]["settings"]
    with pytest.raises(ValueError, match=r"holds no tuned settings of 'l0'.*run studies/tune_baselines.py"):
        read_tuned(file, "l0")


def test_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"which is no file; run studies/tune_baselines.py"):
        read_tuned(tmp_path / "missing.json", "wiener")
    for text in ("{", "[]", '{"methods": {"wiener": [{"noise": 3}]}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="is no file of tuned settings"):
            read_tuned(tmp_path / "bad.json", "wiener")


def test_what_cannot_be_searched_is_refused():
    method = arm(method="wiener", data=_data(), seed=0).method
    with pytest.raises(ValueError, match="wiener has no setting 'wieght' to search; it has image, psf"):
        Tuning(method=method, space={"wieght": OneOf((1, 2))}, trials=3)
    with pytest.raises(ValueError, match="at least one trial"):
        Tuning(method=method, space={}, trials=0)
    blurry = Method(degradation=method.degradation, psf="none", image="blurry")
    with pytest.raises(ValueError, match="only a handcrafted method"):
        Tuning(method=blurry, space={}, trials=1)


def _data():
    from deepblur.platform.data.sources import parse_data

    return parse_data("dead-leaves")


def test_damaged_trials_of_a_killed_search_begin_anew(tmp_path, capsys):
    file = tmp_path / "trials.jsonl"
    assert _before(file) == []
    file.write_text('{"settings": {}, "psnr_gain_db": 1.0}\n')
    assert len(_before(file)) == 1
    for text in ('{"settings": {}, "psnr', "\0\0"):
        file.write_text(text)
        assert _before(file) == []
        assert f"the trials in {file} are damaged; their search begins anew" in capsys.readouterr().out
