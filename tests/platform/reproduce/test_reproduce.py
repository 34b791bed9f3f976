"""A recorded run is made again from its record alone, or the record says what is missing."""

import hashlib
import importlib
import json
import re
import subprocess
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

import micro_study
import numpy as np
import pytest
from micro_study import STUDY
from PIL import Image

from deepblur import cli
from deepblur.platform.experiment.command_line import plan
from deepblur.platform.experiment.main import main
from deepblur.platform.experiment.provenance import argv, options
from deepblur.platform.reproduce.recorded_run import read_run
from deepblur.platform.reproduce.reproduce import compare
from deepblur.platform.reproduce.requirements import Requirements
from deepblur.platform.system import source_tree
from deepblur.platform.tracking.tracker import Tracker


def images(folder, brightest=255):
    """Enough for a few in each part of a folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        pixels = rng.integers(0, brightest, (72, 80), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A study in MLflow: its tracker, and name → id of its runs."""
    home = tmp_path_factory.mktemp("recorded")
    uri = f"sqlite:///{home}/mlflow.db"
    data = images(home / "images")
    assert main(STUDY, ["--local", "--data", data, "--runs", str(home / "runs"), "--tracking-uri", uri]) == 0
    tracker = Tracker.open(uri, "micro_study")
    runs = tracker.client.search_runs([tracker.experiment_id])
    ids = {run.info.run_name.removesuffix(" (quick)"): run.info.run_id for run in runs}
    return Namespace(uri=uri, ids=ids, tracker=tracker, data=data)


@pytest.fixture
def reproduce(recorded, capsys):
    def command(run, *more):
        code = cli.main(["reproduce", recorded.ids.get(run, run), "--tracking-uri", recorded.uri, "--json", *more])
        found = json.loads(capsys.readouterr().out)
        assert found["exit_code"] == code
        return Namespace(**found, verdicts={i["name"]: i["verdict"] for i in found["ingredients"]})

    return command


def test_an_arm_is_made_again_to_the_last_bit_and_its_record_stays_as_it_was(reproduce, recorded, tmp_path):
    before = {name: recorded.tracker.client.get_run(i).to_dictionary() for name, i in recorded.ids.items()}
    found = reproduce("estimated, seed 0", "--runs", str(tmp_path / "again"))
    assert found.verdict == "reproduced bit for bit", found
    assert found.exit_code == 0
    hashes = [value for value in found.values if value["name"].endswith("weights.safetensors")]
    assert len(hashes) == 2
    assert all(len(value["recorded"]) == 64 and value["same"] for value in hashes)
    assert any(value["name"].endswith("psnr_db") for value in found.values)
    assert before == {name: recorded.tracker.client.get_run(i).to_dictionary() for name, i in recorded.ids.items()}
    assert len(recorded.tracker.client.search_runs([recorded.tracker.experiment_id])) == len(before)


BORROWED = '''"""Is a study that takes over an arm itself when it is made again?"""

from dataclasses import replace

import the_settings
from the_base import STUDY as BASE

STUDY = replace(BASE, name="borrowed", about=__doc__, arms={
    "true": {"operator": "true", "dn_steps": the_settings.STEPS}, "longer": {"operator": "true", "dn_steps": 4},
}, contrast=("longer", "true"))

if __name__ == "__main__":
    STUDY.main()
'''


def test_a_whole_study_that_borrows_its_arm_and_a_module_is_made_again_as_itself(
    reproduce, recorded, tmp_path, monkeypatch, capsys
):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "borrowed.py").write_text(BORROWED)
    (mine / "the_settings.py").write_text("STEPS = 3\n")
    (mine / "the_base.py").write_bytes(Path(micro_study.__file__).read_bytes())
    monkeypatch.syspath_prepend(mine)
    borrowed = importlib.import_module("borrowed")
    line = ["--local", "--data", recorded.data, "--set", "in_steps=3", "--images", "1", "--draws", "1"]
    assert main(borrowed.STUDY, [*line, "--runs", str(tmp_path / "runs"), "--tracking-uri", recorded.uri]) == 0
    capsys.readouterr()
    client = recorded.tracker.client
    experiment = client.get_experiment_by_name("borrowed").experiment_id
    (run,) = client.search_runs([experiment], "tags.stage = 'study'")
    read = read_run(run.info.run_id, recorded.uri).provenance["study"]
    assert read["file"] == str(mine / "borrowed.py")
    assert {n: Path(m["file"]).parent for n, m in read["modules"].items()} == {
        "own/the_base.py": mine, "own/the_settings.py": mine,
    }  # fmt: skip
    assert reproduce(run.info.run_id, "--check").verdict == "every ingredient is here"
    (mine / "the_settings.py").write_text("STEPS = 4\n")  # what is there now is another study
    assert "module the_settings.py" in reproduce(run.info.run_id).verdict
    found = reproduce(run.info.run_id, "--trust")
    assert found.verdict == "reproduced bit for bit", found
    assert sum(value["name"].endswith("weights.safetensors") for value in found.values) == 3


