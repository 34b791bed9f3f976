"""A search: which settings of an arm to try next. Knows no Ray.

Every suggestion and every pruning is a function of the seed, the trial's number and the trials that had ended when it
was asked for, which are fixed by the number too (`loop`). So a search that was killed goes on to the same trials
as an undisturbed one, however many run at a time and however long each takes. The trials of the chosen sampler and
the pruning are Optuna's; Ray Tune runs them (`ray_trials`).
"""

import hashlib
import inspect
import itertools
import json
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from deepblur.platform.arms.search.result import Objective
from deepblur.platform.arms.trained.arm import Arm, Evaluate
from deepblur.platform.arms.tuning.space import Between, OneOf
from deepblur.platform.data.sources import Data, Source
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.experiment.arm import Arms, CarryOut, Stores, StudyArm
from deepblur.platform.experiment.result import Result
from deepblur.platform.experiment.study import Design, Plan
from deepblur.platform.stages.identity import canonical, code_of
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.system.seeds import stream

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

Sampler = Literal["tpe", "gp", "nsga2", "random", "grid"]
Pruner = Literal["asha", "median", "none"]
OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(name="psnr_gain_db", direction="maximize", label="PSNR gain over blurry (dB)"),
        Objective(name="psf_snr_db", direction="maximize", label="PSF SNR (dB)"),
        Objective(name="ssim_gain", direction="maximize", label="SSIM gain over blurry"),
        Objective(name="latency_ms", direction="minimize", label="blind restoration of one crop (ms)"),
        Objective(name="gmacs", direction="minimize", label="operations per crop (10⁹ multiply-adds)"),
        Objective(name="parameters", direction="minimize", label="parameters of IN and DN"),
        Objective(name="training_s", direction="minimize", label="training (compute seconds)"),
    )
}
WATCHED_IMAGES = 8
"""A training is watched on the first draw of so many images of the grid."""


