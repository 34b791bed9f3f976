"""Twelve arms that differ in DN alone: each by itself, and as one study that trains what they share once."""

import contextlib
import io
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from deepblur.platform.experiment.main import main
from deepblur.platform.study import Study
from deepblur.studies.ablation_true_vs_est import STUDY as BASE

CHOICES = {"dn_unroll": (1, 2, 3), "dn_shared": (False, True), "dn_lr": (1e-3, 3e-3)}
ARMS = {
    ", ".join(f"{name} {value}" for name, value in zip(CHOICES, values, strict=True)): {
        "operator": "estimated",
        **dict(zip(CHOICES, values, strict=True)),
    }
    for values in product(*CHOICES.values())
}


def study(divisor: int) -> Study:
    """The arms at the quick preset's size, with the steps of both networks divided by the same number."""
    quick = BASE.presets["quick"]
    steps = {name: quick.settings[name] // divisor for name in ("in_steps", "dn_steps")}
    grid = replace(quick.grid, noise=quick.grid.noise[:1], images=2, draws=1)
    preset = replace(quick, seeds=(0,), grid=grid, settings={**quick.settings, **steps, "validations": 2})
    more = {"one more arm": {"operator": "estimated", "dn_unroll": 4}}
    first, second = list(ARMS)[:2]
    return Study(name="reuse", about="How much does reuse save?", arm=BASE.arm, arms={**ARMS, **more},
                 contrast=(first, second), presets={"quick": preset})  # fmt: skip


def _run(wanted: Study, arms: Sequence[str], runs: Path) -> tuple[int, float, float]:
    """Stages carried out, their seconds, and the seconds of the whole command."""
    before = _spent(runs)
    start = time.perf_counter()
    said = io.StringIO()
    contrast = (arms[0], arms[-1])
    alone = replace(wanted, arms={name: wanted.arms[name] for name in arms}, contrast=contrast)
    with contextlib.redirect_stdout(said):
        code = main(alone, ["--local", "--tracking-uri", "none", "--runs", str(runs)])
    if code:
        raise RuntimeError(f"the study ended with {code}:\n{said.getvalue()}")
    after = _spent(runs)
    return after[0] - before[0], after[1] - before[1], time.perf_counter() - start


def _spent(runs: Path) -> tuple[int, float]:
    if not (runs / "ledger.db").is_file():
        return 0, 0.0
    with contextlib.closing(sqlite3.connect(runs / "ledger.db")) as ledger:
        return ledger.execute("select count(*), coalesce(sum(finished - started), 0) from attempt").fetchone()


def reuse(folder: Path, quick: bool) -> Iterator[str]:
    """The section's lines."""
    wanted = study(divisor=100 if quick else 20)
    arms = list(ARMS)
    cache = folder / "together" / "cache"
    together = _run(wanted, arms, folder / "together")
    alone = []
    for i, arm in enumerate(arms):
        runs = folder / str(i)
        runs.mkdir()
        (runs / "cache").symlink_to(cache)  # the images are decoded once in both cases
        alone.append(_run(wanted, [arm], runs))
    naive = tuple(map(sum, zip(*alone, strict=True)))
    settings = wanted.presets["quick"].settings
    yield f"{len(arms)} arms with one IN: {settings['in_steps']} steps of IN, {settings['dn_steps']} of DN, one thread"
    yield f"{'':34}{'stages':>8}{'their s':>10}{'command s':>11}"
    rows = {"each arm by itself": naive, "one study": together,
            "the same study again": _run(wanted, arms, folder / "together"),
            "with a thirteenth arm": _run(wanted, [*arms, "one more arm"], folder / "together")}  # fmt: skip
    for name, (stages, seconds, whole) in rows.items():
        yield f"{name:34}{stages:8}{seconds:10.1f}{whole:11.1f}"
    saved = naive[0] - together[0], 100 * (1 - together[0] / naive[0]), 100 * (1 - together[1] / naive[1])
    yield f"saved: {saved[0]} of {naive[0]} stages ({saved[1]:.0f} %), {saved[2]:.0f} % of the stages' time"
