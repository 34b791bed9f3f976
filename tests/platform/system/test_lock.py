"""Locks are held, freed and found again; what only bears a lock file's name is left as it is."""

import os
from contextlib import ExitStack
from multiprocessing import get_context

import pytest

from deepblur.platform.data.cache import open_cache
from deepblur.platform.data.sources import DeadLeaves
from deepblur.platform.registry.champion import ChampionAlias
from deepblur.platform.stages.heartbeat import Heartbeat
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.system.errors import OutputError
from deepblur.platform.system.lock import LockError, locked, shared
from deepblur.platform.system.whole_files import replace_file
from deepblur.platform.tracking.connection import connect
from deepblur.restoration.batch.image_files import output_folder

WORK = "four years of work"


def in_cache(folder):
    open_cache(DeadLeaves(count=1, side_px=16, seed=0), folder, progress=False, max_skipped=0)


def in_champion(folder):
    with ChampionAlias(None, "model", f"sqlite:///{folder}/mlflow.db")._alone():
        pass


def in_output(folder):
    with output_folder(folder):
        pass


def in_heartbeat(folder):
    Heartbeat(folder, "key", 1).saved(1)


PLACES = {
    "output": (in_output, ".deepblur.lock", OutputError),
    "registry": (lambda folder: connect(f"sqlite:///{folder}/mlflow.db"), ".mlflow.db.lock", ConnectionError),
    "champion": (in_champion, ".mlflow.db.model.lock", LockError),
    "ledger": (Ledger, "ledger.lock", LockError),
    "cache": (in_cache, None, LockError),
    "heartbeat": (in_heartbeat, "key.0.cost", OSError),
}


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (place, kind)
        for place in PLACES
        for kind in ("link", "dangling", "pipe", "folder")
        if place != "heartbeat" or kind in ("link", "dangling")  # which is no lock, but written to as well
    ],
)
def test_what_only_bears_the_name_of_a_lock_is_refused_and_stays(place, kind, tmp_path):
    act, name, error = PLACES[place]
    folder = tmp_path / "folder"
    if name is None:  # made once to learn it
        in_cache(folder)
        (name,) = (file.name for file in folder.glob(".*.lock"))
        for file in folder.glob("*/*"):
            file.unlink()
        (folder / name).unlink()
    folder.mkdir(exist_ok=True)
    (tmp_path / "thesis.tex").write_text(WORK)
    make = {
        "link": lambda path: path.symlink_to(tmp_path / "thesis.tex"),
        "dangling": lambda path: path.symlink_to(tmp_path / "new"),
        "pipe": os.mkfifo,
        "folder": os.mkdir,
    }
    make[kind](folder / name)
    with pytest.raises(error, match=None if place == "heartbeat" else "link or no plain file"):
        act(folder)
    assert (tmp_path / "thesis.tex").read_text() == WORK
    assert not (tmp_path / "new").exists()
    assert os.path.lexists(folder / name)


def test_a_ledger_does_not_write_into_a_file_with_another_name(tmp_path):
    (tmp_path / "thesis.tex").write_text(WORK)
    (tmp_path / "runs").mkdir()
    os.link(tmp_path / "thesis.tex", tmp_path / "runs" / "ledger.lock")
    with pytest.raises(LockError, match="link or no plain file"):
        Ledger(tmp_path / "runs")
    assert (tmp_path / "thesis.tex").read_text() == WORK


def test_a_replaced_file_is_not_written_through_a_link(tmp_path):
    (tmp_path / "thesis.tex").write_text(WORK)
    (tmp_path / f".curve.{os.getpid()}.partial").symlink_to(tmp_path / "thesis.tex")
    replace_file(tmp_path / "curve", b"new")
    assert (tmp_path / "thesis.tex").read_text() == WORK
    assert (tmp_path / "curve").read_bytes() == b"new"


def test_three_commands_in_one_folder_leave_each_other_alone(tmp_path):
    """The first ends while the second works; the third must not take the second's unfinished file for a dead one's."""
    with ExitStack() as second:
        with output_folder(tmp_path):
            second.enter_context(output_folder(tmp_path))
        (tmp_path / ".deepblur-1234.part").touch()
        with output_folder(tmp_path):
            assert (tmp_path / ".deepblur-1234.part").exists()
        assert (tmp_path / ".deepblur-1234.part").exists()
    with output_folder(tmp_path):
        assert not (tmp_path / ".deepblur-1234.part").exists()
    assert list(tmp_path.iterdir()) == []


def _enter(path, told, leave):
    with shared(path, lambda: None):
        told.set()
        leave.wait(60)


def test_a_lock_file_that_was_removed_meanwhile_is_not_the_lock(tmp_path, monkeypatch):
    """Between opening and locking, the last holder may remove the file: whoever locked that one holds nothing."""
    from deepblur.platform.system import lock

    path, opened = tmp_path / "lock", []
    really = lock.open_lock

    def open_then_lose(path):
        descriptor = really(path)
        if not opened:
            path.unlink()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(lock, "open_lock", open_then_lose)
    with shared(path, lambda: None):
        assert len(opened) == 2
        assert path.stat().st_ino == os.fstat(opened[1]).st_ino


def test_a_lock_is_free_again_when_its_process_dies(tmp_path):
    context = get_context("fork")
    told, leave = context.Event(), context.Event()
    process = context.Process(target=_enter, args=(tmp_path / "lock", told, leave))
    process.start()
    assert told.wait(60)
    alone = []
    with shared(tmp_path / "lock", lambda: alone.append(1)):
        assert not alone
    process.kill()
    process.join()
    with shared(tmp_path / "lock", lambda: alone.append(1)):
        assert alone
    with locked(tmp_path / "other"):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["other"]
