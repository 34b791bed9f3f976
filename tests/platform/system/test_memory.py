"""Memory that is freed stays with the process, so that the next array of that size costs no page faults."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from deepblur.platform.system.memory import keep_freed_memory

if "keep" in sys.argv:
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

np.ones(2**24)
before = faults()
for _ in range(5):
    np.ones(2**24)  # 128 MiB
print(faults() - before)
"""


def faults_of(*arguments):
    return int(
        subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only GNU's C library is told")
def test_what_is_freed_is_used_again():
    assert faults_of("keep") < 1000
    assert faults_of() > 2 * faults_of("keep")  # more where pages are small


HELD = """
import numpy as np, psutil
from deepblur.platform.system.memory import held_bytes, keep_freed_memory

keep_freed_memory()
before = held_bytes()
np.ones(2**25)  # 256 MiB
kept = psutil.Process().memory_info().rss - before
print(kept >> 20, held_bytes() - before >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only GNU's C library is told")
def test_what_is_kept_is_not_counted_as_held():
    """Else the second frame of a series had less room than the first, and other tiles."""
    kept, held = map(int, subprocess.check_output([sys.executable, "-c", HELD], text=True).split())
    assert kept > 200
    assert held < 20
