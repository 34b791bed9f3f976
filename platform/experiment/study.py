"""A study: a question, the arms that answer it, the seeds and the fixed evaluation grid. `STUDY.main()` does the rest.

The hyperparameters are the keywords of one arm function, each declared once; a preset overrides some of them, and so
does the command line (`--set name=value`). A name that the function lacks fails before anything is scheduled.
"""

import ast
import difflib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from deepblur.platform.data.sources import Data
from deepblur.platform.evaluation.levels import Grid, RealImages
from deepblur.platform.evaluation.measure import Metric, Score
from deepblur.platform.stages.identity import said
from deepblur.platform.stages.stage import Work

COLUMNS = {
    *("arm", "seed", "noise", "eta_waves", "image", "draw", "noise_std", "gain", "status", "reason", "seconds"),
    *("psnr_db", "ssim", "whiteness", "psf_snr_db", "psf_ncc", "otf_error", "psf_error", "local_std", "peak_mb"),
    "wavefront_error_waves",
}
"""Of the tables of draws, which a metric of a study's own cannot have."""
F = TypeVar("F", bound=Callable[..., Any])
_GIVEN = ("data", "seed")  # keywords that the study itself hands to every arm
CALLED = "DEEPBLUR_CALLED"
"""Global of a study file that another command runs: how the study was called."""
_FIELDS = ("Claim", "Measure", "Cost", "Run", "Outcome")


def extends(base: Callable[..., Any], *, without: Sequence[str] = ()) -> Callable[[F], F]:
    """An arm function that passes its `**training` on to another study's gets that one's keywords, defaults and all.

    Args:
        base: the arm function whose keywords are taken over.
        without: keywords of `base` that the new function decides itself.
    """

    def with_keywords(arm: F) -> F:
        own = {n: p for n, p in inspect.signature(arm).parameters.items() if p.kind is not p.VAR_KEYWORD}
        more = {n: p for n, p in inspect.signature(base).parameters.items() if n not in own and n not in without}
        arm.__signature__ = inspect.Signature([*own.values(), *more.values()])  # type: ignore[attr-defined]
        return arm

    return with_keywords