def test_other_pixels_are_noticed_before_anything_runs(reproduce, recorded, tmp_path):
    assert reproduce("IN, seed 0", "--check").verdict == "every ingredient is here"
    darker = reproduce("IN, seed 0", "--data", images(tmp_path / "darker", brightest=200))
    assert darker.exit_code == 1
    assert darker.values == []
    assert darker.verdict.startswith("not run, for it differs: data, test, data, train, data, validation; --anyway")
    moved = reproduce("IN, seed 0", "--check", "--data", images(tmp_path / "moved"))
    assert moved.exit_code == 0
    gone = reproduce("IN, seed 0", "--check", "--data", "folder:/nowhere")
    assert gone.exit_code == 2
    assert gone.verdicts["data, train"] == "missing"


def test_what_is_missing_or_differs_is_named(reproduce, recorded):
    made = read_run(recorded.ids["true, seed 0"], recorded.uri).provenance
    made["made_with"] |= {"torch": "1.0", "python": "2.7", "threads": 4096, "workers": "1-4"}
    made["source"] |= {"hash": "0" * 32, "commit": "f" * 40, "kept": []}
    made["inputs"] = {"tuned_file": {"file": "tuned.json", "sha256": "0"}}
    stages = made["outcome"]["stages"].values()
    next(stage for stage in stages if stage["label"] == "IN, seed 0")["made_otherwise"] = {"threads": 2}
    altered = recorded.tracker.study_run(key="altered", name="altered", params={})
    recorded.tracker.log_text(altered, json.dumps(made), "provenance.json")
    recorded.tracker.finish(altered, ok=True)
    found = reproduce(altered, "--check")
    assert found.exit_code == 2
    assert found.verdict.startswith("not to be reproduced here: source, tuned_file missing")
    assert "fetch it there, or stand in a checkout that has it" in found.ingredients[0]["here"]
    expected = {"torch": "differs", "threads": "differs", "python": "noted", "workers": "unknown", "numpy": "same"}
    assert expected.items() <= found.verdicts.items()
    assert found.verdicts["circumstances of IN, seed 0"] == "differs"


def test_a_study_file_and_inputs_that_lay_elsewhere_come_from_the_record(recorded, tmp_path):
    kept = {"inputs/study.py": b"print()", "inputs/tuned_file": b"{}", "uncommitted.diff": b""}
    made = read_run(recorded.ids["IN, seed 0"], recorded.uri).provenance
    gone = tmp_path / "gone.py"
    made["study"] |= {"file": str(gone), "sha256": hashlib.sha256(b"print()").hexdigest()}
    made["inputs"] = {"tuned_file": {"file": "tuned.json", "sha256": hashlib.sha256(b"other").hexdigest()}}
    with ExitStack() as stack:
        requirements = Requirements(Namespace(provenance=made, attachment=kept.__getitem__), tmp_path / "runs", stack)
        verdicts = {requirement.name: requirement.verdict for requirement in requirements.look()}
        assert requirements.study.read_bytes() == b"print()"
        gone.write_bytes(b"print()")
        requirements.look()
        assert requirements.study == gone
    assert (verdicts["study"], verdicts["tuned_file"]) == ("same", "differs")
    assert requirements.options["set"][0] == f"tuned_file={tmp_path}/runs/inputs/tuned_file/tuned.json"
    assert (requirements.options["arms"], requirements.options["seeds"]) == ("true", "0")


def test_a_value_that_comes_out_differently_is_named(recorded):
    truth, again = (read_run(recorded.ids["micro_study quick"], recorded.uri).provenance for _ in range(2))
    assert all(value.same for value in compare(truth, again))
    key, stage = next((k, s) for k, s in again["outcome"]["stages"].items() if s["label"] == "IN, seed 0")
    stage["hashes"]["weights.safetensors"] = "0" * 64
    del stage["metrics"]["loss"]
    assert [v.name for v in compare(truth, again) if not v.same] == [
        "IN, seed 0: weights.safetensors",
        "IN, seed 0: loss",
    ]
    del again["outcome"]["stages"][key]
    assert any(v.reproduced is None and not v.same for v in compare(truth, again))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("0" * 32, "no run 0{32} is recorded at sqlite:.*; name the record that holds it with --tracking-uri"),
        ("not an id", "no run not an id is recorded"),
        ("foreign", "was not recorded by a deepblur study; give the id of"),
        ("failed", "is FAILED, not FINISHED; complete its study first: 'python studies/x.py'"),
        ("old", "without provenance.json, .*; run 'python studies/x.py' again"),
        ("searched", "was put together by a search out of what it found, not by a command line; run the line that"),
    ],
)
def test_a_run_that_cannot_be_made_again_says_why(reproduce, recorded, run, message):
    tracker = recorded.tracker
    if run == "foreign":
        run = tracker.client.create_run(tracker.experiment_id).info.run_id
    elif run in ("failed", "old"):
        ok, run = run == "old", tracker.study_run(key=run, name=run, params={}, tags={"command": "python studies/x.py"})
        tracker.finish(run, ok=ok)
    elif run == "searched":
        run = tracker.study_run(key=run, name=run, params={})
        tracker.log_text(run, json.dumps({"format": 1, "options": None}), "provenance.json")
        tracker.finish(run, ok=True)
    found = reproduce(run)
    assert found.exit_code == 2
    assert re.search(message, found.verdict), found.verdict


