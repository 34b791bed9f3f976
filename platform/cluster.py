"""Which Ray cluster this machine was last told of, and whether it is still there. Imports no Ray.

Ray notes the address of a cluster that is started here in a file and joins it from then on; a cluster that was killed
leaves the file behind, and everyone who believes it waits for minutes.
"""

import os
import socket
from pathlib import Path


def running_cluster() -> str | None:
    """The address of the current cluster if something answers there, else None; a stale note is removed."""
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    note = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    try:
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
