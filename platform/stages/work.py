"""How one stage is carried out: training with Ray Train or in this process, evaluation, and their artifacts.

A finished stage is a folder: `weights.safetensors` and `curve.jsonl` of a training, `items.parquet` and `pictures.npz`
of an evaluation, `result.json` of each. It is written under a temporary name and renamed when complete. Ray is imported
in `scheduling` only.
"""

import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from deepblur.platform.arms.trained.arm import Evaluate
from deepblur.platform.arms.trained.measure import latency_ms, measure, picture_arrays
from deepblur.platform.data.sources import Source
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.grid import cells
from deepblur.platform.stages.heartbeat import Journal, Meter
from deepblur.platform.stages.identity import differs_here
from deepblur.platform.stages.ledger import RESULT, complete, replace_file
from deepblur.platform.stages.stage import Stage
from deepblur.platform.system.disk import is_full
from deepblur.platform.system.errors import SettingsError
from deepblur.platform.system.printable import printable
from deepblur.platform.system.seal import hashes_of, write_sealed
from deepblur.platform.training.specification import Joint, Training
from deepblur.platform.training.tasks import build
from deepblur.platform.training.trainer import State, train

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", re.IGNORECASE)
"""How torch says it of memory that is not a GPU's, of which a class of error speaks."""
PICTURES = 3
"""Images of the grid whose first draw is kept as a picture, at every noise level of the largest η seen in training."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One stage to carry out, with all that a process on another node needs to do it."""

    stage: Stage
    key: str
    label: str
    attempt: int
    runs: Path
    """Absolute, and the same folder on every node."""
    inputs: dict[str, str]
    """Key of each stage that this one needs, by its kind."""
    code: Mapping[str, str]
    """Module → hash of its code, as the driver has it, which a worker must share."""
    pixels: Mapping[tuple[Source, ...], str]
    """The fingerprints that the driver saw of the sources that this stage reads."""
    threads: int

    @property
    def cache(self) -> Path:
        return self.runs / "cache"

    @property
    def live(self) -> Path:
        """The curve so far, for the eyes of the driver."""
        return self.runs / "live" / f"{self.key}.jsonl"

    @property
    def scratch(self) -> Path:
        """Checkpoints of a training that is not finished."""
        return self.runs / "train" / self.key

    @property
    def folder(self) -> Path:
        return self.runs / "stages" / self.key

    def journal(self, rank: int = 0) -> Journal:
        return Journal(self.live.parent, self.key, self.attempt, rank)

    def begin(self) -> Meter:
        """Begin a stage that has no checkpoints."""
        self.journal().alive(0)
        return Meter()

    def unfinished_folder(self) -> Path:
        """An empty folder for the stage's artifacts, which `settle` moves to its place."""
        temporary = self.folder.with_name(f".{self.key}-{self.attempt}")
        temporary.mkdir(parents=True, exist_ok=True)
        return temporary

    def input_weights(self, kind: str) -> State:
        return load_file(self.runs / "stages" / self.inputs[kind] / "weights.safetensors")

    def prepare(self) -> None:
        """Set this process up for the stage.

        Raises:
            RuntimeError: this process runs other code than the driver, or sees other images.
        """
        if (module := differs_here(self.code)) is not None:
            raise RuntimeError(
                f"worker process {os.getpid()} imports another version of {module} than the study's driver; submit the "
                "job with --working-dir . or install the same version on every node"
            )
        for sources, fingerprint in self.pixels.items():
            if open_store(sources, self.cache, progress=False).fingerprint != fingerprint:
                raise RuntimeError(
                    f"the images of {' + '.join(map(str, sources))} changed after the study began; run it again"
                )
        torch.set_num_threads(self.threads)


class LocalRun:
    """A training run in one ordinary process, with its checkpoint in a file."""

    rank, world_size = 0, 1

    def __init__(self, work: Work, watch: Callable[[], None]) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._work, self._watch = work, watch
        self._checkpoint = work.scratch / "state.pt"
        self._journal = work.journal()

    def resume(self) -> State | None:
        return resume_from(self._checkpoint) if self._checkpoint.is_file() else None

    def alive(self, step: int) -> None:
        self._journal.alive(step)

    def report(self, row: dict[str, float], state: State | None) -> None:
        assert state is not None
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._checkpoint.with_suffix(".tmp")
        save_state(state, temporary)
        temporary.replace(self._checkpoint)
        write_live(self._work.live, state["history"])
        self._journal.saved(state["step"])
        self._watch()


def save_state(state: State, path: Path) -> None:
    """Write a checkpoint that is there even if the power goes off once this returns."""
    path.unlink(missing_ok=True)  # of a killed process; never what a link of that name leads to
    with path.open("xb") as file:  # a file of our own: where the disk is full, it says so
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def load_state(path: Path) -> State:
    return torch.load(path, map_location="cpu", weights_only=True)


def resume_from(path: Path) -> State | None:
    """A checkpoint; None where the file is damaged, so that its stage begins anew."""
    content = path.read_bytes()
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises depends on where the file was cut
        note(f"the checkpoint {path} is damaged ({type(error).__name__}); its stage begins anew")
        return None


