"""The trials of one search, in an Optuna database that `optuna-dashboard` can open.

The driver is its only writer. A trial is written before its first stage starts and ended once, so that a search that
was killed finds what it had asked for; what a trial needs beyond Optuna's fields is in its user attributes.
"""

import contextlib
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepblur.platform.arms.search.search import Search
from deepblur.platform.stages.ledger_schema import DamagedError, check_pages, means_damage
from deepblur.platform.system.printable import note
from deepblur.platform.system.seal import set_aside

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FILE = "optuna.db"
ENDED = ("COMPLETE", "PRUNED", "FAIL")


class History:
    """The trials of one search, by number from 0.

    Args:
        folder: of the search; the database is `optuna.db` in it.
        search: what is searched; its key is the folder's name.
        scored_on: what makes values comparable, see `Search.scored_on`.
    """

    def __init__(self, folder: Path, search: Search, scored_on: str) -> None:
        self.folder = folder
        self.warm, self.told = _earlier(search, scored_on) if search.warm_start else ([], "")
        """Trials of an earlier search that this one may learn from, and what to say of them."""
        folder.mkdir(parents=True, exist_ok=True)
        if (damage := damage_of(folder / FILE)) is not None:
            place = set_aside(folder / FILE)
            note(f"the trials in {folder / FILE} cannot be read ({damage}); the file is now {place.name}, and the same "
                 "trials are asked for again, whose stages are reused")  # fmt: skip
        self._study = _open(
            folder / FILE, search.directions, f"{search.base.name}, {search.sampler}, seed {search.seed}"
        )
        self._storage = self._study._storage
        self._study.set_user_attr("scored_on", scored_on)
        with warnings.catch_warnings():  # Optuna calls the names of objectives experimental
            warnings.simplefilter("ignore")
            self._study.set_metric_names(list(search.objectives))
        self.trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False)

    def __len__(self) -> int:
        return len(self.trials)

    def ended(self, number: int) -> bool:
        return self.trials[number].state.name in ENDED

    def add(self, trial: "FrozenTrial", about: Mapping[str, Any]) -> int:
        """A new trial; its number. `about` becomes its user attributes."""
        trial.user_attrs = dict(about)
        self._study.add_trial(trial)
        number = len(self.trials)
        self._reload(number)
        return number

    @property
    def recorded(self) -> set[int]:
        """The trials whose end MLflow knows."""
        return set(self._study.user_attrs.get("recorded", []))

    def mark_recorded(self, number: int) -> None:
        self._study.set_user_attr("recorded", sorted(self.recorded | {number}))

    def note(self, number: int, **about: Any) -> None:
        """Add to the user attributes of a trial that has not ended."""
        for name, value in about.items():
            self._storage.set_trial_user_attr(self.trials[number]._trial_id, name, value)
            self.trials[number].user_attrs[name] = value

    def curve(self, number: int, kind: str, validation: int, value: float) -> None:
        """What the pruner saw of a training: `curves` of the user attributes, and DN's for the dashboard."""
        curves = {name: dict(points) for name, points in self.trials[number].user_attrs.get("curves", {}).items()}
        curves.setdefault(kind, {})[str(validation)] = value
        self.note(number, curves=curves)
        if kind == "deblur":
            self._storage.set_trial_intermediate_value(self.trials[number]._trial_id, validation, value)

    def end(self, number: int, state: str, values: list[float] | None = None) -> None:
        """End a trial as COMPLETE with its values, PRUNED or FAIL."""
        from optuna.trial import TrialState

        self._storage.set_trial_state_values(self.trials[number]._trial_id, TrialState[state], values)
        self._reload(number)

    def _reload(self, number: int) -> None:
        self.trials[number:] = self._study.get_trials(deepcopy=False)[number:]


def damage_of(file: Path) -> str | None:
    """What is wrong with a database of trials; None where it is whole, or where there is none."""
    if not file.exists():
        return None
    if not file.is_file():
        return "it is no file"
    try:
        with contextlib.closing(sqlite3.connect(file)) as database:
            check_pages(database)
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            if tables and not {"studies", "trials", "trial_user_attributes"} <= tables:
                return "its tables are those of another program"
            for table in tables:
                database.execute(f'select * from "{table}"').fetchall()
    except DamagedError as error:
        return str(error)
    except sqlite3.Error as error:
        if means_damage(error):
            return str(error)
        raise
    return None


def curves(trial: "FrozenTrial") -> dict[str, dict[int, float]]:
    """Kind of training → validation → value, as `History.curve` noted them."""
    found = trial.user_attrs.get("curves", {})
    return {kind: {int(mark): value for mark, value in points.items()} for kind, points in found.items()}


def _open(file: Path, directions: Sequence[Literal["maximize", "minimize"]], name: str) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)


def _earlier(search: Search, scored_on: str) -> tuple[list["FrozenTrial"], str]:
    """The complete trials of an earlier search that lie in the space of this one, and how many of them do.

    Raises:
        ValueError: there is no such search, its values cannot be compared with ours, or none of its trials lies there.
    """
    import optuna

    path = Path(search.warm_start).expanduser().absolute()
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"warm_start names {path}, where no {FILE} is; give the folder of an earlier search")
    try:
        with contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("select study_id from studies")  # Optuna would make its tables in any other database
        study = optuna.load_study(study_name=None, storage=optuna.storages.RDBStorage(f"sqlite:///{file}"))
    except Exception as error:  # of sqlite, SQLAlchemy and Optuna
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"warm_start names {file}, which cannot be read as a search ({reason}); give the folder of an earlier one"
        ) from None
    if study.user_attrs.get("scored_on") != scored_on:
        raise ValueError(
            f"the search in {path} was scored on another grid, other images, by other objectives or other code; its "
            "values say nothing here: leave warm_start out"
        )
    trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    fitting = [moved for trial in trials if (moved := search.adopted(trial)) is not None]
    if not fitting:
        raise ValueError(
            f"none of the {len(trials)} complete trials in {path} lies in the space that is searched now "
            f"({', '.join(search.space)}); leave warm_start out"
        )
    left = len(trials) - len(fitting)
    said = f"; {left} others lie outside of the space that is searched now" if left else ""
    return fitting, f"warm start from {len(fitting)} of {len(trials)} complete trials in {path}{said}"
