"""A record is a stranger's text: its names stay in their folder, and its code is run only if the user says so."""

import hashlib
import importlib
import inspect
import io
import json
import pkgutil
import shutil
import sys
import zipfile
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

import micro_study
import pytest

from deepblur import cli
from deepblur.platform.experiment.command_line import parser
from deepblur.platform.experiment.provenance import LEFT_OUT, OPTIONS, study_file
from deepblur.platform.reproduce.recorded_run import RunRecord, _fault
from deepblur.platform.reproduce.requirements import Requirements
from deepblur.platform.system import child, source_tree
from deepblur.platform.system.enclosed import files_of, inside
from deepblur.platform.system.printable import printable
from deepblur.platform.tracking.tracker import KEY_TAG, Tracker

PLACES = ["/etc/passwd", "../x", "a/../../x", "a/..", "", ".", "a\0b", "a\nb", "C:\\x", "c:x", "a\\..\\x", 3, None]


def provenance(**changes):
    """That of a study `studies/x.py`, made by the installed source, that uses nothing."""
    made = {
        "format": 1,
        "part": None,
        "options": {"preset": "quick", "data": "photos"},
        "study": {"name": "x", "file": "studies/loss_space.py", "sha256": "0", "modules": {}},
        "inputs": {},
        "data": {},
        "source": {"hash": "0" * 32, "commit": None, "differs": None, "kept": []},
        "made_with": {"workers": "1", "threads": 1},
        "outcome": {"metrics": {}, "arms": {}, "stages": {}},
    }
    return {**made, **changes}


@pytest.mark.parametrize("name", PLACES)
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="no plain name inside its folder"):
        inside(tmp_path, name)


def test_a_name_that_leads_out_by_a_link_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path)
    assert inside(tmp_path / "folder", "deep/file.txt") == tmp_path / "folder" / "deep" / "file.txt"
    with pytest.raises(ValueError, match=r"leads out of .* by a link"):
        inside(tmp_path / "folder", "link/file")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("where", ["input", "setting", "module", "study"])
def test_no_name_of_a_record_leads_out_of_it(where, place):
    part = {"file": place, "sha256": "0"}
    made = {
        "input": provenance(inputs={"tuned_file": part}),
        "setting": provenance(inputs={str(place): {"file": "x", "sha256": "0"}}),
        "module": provenance(study={"name": "x", "file": "x.py", "sha256": "0", "modules": {f"own/{place}": part}}),
        "study": provenance(study={"name": "x", "sha256": "0", "file": f"../{place}"}),
    }[where]
    assert _fault(made) or (where, place) == ("setting", None)  # "None" is a name that a setting can have
    assert not _fault(provenance())


@pytest.mark.parametrize(
    "changes",
    [
        {"options": ["--runs"]},
        {"options": {"runs": "/"}},
        {"options": {"set": {"a": 1}}},
        {"part": {"arm": 1}},
        {"source": {}},
        {"inputs": None},
        {"study": {"name": "x", "file": 3, "sha256": ""}},
        {"study": {"name": "x", "file": "x", "sha256": "", "modules": {"own/a.py": "b"}}},
        {"outcome": {"metrics": {"a": "b"}, "arms": {}, "stages": {}}},
        {"made_with": {"workers": 1, "threads": 1}},
    ],
)
def test_a_record_of_another_shape_is_one_sentence(changes):
    client = Namespace(download_artifacts=None)
    run = Namespace(info=Namespace(run_id="r", run_name="r"), data=Namespace(tags={}))
    record = type("Written", (RunRecord,), {"_read": lambda *_: json.dumps(provenance(**changes)).encode()})
    with pytest.raises(ValueError, match=r"provenance.json of run r is not as deepblur writes it \(.*\), so nothing"):
        record(client, run)


def test_the_options_of_a_record_are_those_of_a_study():
    known = {action.dest for action in parser(micro_study.STUDY)._actions} - {"help", *LEFT_OUT}
    assert known | {"trials"} == set(OPTIONS)


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../x.py", "/x.py", "a/../../x", "C:/x", "a\\..\\x"])
def test_no_member_of_an_archive_leads_out_of_it(name):
    with pytest.raises(ValueError, match="no plain name"), source_tree.unpacked(archive(**{name: "x"})):
        pass


