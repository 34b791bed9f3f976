"""A runs folder that was moved or copied: its record, mlflow.db, names the place where its files lay first.

MLflow keeps absolute places, and makes a folder anew that is gone. So a record is pointed to the files beside it where
they lie there and the other place is gone, or belongs to the record that this one is a copy of.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

ARTIFACTS = "mlartifacts"
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def local(location: str) -> Path | None:
    """The folder that a place in a record means; None for one on a server."""
    parts = urlparse(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(location) if parts.scheme == "" else None


def bring_along(database: Path) -> str:
    """Points the record of a moved or copied runs folder to its files beside it.

    Returns: what was done, in a sentence; "" where there was nothing to do, as nearly always.
    Raises:
        ConnectionError: the record may not be changed.
    """
    here, told = database.parent / ARTIFACTS, []
    if not (database.is_file() and here.is_dir()):
        return ""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as record:
            moved = [place for place in _elsewhere(record, here) if _left(record, database, place)]
    except sqlite3.Error:  # no record yet, or none of MLflow's: whoever opens it says so
        return ""
    for place in moved:
        new = here.as_uri() if place.startswith("file:") else str(here)
        try:
            with closing(sqlite3.connect(database, timeout=30)) as record, record:
                for table, column in _PLACES:
                    record.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (new, len(place) + 1, place, len(place) + 1, f"{place}/"),
                    )
        except sqlite3.Error as error:
            raise ConnectionError(
                f"the record {database} was moved here from {local(place)} and cannot be told so ({error}); make it "
                "writable, or move it back"
            ) from None
        told.append(f"the record {database} was moved or copied from {local(place)}; it now names the files beside it")
    return "; ".join(told)


def astray(database: Path, location: str) -> str:
    """Why nothing is to be written to a place that a record names: its runs folder went without its files; or ""."""
    place, here = local(location), database.parent / ARTIFACTS
    if place is None or place.name != ARTIFACTS or place == here or place.parent.exists():
        return ""
    return (
        f"the record {database} belongs to a runs folder that was at {place.parent} and is gone; move it back, or "
        f"bring its {ARTIFACTS} along to {here}"
    )


def _elsewhere(record: sqlite3.Connection, here: Path) -> list[str]:
    places = [place for (place,) in record.execute("SELECT DISTINCT artifact_location FROM experiments")]
    folders = {place: local(place) for place in places if place}
    return [place for place, folder in folders.items() if folder and folder.name == ARTIFACTS and folder != here]


def _left(record: sqlite3.Connection, database: Path, place: str) -> bool:
    """Whether the files of runs that were recorded at a place lie beside the record, and it is not theirs any more."""
    old = local(place)
    assert old is not None
    query = "SELECT run_uuid, substr(artifact_uri, ?) FROM runs WHERE substr(artifact_uri, 1, ?) = ?"
    runs = record.execute(query, (len(place) + 2, len(place) + 1, f"{place}/")).fetchall()
    if not any((database.parent / ARTIFACTS / unquote(name)).exists() for _, name in runs):
        return False
    if not old.exists():
        return True
    other = old.parent / database.name
    if not other.is_file() or other.samefile(database):
        return False
    try:
        with closing(sqlite3.connect(f"{other.resolve().as_uri()}?mode=ro", uri=True)) as original:
            return any(original.execute("SELECT 1 FROM runs WHERE run_uuid = ?", run[:1]).fetchone() for run in runs)
    except sqlite3.Error:
        return False
