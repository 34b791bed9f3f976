"""A study that everything happens to ends as an undisturbed one; `make chaos` runs this with every event."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.environ.get("DEEPBLUR_CHAOS") != "1", reason="takes long; run by make chaos"),
]


def test_every_event_is_survived_without_a_complaint(tmp_path):
    line = [sys.executable, str(Path(__file__).with_name("chaos.py")), "--out", str(tmp_path)]
    code = subprocess.run(line, check=False).returncode
    report = json.loads((tmp_path / "chaos.json").read_text())
    assert report["events"], "no event found its moment"
    assert [event for event in report["events"] if event["problems"]] == []
    assert report["problems"] == []
    assert code == 0
