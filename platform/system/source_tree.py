"""The source that runs: its hash, how it differs from a commit, and the way back to it.

The hash covers every file of the package under its name in the source tree, byte for byte, so that a checkout, the
upload of a Ray job and an installed wheel of the same source agree.
"""

import contextlib
import hashlib
import io
import os
import re
import stat
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deepblur.platform.system import child
from deepblur.platform.system.enclosed import inside

ROOMS = ("operators", "nets", "baselines", "platform", "restoration", "studies")
LIMIT_BYTES = 4_000_000
"""A difference larger than this is not one for people to read; the source itself is kept instead."""
LARGEST_BYTES, LARGEST_FILES = 200_000_000, 10_000
"""Of an archive that is unpacked."""
DIFF, ARCHIVE = "uncommitted.diff", "source.zip"
GIT_S = 60


def root() -> Path:
    """The folder that holds the rooms: of the source tree, or the package itself where it was installed."""
    return Path(__file__).resolve().parents[2]


def path_of(folder: Path) -> Path:
    """Where Python looks so that it imports the deepblur of a folder such as `root()`."""
    return folder if (folder / "deepblur").is_dir() else folder.parent


def room_of(file: Path) -> str:
    """The room of the package in which a file lies; "" for one outside."""
    top = root()
    room = file.relative_to(top).parts[0] if file.is_relative_to(top) else ""
    return room if room in ROOMS else ""


def files(folder: Path) -> dict[str, Path]:
    """Name in the source tree → file, of everything that the package is made of."""
    package = folder / "deepblur" if (folder / "deepblur").is_dir() else folder
    found = {f"deepblur/{file.name}": file for file in package.glob("*.py")}
    for room in ROOMS:
        for file in (folder / room).rglob("*"):
            name = file.relative_to(folder)
            if file.is_file() and "__pycache__" not in name.parts and not any(p.startswith(".") for p in name.parts):
                found[name.as_posix()] = file
    return dict(sorted(found.items()))


def source_hash(folder: Path) -> str:
    """32 hexadecimal digits over names and contents of the source in a folder such as `root()`."""
    digest = hashlib.blake2b(digest_size=16)
    for name, file in files(folder).items():
        content = file.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@dataclass(frozen=True)
class Source:
    """What ran, as far as it can be known here."""

    hash: str
    commit: str | None
    """All 40 digits; None outside of a checkout."""
    differs: bool | None
    """From the commit; None where there is none to compare with."""
    kept: dict[str, bytes]
    """What leads back to the source together with the commit: a difference, or the source itself."""


def take(folder: Path, also: tuple[str, ...] = ()) -> Source:
    """The state of the source in a folder, now.

    Args:
        also: other files of the tree that the run reads, such as a study outside of its rooms.
    """
    commit = head(folder)
    if commit is None:
        return Source(source_hash(folder), None, None, {ARCHIVE: archive(folder, also)})
    try:
        diff = _diff(folder, also)
    except subprocess.SubprocessError:  # a study does not stop because git is at odds with its checkout
        return Source(source_hash(folder), commit, None, {ARCHIVE: archive(folder, also)})
    if len(diff) > LIMIT_BYTES:
        return Source(source_hash(folder), commit, True, {ARCHIVE: archive(folder, also)})
    return Source(source_hash(folder), commit, bool(diff), {DIFF: diff} if diff else {})


def head(folder: Path) -> str | None:
    """The commit that is checked out in a folder; None where it is not the top of a git checkout."""
    try:
        top, commit = _git(folder, "rev-parse", "--show-toplevel", "HEAD").decode().split("\n")[:2]
    except (OSError, subprocess.SubprocessError):
        return None
    return commit if Path(top).resolve() == folder.resolve() else None


