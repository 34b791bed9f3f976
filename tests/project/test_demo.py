"""The demo's job, without Ray: a command of that name stands in for it."""

import os
import signal
import sys

import pytest

from deepblur.platform import demo

RAY = f"""#!{sys.executable}
import pathlib, shlex, stat, subprocess, sys
pathlib.Path("arguments").write_text("\\n".join(sys.argv))
job = sys.argv[sys.argv.index("--") + 1 :]
pathlib.Path("mode").write_text(oct(stat.S_IMODE(pathlib.Path(job[1]).stat().st_mode)))
sys.exit(subprocess.run(shlex.join(job), shell=True).returncode)
"""
PASSWORD = "hun'ter \"2$HOME"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder in which the demo finds itself, with commands `ray` and `python` of our own."""
    for name, text in {"ray": RAY, "python": "#!/bin/sh\nenv > environment\nexit 3\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_the_job_gets_the_credentials_and_nobody_else_sees_them(place, monkeypatch):
    given = {"URI": "https://me:other@host", "USERNAME": "me", "PASSWORD": PASSWORD, "SERVER_CERT_PATH": "/c.pem"}
    for name, value in given.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    assert demo._submit() == 3
    arguments = (place / "arguments").read_text()
    assert "studies/ablation_true_vs_est.py" in arguments
    for secret in ("hun", "other"):
        assert secret not in arguments
    assert (place / "mode").read_text() == "0o600"
    environment = (place / "environment").read_text().splitlines()
    for name, value in given.items():
        assert f"MLFLOW_TRACKING_{name}={value}" in environment
    assert list((place / "runs").iterdir()) == []


def test_nothing_is_left_of_them_when_no_job_starts(place, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    (place / "ray").write_text("#!/bin/sh\nexit 1\n")
    assert demo._submit() == 1
    assert list((place / "runs").iterdir()) == []


@pytest.mark.parametrize(("done", "says"), [(True, []), (False, ["starting", "submitted"])])
def test_what_is_done_needs_no_cluster(place, monkeypatch, done, says):
    said = []
    monkeypatch.setattr(demo, "_is_done", lambda: done)
    monkeypatch.setattr(demo, "running_cluster", lambda: None)
    monkeypatch.setattr(demo, "_start_cluster", lambda: said.append("starting"))
    monkeypatch.setattr(demo, "_submit", lambda: said.append("submitted") or 3)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert demo.main() == 3  # of the command `python` of this place, or of the job
    assert said == says
    assert (place / "environment").is_file() is done
