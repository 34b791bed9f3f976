"""What MLflow holds of one run that can be made again, read and never written."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepblur.platform.experiment.provenance import FILE, FORMAT, INPUTS, OPTIONS, OWN
from deepblur.platform.system.enclosed import inside
from deepblur.platform.tracking import moved
from deepblur.platform.tracking.connection import connect, database_file, failing_plainly, first_line, shown
from deepblur.platform.tracking.tracker import KEY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


_NUMBER = (int, float)
_FILE = {"file": str, "sha256": str}
_SHAPE: dict[Any, Any] = {
    "study": {"name": str, **_FILE},
    "options": {str: (str, bool, [str])},
    "inputs": {str: _FILE},
    "data": {str: {"sources": str, "fingerprint": str}},
    "source": {"hash": str, "commit": (str, None), "differs": (bool, None), "kept": [str]},
    "made_with": {"workers": str, "threads": int},
    "part": (None, {"arm": str, "seed": int}),
    "outcome": {
        "metrics": {str: _NUMBER},
        "arms": {str: [str]},
        "stages": {str: {"label": str, "metrics": {str: _NUMBER}, "hashes": {str: str}}},
    },
}
"""What is read of a provenance: `str` as a key stands for every key."""


class RunRecord:
    """A finished run of a study, of one of its arms or of one of its trainings."""

    def __init__(self, client: "MlflowClient", run: "Run") -> None:
        self.run_id: str = run.info.run_id
        self.name: str = run.info.run_name or run.info.run_id
        self._client = client
        self.home: str = run.data.tags.get("mlflow.parentRunId", self.run_id)
        """The run that keeps what the provenance refers to."""
        try:
            self.provenance: dict[str, Any] = json.loads(self._read(self.run_id, FILE))
        except ValueError as error:
            raise ValueError(f"{FILE} of run {self.run_id} is not JSON ({error}); run its study again") from None
        found = self.provenance.get("format") if isinstance(self.provenance, dict) else None
        if found != FORMAT:
            raise ValueError(
                f"{FILE} of run {self.run_id} has format {found!r}, this deepblur reads "
                f"{FORMAT}; reproduce it with the deepblur that recorded it"
            )
        if self.provenance.get("options", "") is None:
            raise ValueError(
                f"run {self.run_id} was put together by a search out of what it found, not by a command line; run the "
                "line that the search's report gives, and reproduce that run"
            )
        if fault := _fault(self.provenance):
            raise ValueError(
                f"{FILE} of run {self.run_id} is not as deepblur writes it ({fault}), so nothing of it is used; run "
                "its study again, or bring back what was recorded"
            )

    def attachment(self, name: str) -> bytes:
        """Content of a file that the provenance refers to.

        Raises:
            FileNotFoundError: the record does not hold it.
        """
        return self._read(self.home, name)

    def _read(self, run_id: str, name: str) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                return Path(self._client.download_artifacts(run_id, name, scratch)).read_bytes()
            except Exception as error:  # MLflow's, the store's or the system's own
                raise FileNotFoundError(
                    f"{name} of run {run_id} cannot be read from the record ({first_line(error)}); bring its artifacts "
                    "back"
                ) from None


def _fault(made: dict[str, Any]) -> str:
    """What of a provenance is not as deepblur writes it; "" if all can be used, and every name stays in its folder."""
    for name, shape in _SHAPE.items():
        if name not in made or not _fits(made[name], shape):
            return f"{name} is {json.dumps(made.get(name))[:80]}"
    modules = made["study"].get("modules", {})
    if not _fits(modules, {str: _FILE}):
        return f"its modules are {json.dumps(modules)[:80]}"
    if unknown := made["options"].keys() - set(OPTIONS):
        return f"no study has the options {sorted(unknown)}"
    if strange := [name for name in made["inputs"] if not name.isidentifier()]:
        return f"no setting is called {strange[0]!r}"
    try:
        for name, part in made["inputs"].items():
            inside(Path(INPUTS, name), part["file"])
        for name in modules:
            inside(Path(OWN), name.removeprefix(f"{OWN}/") if name.startswith(f"{OWN}/") else None)
        for part in (made["study"], *modules.values()):
            inside(Path("/"), part["file"].removeprefix("/"))
    except ValueError as error:
        return str(error)
    return ""


def _fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, tuple):
        return any(_fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(one, shape[0]) for one in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        shapes = {key: shape.get(key, shape.get(str)) for key in {*value, *shape} - {str}}
        return all(one is None or (key in value and _fits(value[key], one)) for key, one in shapes.items())
    return value is None if shape is None else isinstance(value, shape)


def read_run(run_id: str, uri: str) -> RunRecord:
    """The record of a run.

    Raises:
        ConnectionError: nothing usable answers at the URI.
        ValueError: the run is unknown, not of a study, not finished, or was recorded without its provenance.
        FileNotFoundError: its artifacts are gone.
    """
    unknown = f"no run {run_id} is recorded at {shown(uri)}; name the record that holds it with --tracking-uri"
    if (database := database_file(uri)) is not None and not database.is_file():
        raise ValueError(unknown)  # asking would create it
    client = connect(uri)
    try:
        run = client.get_run(run_id)
    except Exception as error:  # MlflowException, whose import takes seconds
        if getattr(error, "error_code", "") not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise ConnectionError(f"run {run_id} cannot be read at {shown(uri)}: {first_line(error)}") from None
        raise ValueError(unknown) from None
    tags = run.data.tags
    if KEY_TAG not in tags:
        raise ValueError(
            f"run {run_id} was not recorded by a deepblur study; give the id of a study's run, an arm's or an IN's"
        )
    home = run
    if (parent := tags.get("mlflow.parentRunId")) is not None:
        try:
            home = client.get_run(parent)
        except Exception:  # as above; the tag is anybody's text
            raise ValueError(
                f"run {run_id} belongs to the run {parent!r}, which is not recorded at {shown(uri)}; reproduce another"
            ) from None
    again = f"'{home.data.tags.get('command', 'the command of the study')}'"
    if run.info.status != "FINISHED":
        raise ValueError(f"run {run_id} is {run.info.status}, not FINISHED; complete its study first: {again}")
    with failing_plainly(uri):
        files = {file.path for file in client.list_artifacts(run_id)}
    if FILE not in files:
        lie = moved.local(run.info.artifact_uri)
        if lie is not None and not lie.parent.parent.exists():  # where those of all runs lie
            raise FileNotFoundError(
                f"the files of run {run_id} are not at {lie}, where the record says: its runs folder was moved or "
                f"cleaned. Bring them back there, or put {moved.ARTIFACTS} beside mlflow.db, which then finds them"
            )
        raise ValueError(
            f"run {run_id} was recorded without {FILE}, by a deepblur that did not keep it; run {again} again, which "
            "reuses what is done and records it"
        )
    return RunRecord(client, run)
