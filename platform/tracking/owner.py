"""To whom a record belongs: people who share an MLflow server have their own runs of the same study."""

import hashlib
import json
import uuid
from pathlib import Path

from deepblur.platform.system.whole_files import replace_file

FILE = "folder.json"


def owner_of(runs: Path | None, user: str) -> str:
    """One word for a user with a runs folder, or with any, which tells neither."""
    folder = "" if runs is None else _folder_id(runs)
    return hashlib.blake2b(f"{user}\0{folder}".encode(), digest_size=8).hexdigest()


def _folder_id(runs: Path) -> str:
    """An id that a folder keeps where it is moved, and that a copy of it does not have."""
    here = str(runs.resolve())
    known, path = _read(runs)
    if known and (path == here or _read(Path(path))[0] != known or runs.samefile(path)):
        found = known
    else:
        found = uuid.uuid4().hex
    if (known, path) != (found, here):
        try:
            replace_file(runs / FILE, json.dumps({"id": found, "path": here}).encode())
        except OSError:  # then the path has to do
            return here
    return found


def _read(folder: Path) -> tuple[str, str]:
    try:
        content = json.loads((folder / FILE).read_text())
        return str(content["id"]), str(content["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""
