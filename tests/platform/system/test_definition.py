"""Of a module, what one of its definitions rests on, and no more."""

import pytest

from deepblur.platform.system.definition import definition

MODULE = """
import os, torch
from far import *
import near as n
TABLE = {}
A = 1
B = A + 1
def add(f):
    TABLE[f.__name__] = f
    return f
@add
def one(): return n.one()
def reads(): return TABLE
def uses(): return B
def free(): return 0
def sneaky(): return globals()["A"]
free.width = A
torch.backends.x = True
if __name__ == "__main__":
    print(one())
"""


@pytest.mark.parametrize(
    ("name", "with_", "without"),
    [
        ("uses", ["A = 1", "B = A + 1", "from far import *"], ["TABLE", "free", "print"]),
        ("reads", ["def add", "def one", "import near"], ["B = "]),
        ("free", ["free.width = A", "A = 1"], ["TABLE", "import near"]),
        ("sneaky", ["TABLE", "print"], []),
        ("nowhere", ["TABLE", "print"], []),
    ],
)
def test_what_a_definition_rests_on(name, with_, without):
    text = definition(MODULE.encode(), name).decode()
    assert [part for part in with_ if part not in text] == []
    assert [part for part in without if part in text] == []
