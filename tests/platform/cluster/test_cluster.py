"""Which Ray cluster is there, and the cluster files."""

import os
import socket
import tempfile
from pathlib import Path

import pytest
from micro_study import STUDY

from deepblur.platform.cluster.address import on_loopback, private_cluster, running_cluster
from deepblur.platform.experiment.command_line import plan
from deepblur.platform.experiment.main import main


@pytest.fixture
def note(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_a_cluster_that_answers_is_found(note):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        note.write_text(address)
        assert running_cluster() == address


def test_a_dead_cluster_is_forgotten(note):
    with socket.create_server(("127.0.0.1", 0)) as server:
        note.write_text(f"127.0.0.1:{server.getsockname()[1]}")
    assert running_cluster() is None
    assert not note.exists()
    assert running_cluster() is None


def test_an_address_that_was_given_wins(note, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert running_cluster() == "10.0.0.1:6379"


def test_a_note_of_somebody_else_is_not_believed(note, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        note.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        if os.getuid() == 0:  # whose notes are believed
            os.chown(note, 12345, 12345)
        else:
            monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert running_cluster() is None


@pytest.mark.parametrize(
    ("address", "here"),
    [("127.0.0.1:6379", True), ("[::1]:6379", True), ("localhost:1", True), ("10.0.0.1:6379", False), ("local", False),
     ("http://127.0.0.1:8265", False), ("auto", False)],
)  # fmt: skip
def test_an_address_is_on_the_loopback_interface_or_not(address, here):
    assert on_loopback(address) == here


@pytest.fixture
def fresh(monkeypatch):
    """A folder of temporary files, with a path as short as Ray's must be."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    private_cluster.cache_clear()
    with tempfile.TemporaryDirectory(prefix="db", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)
    private_cluster.cache_clear()


def test_a_cluster_of_our_own_has_a_folder_and_a_token_of_its_own(fresh):
    mine = private_cluster()
    assert private_cluster() == mine, "Ray reads them once in a process"
    folder = fresh / f"deepblur-{os.getuid()}"
    assert mine["RAY_TMPDIR"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(mine["RAY_AUTH_TOKEN"]) == 64
    private_cluster.cache_clear()
    assert private_cluster()["RAY_TMPDIR"] == str(folder)
    assert private_cluster()["RAY_AUTH_TOKEN"] != mine["RAY_AUTH_TOKEN"]


@pytest.mark.parametrize("taken", ["open", "link", "file"])
def test_a_folder_that_somebody_else_may_have_laid_out_is_not_used(fresh, taken):
    name = fresh / f"deepblur-{os.getuid()}"
    if taken == "open":
        name.mkdir()
        name.chmod(0o777)
    elif taken == "link":
        (fresh / "theirs").mkdir(mode=0o700)
        name.symlink_to(fresh / "theirs")
    else:
        name.touch()
    folder = private_cluster()["RAY_TMPDIR"]
    assert folder != str(name)
    assert os.stat(folder).st_mode & 0o777 == 0o700


def test_a_folder_whose_sockets_would_have_too_long_names_is_not_used(fresh, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(fresh / ("long" * 5)))
    assert private_cluster()["RAY_TMPDIR"].startswith("/tmp/deepblur-")


def test_results_do_not_go_into_rays_copy_of_an_upload(tmp_path, monkeypatch, capsys):
    copy = tmp_path / "ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    for name in ("DEEPBLUR_RUNS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    stays = ["--runs", str(tmp_path / "runs")]
    assert main(STUDY, ["--runs", "runs"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: --runs leads to {copy}/runs, in the copy of the upload that Ray removes")
    assert len(told.splitlines()) == 1
    with pytest.raises(ValueError, match=r"--tracking-uri leads to .*_ray_pkg_0/m\.db, in the copy"):
        plan(STUDY, [*stays, "--tracking-uri", "sqlite:///m.db"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///m.db")
    with pytest.raises(ValueError, match=r"MLFLOW_TRACKING_URI leads to "):
        plan(STUDY, stays)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert plan(STUDY, stays).runs == tmp_path / "runs"
    monkeypatch.setenv("DEEPBLUR_RUNS", "runs")
    with pytest.raises(ValueError, match=r"DEEPBLUR_RUNS leads to "):
        plan(STUDY, [])
    assert not list(copy.iterdir())
    monkeypatch.chdir(tmp_path)
    assert plan(STUDY, []).runs == tmp_path / "runs"
