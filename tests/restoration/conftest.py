"""What the tests of restoration share."""

import pytest

from deepblur.restoration import memory

FRESH_BYTES = 2**28
"""What a command holds that has just begun."""


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch):
    """A test process has done hundreds of other things, and what it still holds of them is none of --max-memory."""
    held = memory.held_bytes
    before = held()
    monkeypatch.setattr(memory, "held_bytes", lambda: held() - before + FRESH_BYTES)