def test_asking_creates_no_record_and_used_results_are_not_taken_for_new(recorded, tmp_path, capsys):
    nowhere = tmp_path / "nowhere" / "mlflow.db"
    assert cli.main(["reproduce", "0" * 32, "--tracking-uri", f"sqlite:///{nowhere}"]) == 2
    assert not nowhere.parent.exists()
    (tmp_path / "ledger.db").touch()
    run = recorded.ids["IN, seed 0"]
    assert cli.main(["reproduce", run, "--tracking-uri", recorded.uri, "--runs", str(tmp_path)]) == 2
    assert "holds results, which would be reused; give --runs a folder that is new" in capsys.readouterr().err


def test_places_and_passwords_stay_out_of_the_record(tmp_path):
    line = ["--data", "folder:some", "--set", "in_steps=3", "--set", "dn_steps=3", "--local", "--runs", str(tmp_path)]
    chosen = plan(STUDY, [*line, "--tracking-uri", "https://me:secret@host:5000"])
    assert "secret" not in chosen.command
    assert options(chosen) == {
        "preset": "quick",
        "data": f"folder:{Path('some').absolute()}",
        "set": ["in_steps=3", "dn_steps=3"],
        "local": True,
    }
    assert argv(options(chosen))[-3:] == ["--set=in_steps=3", "--set=dn_steps=3", "--local"]


@pytest.fixture
def tree(tmp_path):
    """A source tree in a git checkout, and git in it."""
    root = tmp_path / "tree"
    for room in ("deepblur", *source_tree.ROOMS):
        (root / room).mkdir(parents=True)
        (root / room / "__init__.py").write_text("x = 1\n")
    (root / "cluster.yaml").touch()

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    return root, git


def test_uncommitted_changes_lead_back_to_the_source(tree):
    root, git = tree
    clean = source_tree.take(root)
    assert (clean.differs, clean.kept) == (False, {})
    (root / "nets" / "__init__.py").write_text("x = 2\n")
    (root / "studies" / "new.py").write_text("y = 'ü'")
    (root / "studies" / "table.bin").write_bytes(bytes(range(256)))
    (root / "operators" / "__init__.py").unlink()
    (root / ".env").write_text("PASSWORD=secret")
    before = git("status", "--porcelain")
    source = source_tree.take(root)
    assert git("status", "--porcelain") == before
    assert source.differs
    assert source.hash != clean.hash
    diff = source.kept[source_tree.DIFF]
    assert b"secret" not in diff
    with source_tree.checked_out(root, source.commit, diff) as folder:
        assert source_tree.source_hash(folder) == source.hash
        assert not (folder / ".env").exists()
    assert not folder.exists()
    assert len(git("worktree", "list").splitlines()) == 1
    with source_tree.checked_out(root, clean.commit, b"") as folder:
        assert source_tree.source_hash(folder) == clean.hash
    with pytest.raises(RuntimeError, match=r"git could not check out .*: error: "), \
         source_tree.checked_out(root, source.commit, b"no difference"):  # fmt: skip
        pass


def test_a_source_outside_of_git_is_kept_itself(tree, monkeypatch):
    root, _ = tree
    (root / ".git").rename(root.parent / "away")
    (root / "study.py").write_text("z = 3")
    source = source_tree.take(root, ("study.py",))
    assert (source.commit, source.differs) == (None, None)
    with source_tree.unpacked(source.kept[source_tree.ARCHIVE]) as folder:
        assert source_tree.source_hash(folder) == source.hash
        assert (folder / "study.py").read_text() == "z = 3"


def test_a_difference_too_large_to_read_gives_way_to_the_source(tree, monkeypatch):
    root, _ = tree
    monkeypatch.setattr(source_tree, "LIMIT_BYTES", 100)
    (root / "nets" / "large.py").write_text("x = 1\n" * 100)
    source = source_tree.take(root)
    assert list(source.kept) == [source_tree.ARCHIVE]
    assert source.differs


def test_the_checkout_that_knows_a_commit_is_found(tree, tmp_path):
    root, _ = tree
    commit = source_tree.head(root)
    assert source_tree.head(root / "nets") is None
    assert source_tree.repository(commit, tmp_path, root) == root
    with pytest.raises(FileNotFoundError, match=r"is in no checkout at .*; fetch it there"):
        source_tree.repository("f" * 40, tmp_path, root)
