"""The programs that time our work: what would run on a lent GPU is rehearsed, and each says what it does."""

import subprocess
import sys

from places import ROOT

PROGRAMS = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text())


def run(program, *options):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / program), *options], capture_output=True, text=True, check=True
    ).stdout


def test_the_first_call_on_a_gpu_is_rehearsed_on_the_cpu():
    lines = run("first_gpu_call.py", "--rehearse").splitlines()
    rows = [line for line in lines if line.startswith(("IN, ", "DN, ")) and line.endswith("%")]
    assert [row.split(", ")[-2] for row in rows] == ["float32", "bfloat16"] * 2
    assert sum(line.startswith("fastest: ") for line in lines) == 2


HELP = """
import contextlib, io, runpy, sys
for program in sys.argv[1:]:
    sys.argv[:] = [program, "--help"]
    sys.path.insert(0, program.rpartition("/")[0])
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        runpy.run_path(program, run_name="__main__")
    print(program.rpartition("/")[2], "usage: " in said.getvalue())
"""


def test_every_benchmark_tells_what_it_measures():
    """All in one process: each would import torch."""
    programs = [str(ROOT / "benchmarks" / name) for name in PROGRAMS]
    done = subprocess.run([sys.executable, "-c", HELP, *programs], capture_output=True, text=True, check=True)
    assert dict(line.split() for line in done.stdout.splitlines()) == dict.fromkeys(PROGRAMS, "True")
