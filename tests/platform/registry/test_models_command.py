"""`deepblur models`, from the first list to the second rollback, and what it says when something is wrong."""

import json
from functools import partial

import pytest
from micro_registry import FAST, MICRO, copy_of, tikhonov_model

from deepblur.cli import main
from deepblur.platform import demo
from deepblur.platform.registry import promotion, register_folder
from deepblur.platform.registry.gate_grid import score
from deepblur.platform.registry.promotion import Promoter
from deepblur.platform.registry.publish import CODE_TAG
from deepblur.platform.registry.versions import best_of_study
from deepblur.platform.system.errors import ModelError
from deepblur.platform.tracking.connection import connect
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.options import EngineChoice


@pytest.fixture
def command(base, tmp_path, monkeypatch, capsys):
    """command(*words) → (exit code, standard output, standard error) on a registry of its own."""
    uri = copy_of(base, tmp_path / "copy")
    micro = partial(Promoter, grid=MICRO, bound=FAST, clean=lambda *_: "")
    monkeypatch.setattr(promotion, "Promoter", micro)

    def run(*words: str, tracking_uri: str = uri) -> tuple[int, str, str]:
        code = main(["models", *words, "--tracking-uri", tracking_uri])
        return (code, *capsys.readouterr())

    return run


def test_a_day_with_the_registry(command):
    code, out, _ = command("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["3", "2", "1"]
    assert "no version is champion; deepblur models promote 3" in out

    code, out, err = command("promote", "1")
    assert code == 1
    assert "FAIL  better than the blurry input" in out
    assert "version 1 is challenger: it restores worse than the blurry input" in out
    assert "measuring on micro" in err

    assert command("promote", "2")[0] == 0
    code, out, _ = command("promote", "models:/deepblur/3", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["promoted"]
    assert told["decision"]["rival"] == "version 2"
    assert len(told["decision"]["cells"]) == 1

    code, out, _ = command("show", "champion")
    assert code == 0
    assert "# deepblur, version 3, champion" in out
    assert "passed: it restores better than the blurry input" in out
    assert "| study | micro |" in out
    assert "(promote)" in out

    code, out, _ = command("compare", "2")
    assert code == 0
    assert "FAIL  better than version 3" in out
    assert json.loads(command("list", "--json")[1])["versions"][1]["tags"]["gate.decision"] == "passed"

    code, out, _ = command("rollback")
    assert code == 0
    assert out.strip() == "version 2 is champion again, instead of version 3"
    code, _, err = command("rollback")
    assert code == 5
    assert "has no earlier champion" in err
    listed = json.loads(command("list", "--json")[1])
    assert [v["aliases"] for v in listed["versions"]] == [[], ["champion"], ["challenger"]]
    assert [reign["version"] for reign in listed["champions"]] == ["2"]


def test_what_cannot_be_done_is_one_sentence(command, tmp_path):
    for words, code, sentence in (
        (("show", "9"), 5, "has no version '9'; it has 1, 2, 3"),
        (("promote", "champion"), 5, "has no version 'champion'"),
        (("list", "--name", "other"), 5, "no model is registered as 'other' at sqlite"),
        (("compare", "3", "3"), 2, "compare two versions"),
    ):
        found, out, err = command(*words)
        assert (found, out) == (code, "")
        assert sentence in err
        assert len(err.splitlines()) == 1
    nowhere = f"sqlite:///{tmp_path}/none/mlflow.db"
    code, _, err = command("list", tracking_uri=nowhere)
    assert (code, len(err.splitlines())) == (5, 1)
    assert "there is no registry at" in err
    assert not (tmp_path / "none").exists()
    code, _, err = command("rollback", tracking_uri="http://127.0.0.1:9")
    assert (code, len(err.splitlines())) == (5, 1)
    assert "start that server" in err
    with pytest.raises(SystemExit) as usage:
        main(["models", "promote"])
    assert usage.value.code == 2


def test_the_best_of_a_study_is_the_one_that_validated_best(base, tmp_path):
    client = Promoter(copy_of(base, tmp_path / "copy"), "deepblur").client
    assert best_of_study(client, "deepblur", "micro").version == "3"  # none has told: the newest
    for version, psnr in {"1": "21.5", "2": "31.125"}.items():
        client.set_model_version_tag("deepblur", version, "validated_psnr_db", psnr)
    assert best_of_study(client, "deepblur", "micro").version == "2"
    assert best_of_study(client, "deepblur", "another") is None


def test_a_folder_becomes_a_version_of_a_registry_that_did_not_exist(tmp_path, capsys, monkeypatch):
    folder, uri = tikhonov_model(tmp_path / "mine", lam=0.002, card={"study": "mine"}), f"sqlite:///{tmp_path}/new.db"
    words = ["models", "register", str(folder), "--tracking-uri", uri]
    assert main(words) == 0
    assert "is version 1 of deepblur; deepblur models promote 1" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0  # the same content once
    assert json.loads(capsys.readouterr().out) == {"name": "deepblur", "version": "1"}
    client = connect(uri)
    found = client.get_model_version("deepblur", "1")
    assert found.tags["study"] == "mine"
    client.set_model_version_tag("deepblur", "1", CODE_TAG, "of another deepblur")
    again = ["models", "register", "models:/deepblur/1", "--tracking-uri", uri, "--json"]
    for _ in range(2):  # with this one's code, once
        assert main(again) == 0
        assert json.loads(capsys.readouterr().out) == {"name": "deepblur", "version": "2"}
    assert "# deepblur mine" in found.description
    engine, _ = choose_engine(EngineChoice(model="models:/deepblur/1", tracking_uri=uri))
    assert engine.operator.noll == (4, 5, 6)
    with pytest.raises(ModelError, match=r"trained for, of the cutoff 0.2; leave out --cutoff 0.1, or take --model"):
        choose_engine(EngineChoice(model="models:/deepblur/1", tracking_uri=uri, cutoff=0.1))


@pytest.mark.parametrize("model", ["nowhere", "."])
def test_what_is_no_model_is_not_registered(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["models", "register", model, "--tracking-uri", f"sqlite:///{tmp_path}/new.db"]) == 5
    assert model in capsys.readouterr().err
    assert not (tmp_path / "new.db").exists()


def test_the_demo_sends_what_ships_through_the_gate_before_its_own(base, tmp_path, monkeypatch, capsys):
    uri = copy_of(base, tmp_path / "copy")
    monkeypatch.setattr(demo, "default_uri", lambda runs: uri)
    monkeypatch.setattr(demo, "STUDY", "studies/micro.py")
    monkeypatch.setattr(
        register_folder, "register_folder", lambda model, where: "2" if (model, where) == ("compact", uri) else ""
    )
    monkeypatch.setattr(promotion, "Promoter", partial(Promoter, grid=MICRO, bound=FAST, clean=lambda *_: ""))
    measured = []
    monkeypatch.setattr(promotion, "score", lambda model, grid: measured.append(model) or score(model, grid))
    demo._send_through_the_gate()
    said = capsys.readouterr().out
    assert "version 2 is champion" in said
    assert "version 3 against version 2" in said
    assert "version 3 is champion" in said
    assert len(measured) == 2  # the rival was not measured again
    demo._send_through_the_gate()
    assert capsys.readouterr().out == ""
