"""What a user sees of a study of each kind is what the golden files say; `tests/pins/pin.py` holds the digits too."""

import difflib
import sys

import pytest
from places import TESTS

sys.path.append(str(TESTS / "pins"))

from pin import KINDS, golden, run, seen, without_digits


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("pins") / "runs"


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_sees_what_was_seen_before(kind, runs):
    found = [without_digits(line) for line in seen(kind, runs, run(kind, runs))]
    known = [without_digits(line) for line in golden(kind).read_text(encoding="utf-8").splitlines()]
    assert not list(difflib.unified_diff(known, found, "before", "now", lineterm="", n=0))