@dataclass(frozen=True)
class Graph:
    """The stages of a plan: every stage once, what needs what, and which results belong to which arm and seed."""

    works: dict[str, Work]
    results: dict[tuple[str, int], tuple[str, ...]]
    """(arm, seed) → keys of the stages that measure it: one evaluation, or one stage per image, noise level or
    member of an ensemble."""
    arms: dict[tuple[str, int], Any]

    def inputs(self, arm: str, seed: int) -> dict[str, str]:
        """Kind → key of the trainings of an arm; of the first member of an ensemble."""
        return self.works[self.results[arm, seed][0]].inputs

    def trainings(self, arm: str, seed: int) -> list[str]:
        """Keys of every training that an arm rests on, each once."""
        found: dict[str, None] = {}
        ahead = [key for stage in self.results[arm, seed] for key in self.works[stage].inputs.values()]
        while ahead:
            key = ahead.pop()
            found[key] = None
            ahead += self.works[key].inputs.values()
        return list(found)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One size of a study: the same code path, other numbers."""

    seeds: tuple[int, ...]
    """Each arm is made, trained and measured once for each."""
    grid: Grid | RealImages
    """What the arms are measured on, the same for all."""
    data: str = "photos"
    """What to train and test on where the command line names nothing; see `data.sources.parse_data`."""
    test: str | None = None
    """What to test on instead of the data's own test images; see `deepblur.platform.data.sources.parse_test`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the arm function that differ from its defaults."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """One question, its arms and its presets: all that is known of a study before it runs.

    Raises:
        ValueError: an arm or a preset names a keyword that the arm function lacks, or the contrast an unknown arm.
    """

    name: str
    """Of its runs, folders and reports; that of its file, without .py."""
    about: str | None
    """The study file's docstring: its first line is the question, its fields are the abstract."""
    arm: Callable[..., Any]
    """Keywords → one arm, a `StudyArm`: networks to train, a method to compare or to tune, a search by one sampler, or
    a way to state uncertainty. `data` and `seed` are given to it."""
    arms: Mapping[str, Mapping[str, Any]]
    """Name of the arm → the keywords that make it what it is."""
    contrast: tuple[str, str]
    """(a, b): the study asks whether a does better than b and reports a − b, of whatever kind it is. A comparison of
    methods holds all the others against a as well, each minus a."""
    presets: Mapping[str, Preset]
    """Name, such as "quick" → the size of the study."""
    metrics: tuple[Metric, ...] = ()
    """Measures of the study's own for restored images, which stand beside PSNR and SSIM wherever these do."""
    after: Callable[["Plan", Graph], Any] = lambda plan, graph: None
    """Called when everything is done and recorded, for what a study leaves beside its report."""
    published: Callable[[str], tuple[Any, ...]] = lambda preset: ()
    """Preset → a `Claim` each of what the paper printed of the same experiment, and why a figure of ours cannot be held
    against it."""

    def __post_init__(self) -> None:
        for keywords in (*self.arms.values(), *(preset.settings for preset in self.presets.values())):
            self.check(keywords)
        names = [metric.name for metric in self.metrics]
        if known := [name for name in names if name in COLUMNS or names.count(name) > 1]:
            raise ValueError(f"a metric has a name of its own, for its column; {known[0]!r} is taken: rename it")
        for name in self.contrast:
            if name not in self.arms:
                raise ValueError(f"the contrast names the arm {name!r}; the arms are {', '.join(self.arms)}")

    @property
    def scores(self) -> tuple[Score, ...]:
        """What the stages that measure compute for the study's own metrics: not how these are written."""
        return tuple(metric.score for metric in self.metrics)

    def typed(self, program: bool = True) -> list[str]:
        """How the study is called: by its file as it was typed, else by the file that states it.

        Args:
            program: whether the program that runs may be that file, though it only imports the study.
        """
        running = sys.modules.get("__main__")
        if program and any(value is self for value in vars(running).values()):
            if called := getattr(running, CALLED, None):
                return [*called]
            file = getattr(running, "__file__", None)
            if file and Path(sys.argv[0]).resolve() == Path(file).resolve():
                return ["python", sys.argv[0]]
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get("STUDY") is self and (file := getattr(module, "__file__", None)):
                inside = module.__name__.startswith("deepblur.")
                return ["python", f"studies/{Path(file).name}" if inside else os.path.relpath(file)]
        return ["python", f"studies/{self.name}.py"]

    def check(self, keywords: Mapping[str, Any]) -> None:
        """Refuse keywords that the arm function does not have."""
        known = inspect.signature(self.arm).parameters
        for name in keywords:
            if name not in known or name in _GIVEN:
                near = difflib.get_close_matches(name, [k for k in known if k not in _GIVEN], n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"
                raise ValueError(f"the arm function of {self.name} has no setting {name!r}{hint}")

    def build(self, arm: str, *, settings: Mapping[str, Any], data: Data, seed: int) -> Any:
        """The stages of one arm at one seed. What makes the arm what it is wins over the settings."""
        return self.arm(**{**settings, **self.arms[arm]}, data=data, seed=seed)

    def keywords(self, arm: str, settings: Mapping[str, Any]) -> dict[str, str]:
        """The hyperparameters of an arm as text: every keyword of the arm function with the value that it takes."""
        given = {**settings, **self.arms[arm]}
        parameters = inspect.signature(self.arm).parameters
        return {name: said(given.get(name, p.default)) for name, p in parameters.items() if name not in _GIVEN}

    def parse_setting(self, text: str) -> tuple[str, Any]:
        """'eta_waves=0.12' → ('eta_waves', 0.12), of the kind that the keyword's default has.

        Raises:
            ValueError: no '=', no such keyword, or a value of another kind.
        """
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"a setting is written NAME=VALUE; got {text!r}")
        self.check({name: value})
        try:
            parsed = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed = value
        default = inspect.signature(self.arm).parameters[name].default
        if isinstance(default, float) and isinstance(parsed, int) and not isinstance(parsed, bool):
            parsed = float(parsed)
        unlike = default not in (inspect.Parameter.empty, None) and type(parsed) is not type(default)
        if unlike and parsed is not None:
            raise ValueError(
                f"the setting {name} is a {type(default).__name__} such as {default!r}; got {value!r}, a "
                f"{type(parsed).__name__}"
            )
        return name, parsed

    @property
    def title(self) -> str:
        """The question: the first line of the study file's docstring; the study's name where it has none."""
        return next((line.strip() for line in (self.about or "").splitlines() if line.strip()), self.name)

    @property
    def abstract(self) -> dict[str, str]:
        """Claim, Measure, Cost, Run and Outcome, as the study file's docstring states them."""
        parts = re.split(rf"^\s*({'|'.join(_FIELDS)})\s{{2,}}", self.about or "", flags=re.MULTILINE)
        return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study with everything decided: what to run, on what, with which resources, recorded where."""

    study: Design
    """The question, its arms and its presets."""
    preset: str
    """Its name."""
    arms: tuple[str, ...]
    """Names of those that are carried out."""
    seeds: tuple[int, ...]
    """At which each arm is made."""
    grid: Grid | RealImages
    """What is measured on."""
    data: Data
    """What networks are trained, validated and tested on."""
    settings: Mapping[str, Any]
    """Keywords of the arm function that differ from its defaults, by the preset or by --set."""
    runs: Path
    """Folder of ledgers, checkpoints, caches and reports."""
    tracking_uri: str | None
    """None: where MLflow's environment variable says, or the runs folder; 'none': no MLflow."""
    workers: int
    """Processes that train one network together."""
    fewest_workers: int
    """Fewer than `workers` where their number is elastic."""
    cpus: int
    """Cores of each worker."""
    gpus: float
    """GPUs of each worker, or a part of one."""
    wait_s: float
    """How long to wait for nodes that the cluster does not have yet."""
    local: bool
    """In this process, without Ray."""
    hours: float | None
    """Of wall time that this command may take, None: as many as it takes."""
    gpu_hours: float | None
    """What this command may spend, None: as much as it takes."""
    started: float
    """When the command was given, in seconds since the epoch."""
    command: str
    """As it is typed to get the same."""
    program: bool = True
    """Whether the program that runs may be the study's file, as it is where a person typed it."""

    @property
    def contrast(self) -> tuple[str, str]:
        return self.study.contrast

    @property
    def reference(self) -> str:
        """The arm that all others are compared with: the first of the contrast, or the first that was asked for."""
        return self.contrast[0] if self.contrast[0] in self.arms else self.arms[0]

    def build(self) -> dict[tuple[str, int], Any]:
        """Its arms, made for every seed."""
        return {(arm, seed): self.study.build(arm, settings=self.settings, data=self.data, seed=seed)
                for seed in self.seeds for arm in self.arms}  # fmt: skip
