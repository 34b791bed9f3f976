"""A few damaged files in the test run; `tests/fuzz/fuzz_restore.py` has thousands."""

import sys

import pytest
from places import TESTS

sys.path.append(str(TESTS / "fuzz"))

import fuzz_restore
import mutants
import ome_mutants

from deepblur.restoration.images.io import read_recording


@pytest.mark.parametrize(
    ("kind", "command", "files"), [("bytes", False, 60), ("bytes", True, 20), ("ome", False, 120), ("ome", True, 15)]
)
@pytest.mark.timeout(900)
def test_damaged_files_are_restored_or_refused_in_one_sentence(tmp_path, monkeypatch, kind, command, files):
    monkeypatch.setattr(fuzz_restore, "MAX_S", 200.0)  # a busy machine is no defect
    model = fuzz_restore.micro_model(tmp_path) if command else None
    outcomes = fuzz_restore.in_order(range(files), 1, tmp_path, model, kind)
    assert set(outcomes) == {"restored", "refused"}
    assert outcomes.total() == files


@pytest.mark.parametrize("name", mutants.seeds())
def test_what_is_damaged_was_sound(tmp_path, name):
    (tmp_path / name).write_bytes(mutants.seeds()[name])
    if name.startswith("bool"):
        return
    assert sum(1 for _ in read_recording(tmp_path / name).frames()) >= 1


def test_the_documents_that_are_changed_were_sound(tmp_path):
    for number, data in enumerate(ome_mutants.sound()):
        path = tmp_path / f"{number}.ome.tif"
        path.write_bytes(data)
        recording = read_recording(path)
        assert not recording.notes
        assert recording.pixel_um == 0.1
        assert sum(1 for _ in recording.frames()) == recording.length