def repository(commit: str, *folders: Path) -> Path:
    """The first of the folders whose checkout knows a commit.

    Raises:
        FileNotFoundError: none does.
    """
    if not re.fullmatch("[0-9a-f]{7,64}", str(commit)):  # git would take other words for options
        raise FileNotFoundError(f"{commit!r} is no commit, and the record keeps no source")
    for folder in folders:
        try:
            _git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
        except (OSError, subprocess.SubprocessError):
            continue
        return folder
    raise FileNotFoundError(
        f"commit {commit} is in no checkout at {', '.join(map(str, dict.fromkeys(folders)))}; fetch it there, or stand "
        "in a checkout that has it"
    )


def _diff(folder: Path, also: tuple[str, ...]) -> bytes:
    """The package's files against the commit, new ones included; other files may hold what is nobody's business."""
    paths = ["deepblur", *ROOMS, *also]
    with tempfile.TemporaryDirectory() as scratch:  # an index of its own: the user's stays as it is
        index = f"{scratch}/index"
        _git(folder, "read-tree", "HEAD", index=index)
        _git(folder, "add", "--intent-to-add", "--", *(p for p in paths if (folder / p).exists()), index=index)
        options = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
        return _git(folder, "diff", *options, "HEAD", "--", *paths, index=index)


def archive(folder: Path, also: tuple[str, ...] = ()) -> bytes:
    """The source, and other files of the tree, as a zip file that runs where it is unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, file in (files(folder) | {name: folder / name for name in also}).items():
            target.writestr(name, file.read_bytes())
        target.writestr("cluster.yaml", "# marks a source tree\n")
    return buffer.getvalue()


@contextmanager
def unpacked(content: bytes) -> Iterator[Path]:
    """An archived source in a temporary folder.

    Raises:
        ValueError: it holds a name that leads out of the folder, a link, or more than a source can be.
        RuntimeError: it is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="deepblur-source-") as scratch:
        folder = Path(scratch).resolve()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as source:
                members = source.infolist()
                if len(members) > LARGEST_FILES or sum(m.file_size for m in members) > LARGEST_BYTES:
                    raise ValueError(f"{ARCHIVE} would unpack to more than a source can be, {len(members)} files")
                for member in members:
                    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
                        raise zipfile.BadZipFile(f"{member.filename!r} is packed as no source is")
                    if stat.S_ISLNK(member.external_attr >> 16):
                        raise ValueError(f"{ARCHIVE} holds the link {member.filename!r}, as no source does")
                    inside(folder, member.filename)
                    source.extract(member, folder)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise RuntimeError(f"{ARCHIVE} is damaged ({error})") from None
        yield folder


@contextmanager
def checked_out(repository: Path, commit: str, diff: bytes) -> Iterator[Path]:
    """A commit of a repository with a difference applied, in a git worktree that ends with the block.

    Raises:
        RuntimeError: git could not do it; its own words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="deepblur-source-") as scratch:
        folder = Path(scratch).resolve() / "source"
        try:
            _git(repository, "worktree", "add", "--quiet", "--detach", str(folder), commit)
            if diff:
                _git(folder, "apply", "--whitespace=nowarn", "-", content=diff)
            yield folder
        except subprocess.SubprocessError as error:
            words = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
            raise RuntimeError(
                f"git could not check out {commit[:12]} of {repository}: {(words or ['no message'])[-1]}"
            ) from None
        finally:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                _git(repository, "worktree", "remove", "--force", str(folder))


def _git(folder: Path, *arguments: str, content: bytes | None = None, index: str | None = None) -> bytes:
    # neither what a checkout has for git to run, nor variables of a git that runs this
    command = ["git", "-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    environment = child.environment(*(name for name in os.environ if name.startswith("GIT_CONFIG")))
    environment |= {"GIT_INDEX_FILE": index} if index else {}
    return subprocess.run(
        command, input=content, capture_output=True, check=True, timeout=GIT_S, env=environment
    ).stdout


def commit() -> str:
    """The commit of the source tree, with a plus sign where the tree differs from it; 'unknown' outside a checkout."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty=+", "--abbrev=12",
               "--exclude=*"]  # fmt: skip
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("DEEPBLUR_COMMIT", "unknown")
