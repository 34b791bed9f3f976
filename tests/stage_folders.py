"""Folders of finished stages, as a ledger finds them."""

import time

from deepblur.platform.stages.finished import RESULT
from deepblur.platform.system.seal import hashes_of, write_sealed
from deepblur.platform.system.whole_files import complete


def folder_of(ledger, key, text="done", **result):
    """A complete folder of a stage; without a result it is one of a version that said nothing of itself."""
    temporary = ledger.stages / f".{key}-1"
    temporary.mkdir()
    (temporary / "weights").write_text(text)
    if result:
        sealed(temporary, key, result)
    complete(temporary, ledger.folder(key))


def sealed(folder, key, result):
    facts = {"key": key, "kind": "identify", "label": key, "attempt": 1, "finished": time.time(), "result": result}
    write_sealed(folder / RESULT, {**facts, "files": hashes_of(folder)})