def write_live(path: Path, history: list[dict[str, float]]) -> None:
    """Show the curve so far; a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, "".join(json.dumps(row) + "\n" for row in history).encode())


def live_rows(work: Work) -> list[dict[str, float]]:
    """The curve so far; empty where there is none, or where the file has just gone or is damaged: it is only shown."""
    try:
        return read_rows(work.live)
    except (OSError, ValueError):
        return []


def read_rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def train_here(work: Work, watch: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Carry out a training stage in this process; `watch` is called after every checkpoint and may raise."""
    work.prepare()
    meter, run = Meter(), LocalRun(work, watch)
    result = train(training_stage(work), cache=work.cache, identifier=identifier_weights(work), run=run)
    return finish_training(work, result, meter)


def training_stage(work: Work) -> Training:
    assert isinstance(work.stage, Training)
    return work.stage


def identifier_weights(work: Work) -> State | None:
    return work.input_weights("identify") if "identify" in work.inputs else None


def finish_training(work: Work, result: State, meter: Meter) -> dict[str, Any]:
    """Write the finished stage's folder, drop its checkpoints; the result for the ledger."""
    temporary = work.unfinished_folder()
    save_file(result["weights"], temporary / "weights.safetensors")
    write_live(temporary / "curve.jsonl", result["history"])
    return settle(work, temporary, result["history"][-1], meter)


def settle(work: Work, temporary: Path, result: Mapping[str, Any], meter: Meter) -> dict[str, Any]:
    """Move a stage's complete folder to its place and drop what led there; the result, with `cost`, for the ledger."""
    cost = meter.cost()
    told = {"seconds": cost["seconds"], **result, "cost": cost}
    facts = {"key": work.key, "kind": work.stage.kind, "label": work.label, "attempt": work.attempt}
    facts |= {"finished": time.time(), "result": told, "files": hashes_of(temporary)}
    write_sealed(temporary / RESULT, facts)
    complete(temporary, work.folder)
    shutil.rmtree(work.scratch, ignore_errors=True)
    work.live.unlink(missing_ok=True)
    return told


def evaluate_here(work: Work) -> dict[str, Any]:
    """Carry out an evaluation stage in this process."""
    work.prepare()
    stage = work.stage
    assert isinstance(stage, Evaluate)
    meter = work.begin()
    degradation = stage.arm.identify.degradation
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    identifier = load_network(work.runs, work.inputs["identify"], stage.arm.identify).to(device)
    deblurrer = load_network(work.runs, work.inputs["deblur"], stage.arm.deblur).to(device)
    store = open_store(stage.test, work.cache, progress=False)
    tables, pictures = [], {}
    shown = {"images": set[str](), "eta": max(e for e in stage.grid.eta_waves if e <= _at_most(stage))}
    for drawn in cells(stage.grid, degradation, store):  # on the CPU: the same draws on every machine
        cell = replace(drawn, batch=drawn.batch.to(device))
        tables.append(measure(cell, identifier, deblurrer, degradation))
        if len(shown["images"] | {cell.image}) <= PICTURES and cell.eta_waves == shown["eta"]:
            shown["images"].add(cell.image)
            for name, array in picture_arrays(cell, identifier, deblurrer, degradation.operator).items():
                pictures[f"{cell.image}|{cell.noise.name}|{cell.eta_waves}|{name}"] = array
    table = pd.concat(tables, ignore_index=True)
    temporary = work.unfinished_folder()
    table.to_parquet(temporary / "items.parquet", index=False)
    np.savez(temporary / "pictures.npz", **pictures)
    means = {name: float(table[name].mean()) for name in table.columns if name.endswith(("_db", "ssim"))}
    means["latency_ms"] = latency_ms(cell, identifier, deblurrer, degradation.operator)
    return settle(work, temporary, means, meter)


def _at_most(stage: Evaluate) -> float:
    """η up to which pictures are chosen: that of the training, or the grid's smallest where all are larger."""
    return max(stage.arm.identify.degradation.eta_waves, min(stage.grid.eta_waves))


def load_network(runs: Path, key: str, stage: Training) -> nn.Module:
    """The finished network of a training stage, frozen and in evaluation mode, on the CPU."""
    network = build(stage)
    network.load_state_dict(load_file(runs / "stages" / key / "weights.safetensors"))
    return network.eval().requires_grad_(False)


def load_networks(work: Work, trainings: Iterable[Training], device: torch.device) -> dict[str, nn.Module]:
    """Kind → finished network, of all that a stage needs; a joint training gives two."""
    found: dict[str, nn.Module] = {}
    for stage in trainings:
        network = load_network(work.runs, work.inputs[stage.kind], stage).to(device)
        if isinstance(stage, Joint):
            found |= {kind: network.get_submodule(kind) for kind in stage.gives()}
        else:
            found[stage.kind] = network
    return found


def root_cause(error: BaseException) -> BaseException:
    """What went wrong at first, without the layers it travelled through."""
    while True:
        inner = getattr(error, "cause", None) or error.__cause__
        failures = getattr(error, "worker_failures", None)
        if failures:
            inner = next(iter(failures.values()))
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner


def of_the_settings(error: BaseException) -> bool:
    """Whether a stage failed for what it was told to do: the same settings would end in the same way here.

    The loss diverged, the memory does not suffice, or the settings cannot be carried out.
    """
    error = root_cause(error)
    if isinstance(error, (FloatingPointError, MemoryError, torch.OutOfMemoryError, SettingsError)):
        return True
    return isinstance(error, RuntimeError) and not is_full(error) and bool(_NO_MEMORY.search(str(error)))


def describe_error(error: BaseException) -> str:
    """The root cause in one line."""
    error = root_cause(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else 'no message'}"


def note(text: str) -> None:
    """One line of progress, at once even where the output is a file."""
    print(printable(text, keep="\n\t"), file=sys.stdout, flush=True)
