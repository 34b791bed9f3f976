"""Which Ray cluster this machine was last told of, whether it is still there, and how one of our own is kept private.

Ray notes the address of a cluster that is started here in a file and joins it from then on; a cluster that was killed
leaves the file behind, and everyone who believes it waits for minutes. Imports no Ray.
"""

import contextlib
import functools
import os
import secrets
import socket
import stat
import sys
import tempfile
from pathlib import Path

_AS_IT_IS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray keeps 127.0.0.1 as the address of a node, as it does on Windows and macOS, and every process of it listens there
alone. Elsewhere it turns 127.0.0.1 into the machine's own address, even where --node-ip-address or an address to join
says 127.0.0.1, and its processes listen on all interfaces."""

_COPY = "/runtime_resources/working_dir_files/"
"""In the path of every copy that Ray makes of an upload."""

_LONGEST = 38
"""Characters of a path to which Ray adds what makes the name of a socket, of which systems take about a hundred."""


@functools.cache
def private_cluster() -> dict[str, str]:
    """Environment of a Ray cluster of our own and of all who join it: nobody else gets at it.

    Its sockets are on the loopback interface, which other users of this machine reach too: hence the token. That is in
    the environment alone, which only the same user can read; a file in the home folder would be demanded by every later
    cluster. A process has one, for Ray reads it once.
    """
    private = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": _private_folder()}
    return {**_AS_IT_IS, **private}


def keep_loopback() -> dict[str, str]:
    """Environment of whoever joins a cluster that listens on the loopback interface alone."""
    return dict(_AS_IT_IS)


def on_loopback(address: str) -> bool:
    """Whether HOST:PORT is on the loopback interface, as Ray understands it."""
    return address.rpartition(":")[0].strip("[]") in ("127.0.0.1", "::1", "localhost")


def refuse_rays_copy(path: Path, given_by: str) -> None:
    """Stops results on their way into the copy of an upload in which Ray runs a job, and which it removes afterwards.

    Raises:
        ValueError: the path lies there, as every relative path of such a job does.
    """
    if _COPY in path.as_posix():
        raise ValueError(
            f"{given_by} leads to {path}, in the copy of the upload that Ray removes after the job; give it an "
            "absolute path to a folder that stays and that all nodes see"
        )


def running_cluster() -> str | None:
    """The address of the current cluster if something answers there, else None; a stale note is removed."""
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    note = Path(_rays_folder()) / "ray" / "ray_current_cluster"
    try:
        if note.stat().st_uid not in (os.getuid(), 0):  # Ray's folder is open to everybody
            return None
        address = note.read_text().strip()
    except OSError:
        return None
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except (OSError, ValueError):
        note.unlink(missing_ok=True)
        return None
    return address


def _rays_folder() -> str:
    """Where Ray puts its folder `ray` unless it is told otherwise."""
    inherited = os.environ.get("TMPDIR") if sys.platform.startswith("linux") else None
    return os.environ.get("RAY_TMPDIR") or inherited or "/tmp"


def _private_folder() -> str:
    """Whose sockets and packages nobody else reaches: Ray opens the folders that it makes below to everybody.

    One for all clusters of a user, so that their logs are found; RAY_TMPDIR is the user's own choice.
    """
    if os.environ.get("RAY_TMPDIR"):
        return os.environ["RAY_TMPDIR"]
    name = f"deepblur-{os.getuid()}"
    base = Path(_rays_folder())
    if len(str(base / name)) > _LONGEST:
        base = Path("/tmp")
    folder = base / name
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077:
        return str(folder)
    return tempfile.mkdtemp(prefix="deepblur-", dir=base)  # somebody else took the name
