"""Which Ray cluster is there, and the cluster files."""

import socket

import pytest

from deepblur.platform.cluster import running_cluster


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
