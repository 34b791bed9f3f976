"""What a stranger named or linked stays inside its folder: names out of a record or an archive, links in a folder.

A record, a registry, an artifact store and a zip file hold names that somebody else wrote down; a folder that somebody
sent may hold links to what is nobody's business. Whoever writes, unpacks, copies or publishes asks here first.
"""

import os
import re
from pathlib import Path, PurePosixPath


def inside(folder: Path, name: object) -> Path:
    """`folder / name`, for a relative name that somebody else wrote down.

    Raises:
        ValueError: it is no plain relative name, or a link leads out of the folder.
    """
    plain = isinstance(name, str) and name.isprintable() and not re.search(r"\\|^[A-Za-z]:|^/", name)
    if not plain or not PurePosixPath(str(name)).parts or ".." in PurePosixPath(str(name)).parts:
        raise ValueError(f"the file name {name!r} is no plain name inside its folder")
    path = folder / str(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the file name {name!r} leads out of {folder} by a link")
    return path


def files_of(folder: Path) -> dict[str, Path]:
    """Relative name → file, of all that a folder holds, sorted: what may be copied or published of it.

    A link to a folder inside is left out, for its files have names of their own.

    Raises:
        ValueError: a link leads out of the folder or nowhere, or something is no file, such as a pipe.
    """
    root, found = folder.resolve(), {}
    for above, folders, names in os.walk(root):
        for path in (Path(above) / name for name in (*folders, *names)):
            name = path.relative_to(root).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise ValueError(
                    f"{folder / name} is a link to {path.resolve()}, outside of the folder; put the file itself there, "
                    "or take the link away"
                )
            if path.is_file():
                found[name] = path
            elif not path.is_dir():
                raise ValueError(f"{folder / name} is no file (a broken link, a pipe or a device); take it away")
    return dict(sorted(found.items()))
