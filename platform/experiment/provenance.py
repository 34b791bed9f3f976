"""From what, with what and by what a run was made: the record from which `deepblur reproduce` makes it again.

It is one JSON file, `provenance.json`, with what it refers to beside it (the difference from the commit, files that the
settings name): in the report folder, as artifacts of the study's MLflow run and, cut to its part, of each child run.
Places and credentials are left out: where results and the record lie does not change them.
"""

import argparse
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from deepblur.platform.experiment.command_line import parser, words
from deepblur.platform.experiment.study import Design, Graph, Plan
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.system import source_tree
from deepblur.platform.system.imports import own_modules
from deepblur.platform.system.whole_files import replace_file

FILE = "provenance.json"
FORMAT = 1
INPUTS, OWN = "inputs", "own"
"""Folders of what is kept: files that settings name; modules of the user's that the study imports."""
STUDY_FILE = "study.py"
OPTIONS = ("preset", "data", "test", "arms", "seeds", "set", "noise", "eta", "images", "draws", "crop", "trials",
           "workers", "cpus", "gpus", "local")  # fmt: skip
"""Options of a study that are kept; no record gives others."""
LEFT_OUT = ("runs", "tracking_uri", "wait_for_nodes", "hours", "gpu_hours")
"""Options that say where results go, and how long they may take."""
PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "ray", "mlflow")
MADE = "made.json"

Json = dict[str, Any]


@dataclass(frozen=True)
class Provenance:
    """What a study is made from, as it was when the study began."""

    ingredients: Json
    attachments: dict[str, bytes]
    """Relative name → content of what the ingredients refer to."""

    def write(self, folder: Path, outcome: Json) -> None:
        """Put it into the report folder, which the record sends as a whole."""
        for name, content in self.attachments.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            replace_file(folder / name, content)
        replace_file(folder / FILE, self.text(outcome).encode())

    def text(self, outcome: Json, part: Json | None = None) -> str:
        """As JSON; `part` says which arm and seed, or which stage, a child run shows."""
        cut = outcome if part is None else part_of(outcome, part)
        return json.dumps({**self.ingredients, "part": part, "outcome": cut}, indent=1, sort_keys=True)


def take(plan: Plan, graph: Graph) -> Provenance:
    """The ingredients of a plan, and what has to be kept of them."""
    root = source_tree.root()
    study, own, kept = _study(plan.study, plan.program, root)
    source = source_tree.take(root, own)
    inputs = {}
    for name, value in plan.settings.items():
        if isinstance(value, str) and (_is_path(value) or name.endswith("file")) and Path(value).is_file():
            content = Path(value).read_bytes()
            inputs[name] = {"file": Path(value).name, "sha256": hashlib.sha256(content).hexdigest()}
            kept[f"{INPUTS}/{name}"] = content
    ingredients = {
        "format": FORMAT,
        "study": study,
        "options": options(plan) if plan.preset in plan.study.presets else None,  # None: a search put it together
        "arms": list(plan.arms),
        "seeds": list(plan.seeds),
        "settings": {name: str(value) for name, value in plan.settings.items()},
        "inputs": inputs,
        "data": _data(plan, graph),
        "source": {
            "hash": source.hash,
            "commit": source.commit or os.environ.get("DEEPBLUR_COMMIT"),  # a Ray job's upload is no checkout
            "differs": source.differs,
            "kept": list(source.kept),
        },
        "made_with": circumstances_of(plan),
    }
    return Provenance(ingredients, kept | source.kept)


def circumstances_of(plan: Plan) -> Json:
    """Those of a plan that is carried out here."""
    workers = f"{plan.workers}" if plan.fewest_workers == plan.workers else f"{plan.fewest_workers}-{plan.workers}"
    return circumstances(workers=workers, threads=plan.cpus, gpu=plan.gpus > 0 or plan.local)


def circumstances(*, workers: str, threads: Any, gpu: bool) -> Json:
    """What the bits of a result depend on beside its specification, as the driver sees it.

    Args:
        gpu: whether a GPU is used where there is one.
    """
    cuda = gpu and torch.cuda.is_available()
    device = f"GPU {torch.cuda.get_device_name()}" if cuda else f"CPU with {torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": device,
        "workers": workers,
        "threads": threads,
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "processor": _processor(),
    }


def write_made(folder: Path, made_with: Json) -> None:
    """Note in a finished stage's folder under which circumstances it was made: another study may reuse it."""
    replace_file(folder / MADE, json.dumps(made_with).encode())


def outcome(graph: Graph, ledger: Ledger, metrics: Mapping[str, float], made_with: Json) -> Json:
    """What a study ended with.

    Returns: `metrics` of the study; `arms`, "arm/seed" → keys of the stages that it rests on; `stages`, key → label,
        metrics, SHA-256 of the weights or of the rows, and `made_otherwise`, where a stage was reused that was made
        under other circumstances: those that differ, {} where nobody noted them.
    """
    stages = {}
    for key, work in graph.works.items():
        if (result := ledger.done(key)) is not None:
            folder = ledger.folder(key)
            found = {"label": work.label, "metrics": _untimed(result), "hashes": _hashes(folder)}
            made = _made(folder)
            if made != made_with:
                found["made_otherwise"] = {name: value for name, value in made.items() if value != made_with.get(name)}
            stages[key] = found
    arms = {f"{arm}/{seed}": [*graph.trainings(arm, seed), *keys] for (arm, seed), keys in graph.results.items()}
    return {"metrics": _untimed(metrics), "arms": arms, "stages": stages}