def test_an_archive_that_is_damaged_or_endless_or_links_is_refused(monkeypatch):
    monkeypatch.setattr(source_tree, "LARGEST_BYTES", 100)
    link = zipfile.ZipInfo("nets/x.py")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match=r"holds the link 'nets/x\.py'"), source_tree.unpacked(buffer.getvalue()):
        pass
    with pytest.raises(ValueError, match="more than a source can be"), \
         source_tree.unpacked(archive(zeros=bytes(101))):  # fmt: skip
        pass
    for content in (b"no zip", archive(a="b")[:-10]):
        with pytest.raises(RuntimeError, match=r"source\.zip is damaged"), source_tree.unpacked(content):
            pass


def test_a_commit_of_a_record_is_no_option_of_git(tmp_path):
    for commit in ("--help", None, "HEAD", "-c core.pager=x"):
        with pytest.raises(FileNotFoundError, match="is no commit, and the record keeps no source"):
            source_tree.repository(commit, tmp_path)


@pytest.fixture
def recorded(tmp_path, mlflow_template):
    """recorded(provenance, name=content…) → (id of a finished run that holds them, its tracking URI)."""
    (tmp_path / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    tracker = Tracker.open(f"sqlite:///{tmp_path}/mlflow.db", "study")

    def record(made, **attachments):
        run = tracker.client.create_run(tracker.experiment_id, tags={KEY_TAG: "k"}).info.run_id
        tracker.log_text(run, json.dumps(made), "provenance.json")
        for name, content in attachments.items():
            (tmp_path / name).write_bytes(content)
            tracker.log_file(run, tmp_path / name)
        tracker.client.set_terminated(run)
        assert tracker.problems == []
        return run, tracker.uri

    return record


def test_code_of_a_record_is_run_after_trust_alone(recorded, tmp_path, monkeypatch, capsys):
    seen = tmp_path / "seen"
    study = f"import os, pathlib\npathlib.Path({str(seen)!r}).write_text(' '.join(sorted(os.environ)))\n"
    content = archive(**{"deepblur/__init__.py": "", "cluster.yaml": "", "studies/x.py": study})
    with source_tree.unpacked(content) as root:
        source = {"hash": source_tree.source_hash(root), "commit": None, "differs": None, "kept": ["source.zip"]}
    part = {"name": "x", "file": "studies/x.py", "sha256": hashlib.sha256(study.encode()).hexdigest()}
    run, uri = recorded(provenance(source=source, study=part), **{"source.zip": content})
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "MY_OWN", "DEEPBLUR_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
    words = ["reproduce", run, "--tracking-uri", uri]
    assert cli.main(words) == 2
    assert "the source {}, unpacked from the record".format(source["hash"]) in (told := capsys.readouterr().err)
    assert "mlflow artifacts download" in told
    assert "--trust" in told
    assert cli.main([*words, "--anyway"]) == 2
    assert cli.main([*words, "--check"]) == 0
    assert not seen.exists()
    named = tmp_path / "named"  # the same version, which the user has and names
    with source_tree.unpacked(content) as root:
        shutil.copytree(root, named)
    capsys.readouterr()
    assert cli.main([*words, "--source", str(named), "--check"]) == 0
    assert "every ingredient is here\n" in capsys.readouterr().out
    (named / "nets").mkdir()
    (named / "nets" / "other.py").write_text("")
    assert cli.main([*words, "--source", str(named)]) == 2
    assert "check that version out there, or leave --source out" in capsys.readouterr().err
    assert cli.main([*words, "--trust"]) == 2  # it runs, and leaves no results
    assert "PATH" in seen.read_text().split()
    assert not {"MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "MY_OWN", "DEEPBLUR_TOKEN"} & {
        *seen.read_text().split()
    }


@pytest.mark.parametrize("kept", ["study", "module", "neither", "no study", "anybody's"])
def test_a_study_elsewhere_is_the_users_where_it_lies_as_it_was(kept, tmp_path, monkeypatch):
    study, helper = tmp_path / "mine.py", tmp_path / "helper.py"
    text = {study: b"import deepblur, helper\n" if kept != "no study" else b"import helper\n", helper: b"X = 1\n"}
    part, module = ({"file": str(f), "sha256": hashlib.sha256(text[f]).hexdigest()} for f in text)
    content = {"inputs/study.py": text[study], "own/helper.py": text[helper]}
    for file, what in ((study, "study"), (helper, "module")):
        file.write_bytes(text[file] if kept != what else b"# another\n")
    helper.chmod(0o666 if kept == "anybody's" else 0o644)
    made = provenance(study={"name": "mine", **part, "modules": {"own/helper.py": module}},
                      source={"hash": source_tree.source_hash(source_tree.root()), "commit": None, "differs": None,
                              "kept": []})  # fmt: skip
    assert not _fault(made)
    monkeypatch.setattr(f"{Requirements.__module__}.circumstances", lambda **_: made["made_with"])
    with ExitStack() as stack:
        record = Namespace(provenance=made, attachment=content.__getitem__)
        requirements = Requirements(record, tmp_path / "runs", stack)
        assert {i.verdict for i in requirements.look() if i.name in ("study", "module helper.py")} == {"same"}
    if kept == "neither":
        assert (requirements.study, requirements.foreign) == (study, [])
    elif kept == "no study":
        assert "which the record calls its study" in requirements.foreign[0]
    else:
        assert requirements.study == tmp_path / "runs" / "own" / "mine.py"
        assert (tmp_path / "runs" / "own" / "helper.py") in (tmp_path / "runs" / "own").iterdir()
        assert len(requirements.foreign) == 2


def test_a_study_is_the_file_that_runs_it_and_not_that_of_its_arm(monkeypatch):
    import deepblur.studies

    names = [found.name for found in pkgutil.iter_modules(deepblur.studies.__path__)]
    modules = [importlib.import_module(f"deepblur.studies.{name}") for name in names]
    studies = [module for module in [*modules, micro_study] if hasattr(module, "STUDY")]
    assert len(studies) > 15
    for module in studies:
        assert study_file(module.STUDY) == Path(module.__file__).resolve()
    borrowed = [m for m in studies if inspect.getsourcefile(m.STUDY.arm) != m.__file__]
    assert len(borrowed) >= 9
    program = type(sys)("__main__")  # which runs the study of another file
    program.__dict__.update(__file__=__file__, other=micro_study)
    monkeypatch.setitem(sys.modules, "__main__", program)
    assert study_file(micro_study.STUDY) == Path(__file__).resolve()


def test_a_child_gets_what_it_needs_and_no_secret(monkeypatch):
    for name in ("OMP_NUM_THREADS", "RAY_AUTH_TOKEN", "RAY_ADDRESS", "GITHUB_TOKEN", "HTTPS_PROXY", "PYTHON_API_KEY"):
        monkeypatch.setenv(name, "1")
    found = child.environment()
    assert {"PATH", "OMP_NUM_THREADS", "RAY_ADDRESS"} <= found.keys()
    assert not found.keys() & {"RAY_AUTH_TOKEN", "GITHUB_TOKEN", "HTTPS_PROXY", "PYTHON_API_KEY"}
    assert child.environment("RAY_AUTH_TOKEN")["RAY_AUTH_TOKEN"] == "1"


def test_a_strangers_text_does_not_steer_the_terminal():
    assert printable("a\x1b[31m\nb\u202e é") == "a\\x1b[31m\\x0ab\\u202e é"


def test_what_a_folder_holds_is_what_may_be_copied_of_it(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_text("")
    (folder / "b").symlink_to("deep/a")
    (folder / "again").symlink_to("deep")
    assert list(files_of(folder)) == ["b", "deep/a"]
    (folder / "deep" / "pipe").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"deep/pipe is no file \(a broken link"):
        files_of(folder)
    for target in (tmp_path / "folder2", tmp_path, Path("/etc/passwd")):
        (folder / "deep" / "pipe").unlink()
        (folder / "deep" / "pipe").symlink_to(target)
        with pytest.raises(ValueError, match=r"deep/pipe is a link to .*, outside of the folder"):
            files_of(folder)
