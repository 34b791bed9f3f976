"""Find a registered model and its files.

A registry in a database file is read as such: importing MLflow costs three seconds, a third of what a first restoration
may take. Servers, and database files that look otherwise than expected, are asked through MLflow.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from deepblur.platform.system.errors import ModelError
from deepblur.platform.tracking import moved
from deepblur.platform.tracking.connection import bring_record_along, connect, database_file, first_line, pages, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient

INSIDE = Path("artifacts") / "model"
"""Where in an MLflow model of ours the deepblur model lies; nothing else of it is read."""


_REMEDY = "start that server, or set MLFLOW_TRACKING_URI or --tracking-uri to the registry that is meant"


class MissingError(Exception):
    """The registry answers, or would, and has no such thing; the message is the part of a sentence that says what."""


@dataclass(frozen=True)
class Found:
    """One version: `location` is the URI of its MLflow model."""

    name: str
    version: str
    location: str


class Registry(Protocol):
    """What is asked of a registry; all raise MissingError."""

    def version(self, name: str, number: str) -> Found: ...

    def alias(self, name: str, alias: str) -> Found: ...

    def of_run(self, run_id: str) -> Found:
        """The newest version that the run registered."""
        ...


@contextmanager
def registry(uri: str) -> Iterator[Registry]:
    """The registry at a tracking URI.

    Raises:
        MissingError: there is no database file.
        ConnectionError: nothing usable answers.
    """
    file = database_file(uri)
    if file is None:
        yield _ThroughMlflow(connect(uri, _REMEDY), uri)
        return
    if not file.is_file():
        raise MissingError(f"there is no registry at {uri}")
    bring_record_along(uri)
    with _open(file, uri) as database:
        if database is not None:
            yield _DatabaseFile(database, uri)
            return
    yield _ThroughMlflow(connect(uri, _REMEDY), uri)


@contextmanager
def fetched(found: Found, uri: str, part: Path = INSIDE) -> Iterator[Path]:
    """The folder with `model.json` of a version, for the length of the block.

    Args:
        part: `Path()` for all of its MLflow model.
    Raises:
        ModelError: its files cannot be had.
    """
    local = moved.local(found.location)
    if local is not None:
        if not (local / INSIDE / "model.json").is_file():
            raise ModelError(
                f"version {found.version} of {found.name} is registered, but {local / INSIDE} holds no model.json; "
                "bring the files back or take another version"
            )
        yield local / part
        return
    connect(uri, _REMEDY)  # which sets how long MLflow tries
    import mlflow

    with tempfile.TemporaryDirectory(prefix="deepblur-") as scratch:
        source = "/".join([found.location.rstrip("/"), *part.parts])
        try:
            folder = mlflow.artifacts.download_artifacts(source, dst_path=scratch, tracking_uri=uri)
        except Exception as error:  # MLflow's, a store's or the system's own
            raise ModelError(
                f"the files of {found.name}, version {found.version}, cannot be read from {shown(source)} "
                f"({first_line(error)}); check the server and its artifact store"
            ) from None
        yield Path(folder)


class _DatabaseFile:
    """MLflow's own tables; what it stores there has stood since it has aliases."""

    def __init__(self, database: sqlite3.Connection, uri: str) -> None:
        self._database, self._uri = database, uri

    def version(self, name: str, number: str) -> Found:
        rows = self._rows("name = ? AND version = ?", name, int(number))
        if not rows:
            raise MissingError(f"models:/{name}/{number} is not registered at {self._uri}")
        return rows[0]

    def alias(self, name: str, alias: str) -> Found:
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
        numbers = self._database.execute(query, (name, alias)).fetchall()
        if not numbers:
            raise MissingError(f"models:/{name}@{alias} is not registered at {self._uri}")
        return self.version(name, str(numbers[0][0]))

    def of_run(self, run_id: str) -> Found:
        rows = self._rows("run_id = ?", run_id)
        if not rows:
            raise MissingError(_no_run(run_id, self._uri))
        return rows[0]

    def _rows(self, where: str, *values: Any) -> list[Found]:
        query = (
            "SELECT name, version, COALESCE(storage_location, source) FROM model_versions "
            f"WHERE {where} AND current_stage != 'Deleted_Internal' ORDER BY creation_time DESC, version DESC"
        )
        return [Found(name, str(version), where) for name, version, where in self._database.execute(query, values)]


class _ThroughMlflow:
    def __init__(self, client: "MlflowClient", uri: str) -> None:
        self._client, self._uri = client, shown(uri)

    def version(self, name: str, number: str) -> Found:
        return self._found(f"models:/{name}/{number}", lambda: self._client.get_model_version(name, number))

    def alias(self, name: str, alias: str) -> Found:
        return self._found(f"models:/{name}@{alias}", lambda: self._client.get_model_version_by_alias(name, alias))

    def of_run(self, run_id: str) -> Found:
        versions = _asked(self._uri, lambda: list(pages(self._client.search_model_versions, f"run_id = '{run_id}'")))
        if not versions:
            raise MissingError(_no_run(run_id, self._uri))
        newest = max(versions, key=lambda v: (v.creation_timestamp, int(v.version)))
        return self._found(newest.name, lambda: newest)

    def _found(self, what: str, ask: Any) -> Found:
        version = _asked(self._uri, ask, missing=f"{what} is not registered at {self._uri}")
        location = _asked(self._uri, lambda: self._client.get_model_version_download_uri(version.name, version.version))
        return Found(version.name, str(version.version), location)


def _asked(uri: str, ask: Any, missing: str = "") -> Any:
    try:
        return ask()
    except Exception as error:  # MlflowException; requests and SQLAlchemy have others
        if missing and getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise MissingError(missing) from None
        raise ConnectionError(f"MLflow failed at {uri} ({first_line(error)}); check the server") from None


def _no_run(run_id: str, uri: str) -> str:
    return f"run {run_id} registered no model at {uri}; arms of a study do, its other runs do not"


@contextmanager
def _open(file: Path, uri: str) -> Iterator[sqlite3.Connection | None]:
    """The database, read-only; None if its tables are not those that we know."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            try:
                database.execute("SELECT name, version, alias FROM registered_model_aliases LIMIT 1")
                database.execute(
                    "SELECT name, version, storage_location, source, run_id, current_stage, creation_time "
                    "FROM model_versions LIMIT 1"
                )
            except sqlite3.OperationalError:
                yield None
                return
            yield database
    except sqlite3.Error as error:
        raise ConnectionError(
            f"the registry {uri} cannot be read ({error}); check that it is MLflow's database"
        ) from None
