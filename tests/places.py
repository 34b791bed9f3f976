"""Where the tests find the checkout that they belong to, and real images, which are not part of it."""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
REAL = Path(os.environ.get("DEEPBLUR_DATA", ROOT.parent / "shared" / "data"))
"""Tests on real images skip where it is absent."""