@dataclass(frozen=True, kw_only=True)
class Search(StudyArm):
    """Trials of one sampler over the keywords of an arm function.

    Raises:
        ValueError: a setting that the arm function lacks, a condition on none of the space, or a name that is unknown.
    """

    gatherer: ClassVar[str] = "platform/arms/search/run"

    base: Design
    """The study whose arm is configured."""
    arm: str
    """Which of its arms."""
    settings: Mapping[str, Any]
    """Keywords of its arm function that are not searched and differ from the defaults."""
    space: Mapping[str, Between | OneOf]
    """Keyword of its arm function → where to search; one that has a condition comes after what it depends on."""
    objectives: tuple[str, ...]
    """Names of OBJECTIVES; the first one decides which trial is the best."""
    sampler: Sampler
    """Who proposes the trials: Optuna's tpe, gp, nsga2 or random, or grid for every point of a space of steps."""
    pruner: Pruner
    """What ends a trial that is not worth going on with: asha, median or none."""
    trials: int
    """At least 1; trial 0 leaves the settings at their defaults."""
    concurrent: int | None = None
    """Trials at a time; None: as many as the cluster holds. A trial knows of those that are this many before it."""
    startup: int = 8
    """Random trials before the sampler has enough to learn from, and before anything is pruned among its peers."""
    warm_start: str = ""
    """Folder or database of an earlier search with the same grid and objectives, whose trials the sampler may use."""
    data: Data = field(repr=False)
    """What the trials train and validate on; the best is tested at last."""
    seed: int
    """Of the sampler, and of every trial."""

    def __post_init__(self) -> None:
        self.base.check({**self.settings, **self.space})
        seen: set[str] = set()
        for name, part in self.space.items():
            if not part.when.keys() <= seen:
                raise ValueError(f"{name!r} depends on {', '.join(part.when)}; put that before it in the space")
            seen.add(name)
        for what, value, allowed in (
            *(("objectives", name, OBJECTIVES) for name in self.objectives),
            ("sampler", self.sampler, Sampler.__args__),  # type: ignore[attr-defined]
            ("pruner", self.pruner, Pruner.__args__),  # type: ignore[attr-defined]
        ):
            if value not in allowed:
                raise ValueError(f"{what} of a search: {', '.join(allowed)}; got {value!r}")
        if self.sampler == "grid":
            self.points()
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"a search has objectives, each named once; got {', '.join(self.objectives) or 'none'}")
        if self.trials < 1 or (self.concurrent is not None and self.concurrent < 1) or self.startup < 1:
            raise ValueError(
                f"trials, concurrent and startup are at least 1; got {self.trials}, {self.concurrent}, {self.startup}"
            )

    @property
    def label(self) -> str:
        return self.sampler

    @classmethod
    def run(cls, plan: Plan, arms: Arms, stores: Stores, ledger: Ledger, carry_out: CarryOut) -> Result:
        return cls.gathering().run_searches(plan, arms, stores, ledger, carry_out)

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        return [OBJECTIVES[name].direction for name in self.objectives]

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The searched settings as they are without a search: trial 0."""
        known = inspect.signature(self.base.arm).parameters
        found = {name: self.settings.get(name, known[name].default) for name in self.space}
        return {name: value for name, value in found.items() if self._applies(name, found)}

    def _applies(self, name: str, params: Mapping[str, Any]) -> bool:
        return all(params.get(other) == value for other, value in self.space[name].when.items())

    def configuration(self, params: Mapping[str, Any], grid: Grid) -> Arm:
        """The arm of a trial."""
        arm = self.base.build(self.arm, settings={**self.settings, **params}, data=self.data, seed=self.seed)
        assert isinstance(arm, Arm)
        return self.watched(arm, grid)

    def watched(self, arm: Arm, grid: Grid) -> Arm:
        """The arm, its trainings shown on a part of the grid if anything is to be pruned."""
        if self.pruner == "none":
            return arm
        part = replace(grid, images=min(grid.images, WATCHED_IMAGES), draws=1)
        identify = replace(arm.identify, monitor=part)
        given = arm.deblur.identify
        deblur = replace(arm.deblur, monitor=part, identify=identify if given == arm.identify else given)
        return Arm(identify=identify, deblur=deblur)

    def command(self, preset: str, params: Mapping[str, Any]) -> str:
        """The line that runs a configuration with the study that is configured."""
        known = self.base.keywords(self.arm, self.base.presets[preset].settings)
        wanted = {**self.settings, **params}
        changed = [f"{name}={value}" for name, value in wanted.items() if known[name] != str(value)]
        parts = [*self.base.typed(), "--preset", preset, "--arms", self.arm]
        return shlex.join([*parts, *(part for text in changed for part in ("--set", text))])

    def scored_on(self, grid: Grid, fingerprints: Mapping[tuple[Source, ...], str]) -> str:
        """What makes values of two searches comparable: the grid, its images, the objectives, the code behind them."""
        spec = [canonical(grid, fingerprints), fingerprints[self.data.validation], self.objectives]
        measured = Evaluate(arm=self.configuration(self.defaults, grid), grid=grid, test=self.data.validation)
        return _digest([spec, sorted(set(measured.code().values()))])

    def key(self, grid: Grid, fingerprints: Mapping[tuple[Source, ...], str]) -> str:
        """What makes two searches the same one, of which one may have fewer trials than the other."""
        names = ("arm", "settings", "space", "objectives", "sampler", "pruner", "startup", "warm_start", "seed")
        spec = {name: canonical(getattr(self, name), fingerprints) for name in names}
        # settings may choose what the defaults do without: all own modules of the arm function count
        own = sorted(code for name, code in code_of((), [self.base.arm]).items() if "/" not in name)
        return _digest([self.base.name, spec, own, fingerprints[self.data.train], self.scored_on(grid, fingerprints)])

    def suggest(self, number: int, history: Sequence["FrozenTrial"]) -> "FrozenTrial | None":
        """Trial `number` as an Optuna trial still running, None where a grid is exhausted.

        Args:
            history: the trials that it may know of, all ended.
        """
        import optuna  # a heavy import, and a study is built without it
        from optuna.trial import TrialState, create_trial

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        distributions = {name: part.distribution() for name, part in self.space.items()}
        if number == 0:
            chosen = {name: self._choice_of(name, value) for name, value in self.defaults.items()}
            inside = {name: choice for name, choice in chosen.items() if distributions[name]._contains(
                distributions[name].to_internal_repr(choice))}  # fmt: skip
            missing = chosen.keys() - inside.keys()
            if missing:
                raise ValueError(
                    f"the search space does not hold the default of {', '.join(missing)}, and trial 0 is the defaults; "
                    "widen the range"
                )
            return _running(chosen, distributions)
        if self.sampler == "grid":
            points = self.points()
            return _running(points[number - 1], distributions) if number <= len(points) else None
        study = optuna.create_study(directions=self.directions, sampler=self._sampler(number))
        used = (TrialState.COMPLETE, TrialState.PRUNED) if len(self.objectives) == 1 else (TrialState.COMPLETE,)
        study.add_trials([trial for trial in history if trial.state in used])
        trial = study.ask()
        params: dict[str, Any] = {}
        choices: dict[str, Any] = {}
        for name, part in self.space.items():
            if self._applies(name, params):
                choices[name] = part.suggest(trial, name)
                params[name] = part.value(choices[name])
        frozen = study.get_trials(deepcopy=False)[-1]
        return create_trial(
            state=TrialState.RUNNING,
            params=choices,
            distributions={name: distributions[name] for name in choices},
            system_attrs=frozen.system_attrs,  # NSGA-II keeps there which generation a trial belongs to
        )

    def params(self, trial: "FrozenTrial") -> dict[str, Any]:
        """The settings of a trial as the arm function takes them."""
        return {name: part.value(trial.params[name]) for name, part in self.space.items() if name in trial.params}

    def adopted(self, trial: "FrozenTrial") -> "FrozenTrial | None":
        """A complete trial of another search as one of this space; None where it lies outside.

        It must have every setting that applies, with a value of the range, and no other: what it was scored with is
        then what this search would score.
        """
        from optuna.trial import create_trial

        distributions = {name: part.distribution() for name, part in self.space.items() if name in trial.params}
        if len(distributions) < len(trial.params):
            return None
        for name, distribution in distributions.items():
            try:
                held = distribution._contains(distribution.to_internal_repr(trial.params[name]))
            except (TypeError, ValueError):  # a choice that there is no more, text where numbers are searched
                held = False
            if not held:
                return None
        params = self.params(trial)
        if any(self._applies(name, params) != (name in params) for name in self.space):
            return None
        return create_trial(
            values=trial.values, params=trial.params, distributions=distributions,
            user_attrs=trial.user_attrs, system_attrs=trial.system_attrs,
        )  # fmt: skip

    def points(self) -> list[dict[str, Any]]:
        """Every point of the space but the defaults, as Optuna's choices; conditions are kept."""
        defaults = {name: self._choice_of(name, value) for name, value in self.defaults.items()}
        found: list[dict[str, Any]] = []
        for values in itertools.product(*(part.grid() for part in self.space.values())):
            point = dict(zip(self.space, values, strict=True))
            for name in self.space:  # what an earlier condition leaves out fails a later one too
                params = {other: self.space[other].value(point[other]) for other in point}
                if not self._applies(name, params):
                    del point[name]
            if point not in found and point != defaults:
                found.append(point)
        return found

    def _choice_of(self, name: str, value: Any) -> Any:
        part = self.space[name]
        if isinstance(part, Between):
            return value
        return next((c for v, c in zip(part.values, part.grid(), strict=True) if v == value), repr(value))

    def _sampler(self, number: int) -> "BaseSampler":
        from optuna import samplers

        seed = stream(self.seed, "search", number) % 2**32
        if self.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self.sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=self.startup)
        if self.sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=self.startup)
        with warnings.catch_warnings():  # Optuna calls the treatment of conditions experimental
            warnings.simplefilter("ignore")
            return samplers.TPESampler(seed=seed, n_startup_trials=self.startup, multivariate=True, group=True)


def _running(choices: Mapping[str, Any], distributions: Mapping[str, Any]) -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    used = {name: distributions[name] for name in choices}
    return create_trial(state=TrialState.RUNNING, params=dict(choices), distributions=used)


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
