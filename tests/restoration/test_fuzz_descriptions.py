"""A few wrong descriptions in the test run; `tests/fuzz/fuzz_descriptions.py` has thousands."""

import random
import sys

import pytest
from places import TESTS

sys.path.append(str(TESTS / "fuzz"))

import fuzz_descriptions


@pytest.mark.parametrize("kind", ["model", "optics"])
def test_a_strangers_description_gives_a_result_or_one_sentence(tmp_path, kind):
    case = getattr(fuzz_descriptions, f"{kind}_case")(tmp_path)
    found = {number: fuzz_descriptions.outcome(case, random.Random(f"1/{number}"), seconds=600) for number in range(60)}
    assert set(found.values()) == {"refused", "restored" if kind == "model" else "loaded"}, found
