"""A training in this process: its checkpoints, how it goes on from them, and the finished network."""

import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from deepblur.platform.stages.heartbeat import Meter, write_live
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.printable import note
from deepblur.platform.training.specification import Joint, Training
from deepblur.platform.training.tasks import build
from deepblur.platform.training.trainer import State, train


class LocalRun:
    """A training run in one ordinary process, with its checkpoint in a file."""

    rank, world_size = 0, 1

    def __init__(self, work: Work, watch: Callable[[], None]) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._work, self._watch = work, watch
        self._checkpoint = work.scratch / "state.pt"
        self._heartbeat = work.heartbeat()

    def resume(self) -> State | None:
        return resume_from(self._checkpoint) if self._checkpoint.is_file() else None

    def alive(self, step: int) -> None:
        self._heartbeat.alive(step)

    def report(self, row: dict[str, float], state: State | None) -> None:
        assert state is not None
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._checkpoint.with_suffix(".tmp")
        save_state(state, temporary)
        temporary.replace(self._checkpoint)
        write_live(self._work.live, state["history"])
        self._heartbeat.saved(state["step"])
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


def carry_out(work: Work, watch: Callable[[], None]) -> dict[str, Any]:
    """Carry out a training stage in this process; `watch` is called after every checkpoint and may raise."""
    work.prepare()
    meter, run = Meter(), LocalRun(work, watch)
    result = train(training_stage(work), cache=work.cache, identifier=identifier_weights(work), run=run)
    return finish_training(work, result, meter)


def training_stage(work: Work) -> Training:
    assert isinstance(work.stage, Training)
    return work.stage


def identifier_weights(work: Work) -> State | None:
    if "identify" not in work.inputs:
        return None
    return load_file(work.runs / "stages" / work.inputs["identify"] / "weights.safetensors")


def finish_training(work: Work, result: State, meter: Meter) -> dict[str, Any]:
    """Write the finished stage's folder, drop its checkpoints; the result for the ledger."""
    temporary = work.unfinished_folder()
    save_file(result["weights"], temporary / "weights.safetensors")
    write_live(temporary / "curve.jsonl", result["history"])
    return work.settle(temporary, result["history"][-1], meter)


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