def _made(folder: Path) -> Json:
    """What was noted; {} where nobody did, or where the note is damaged."""
    try:
        made = json.loads((folder / MADE).read_text())
    except (OSError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}


def part_of(outcome: Json, part: Json) -> Json:
    """What belongs to one arm and seed, or to one training."""
    keys = [part["stage"]] if "stage" in part else outcome["arms"].get(f"{part['arm']}/{part['seed']}", [])
    return {"metrics": {}, "arms": {}, "stages": {k: v for k, v in outcome["stages"].items() if k in keys}}


def options(plan: Plan) -> Json:
    """The options that were given, as text, but for places and budgets; preset and data are always spelt out."""
    line = parser(plan.study)
    for action in line._actions:  # argparse has no other way to tell what was given, before it is converted
        action.default, action.type = argparse.SUPPRESS, None
    given = vars(line.parse_args(words(plan.command)))
    preset = plan.study.presets[plan.preset]
    given = {"preset": plan.preset, "data": preset.data} | {n: v for n, v in given.items() if n not in LEFT_OUT}
    given["data"] = _absolute(given["data"])
    if test := given.get("test", preset.test):
        given["test"] = _absolute(test)
    return given


def argv(options: Mapping[str, Any]) -> list[str]:
    """Options as the words of a command line."""
    words = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        values = value if isinstance(value, list) else [value]
        words += [flag] if value is True else [f"{flag}={v}" for v in values]
    return words


def study_file(study: Design, program: bool = True) -> Path | None:
    """The file that runs a study, which need not be the one of its arm function; None where it was typed in by hand.

    It is the program where that holds the study, else the module that does, and of several the one whose docstring is
    the study's.

    Args:
        program: whether the program that runs may be that file, though it only imports the study.
    """
    running = sys.modules["__main__"]
    holders = [module for module in [running, *sys.modules.values()] if _holds(module, study)]
    if not program or not any(holder is running for holder in holders):
        holders.sort(key=lambda module: module.__doc__ != study.about)
    for holder in [*holders, running]:
        file = Path(getattr(holder, "__file__", None) or "").resolve()
        if file.is_file():
            return file
    return None


def _holds(module: Any, study: Design) -> bool:
    """Whether a module has the study among its names, or in a module among them, as in `studies.STUDY.main()`."""
    held = vars(module) if inspect.ismodule(module) else {}
    parts = (vars(value) for value in held.values() if inspect.ismodule(value)) if held.get("__name__") == "__main__" \
        else ()  # fmt: skip
    return any(value is study for names in (held, *parts) for value in list(names.values()))


def _study(study: Design, program: bool, root: Path) -> tuple[Json, tuple[str, ...], dict[str, bytes]]:
    """The study's file and the user's own modules that it imports.

    Returns: what is told of them; those inside the tree, which a difference must cover; the content of the others.
    """
    file = study_file(study, program)
    if file is None:
        return {"name": study.name, "file": "", "sha256": "", "modules": {}}, (), {}
    own = {f"{INPUTS}/{STUDY_FILE}": file}
    for module, lies in own_modules(file).items():
        own[f"{OWN}/{module.replace('.', '/')}{'/' + lies.name if lies.stem == '__init__' else lies.suffix}"] = lies
    inside, kept, told = [], {}, {}
    for name, lies in own.items():
        content = lies.read_bytes()
        if lies.is_relative_to(root):
            inside.append(lies.relative_to(root).as_posix())
        else:
            kept[name] = content
        shown = lies.relative_to(root).as_posix() if lies.is_relative_to(root) else str(lies)
        told[name] = {"file": shown, "sha256": hashlib.sha256(content).hexdigest()}
    return {"name": study.name, **told.pop(f"{INPUTS}/{STUDY_FILE}"), "modules": told}, tuple(inside), kept


def _data(plan: Plan, graph: Graph) -> Json:
    """Role → the sources and the fingerprint of their pixels, of what some stage looks at."""
    pixels = {sources: seen for work in graph.works.values() for sources, seen in work.pixels.items()}
    roles = {"train": plan.data.train, "validation": plan.data.validation, "test": plan.data.test}
    return {
        role: {"sources": " + ".join(map(str, sources)), "fingerprint": pixels[sources]}
        for role, sources in roles.items()
        if sources in pixels
    }


def _is_path(value: str) -> bool:
    """Whether a setting can name a file: a word such as "twin" does not, though a file may have that name."""
    return bool(os.path.dirname(value) or os.path.splitext(value)[1])


def _absolute(source: str) -> str:
    kind, colon, folder = source.partition(":")
    return f"{kind}:{os.path.abspath(os.path.expanduser(folder))}" if colon else source


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of what a stage made, without the columns that tell how long it took."""
    found = {}
    for name in ("weights.safetensors", "items.csv"):  # the latter from a version before
        if (folder / name).is_file():
            found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    if (folder / "items.parquet").is_file():
        table = pd.read_parquet(folder / "items.parquet")
        text = table[list(filter(_tells, table.columns))].to_csv(index=False)
        found["items.parquet"] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _tells(name: str) -> bool:
    """Whether a repetition must give the value again: not how long it took, nor how much memory."""
    return not name.endswith(("_s", "_ms", "_mb")) and "seconds" not in name


def _untimed(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, (int, float)) and _tells(name)}


def _version(package: str) -> str:
    return torch.__version__ if package == "torch" else importlib.metadata.version(package)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
