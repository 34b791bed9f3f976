"""The tables of a ledger's database, how an older database becomes one of today, and whether one is damaged."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from deepblur.platform.system.seal import set_aside

_VERSION = 1
_TABLES = """
create table if not exists stage (
    key text primary key, kind text not null, label text not null,
    state text not null check (state in ('running', 'done', 'failed', 'interrupted', 'pruned')),
    attempt integer not null, started real not null, finished real, result text, error text
);
create table if not exists attempt (
    key text not null, attempt integer not null, session integer, kind text not null, label text not null,
    outcome text check (outcome in ('done', 'failed', 'interrupted', 'pruned', 'adopted')),
    host text, started real not null, finished real, error text,
    cpus real not null, gpus real not null,
    useful_s real not null default 0, lost_s real not null default 0, lost_steps integer not null default 0,
    cpu_used_s real not null default 0,
    primary key (key, attempt)
);
create table if not exists session (
    id integer primary key, study text not null, host text not null, pid integer not null,
    started real not null, seen real not null, finished real,
    cpu_s real not null default 0, gpu_s real not null default 0
);
create index if not exists attempts_of_session on attempt (session);
"""
# In version 0 a stage knew its last attempt only, and not what that had reserved: one core is the least it can be.
_FROM_0 = """
alter table stage rename to stage_0;
{tables}
insert into stage select * from stage_0;
insert into attempt (key, attempt, kind, label, outcome, started, finished, error, cpus, gpus, useful_s)
    select key, attempt, kind, label, case state when 'running' then null else state end, started, finished, error,
    1, 0, case state when 'done' then finished - started else 0 end from stage_0;
drop table stage_0;
"""


_KINDS = {"TEXT": "'text'", "REAL": "'real', 'integer'", "INTEGER": "'integer'"}
_NEWEST = 1000
"""A version above is no version but damage."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
         sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM)  # fmt: skip
"""What a sound database says, too, on a disk or beside a process that has other troubles."""


class DamagedError(RuntimeError):
    """This is no ledger, or not all of one."""


def open_database(path: Path, patience_s: float = 5.0) -> sqlite3.Connection:
    """The database in a file, made or brought up to date, and read to its end once.

    Args:
        patience_s: how long a program is waited for that reads it just now.
    Raises:
        DamagedError: the file is cut, overwritten, of another program, or no file.
        RuntimeError: the database is of a newer version than this code.
    """
    if path.exists() and not path.is_file():
        raise DamagedError("it is no file")
    database = sqlite3.connect(path, patience_s, isolation_level=None)
    try:
        upgrade(database)
        _check(database)
    except sqlite3.Error as error:
        database.close()
        if means_damage(error):
            raise DamagedError(str(error)) from None
        raise
    except BaseException:
        database.close()
        raise
    return database


def open_or_replace(path: Path, say: Callable[[str], None]) -> sqlite3.Connection:
    """The ledger's database; where it is damaged, an empty one in its place, and a sentence."""
    try:
        return open_database(path)
    except DamagedError as error:
        place = set_aside(path)
        for more in ("-journal", "-wal", "-shm"):  # which sqlite would apply to the new one
            if path.with_name(path.name + more).exists():
                set_aside(path.with_name(path.name + more))
        say(f"the ledger {path} cannot be read ({error}); it is now {place.name}, and a new one is made from the "
            "folders of the finished stages")  # fmt: skip
        return open_database(path)


def _check(database: sqlite3.Connection) -> None:
    """Read everything: sqlite itself notices damage to its pages, not to what stands in them."""
    check_pages(database)
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        model.executescript(_TABLES)
        wanted = _columns(model)
    if _columns(database) != wanted:
        raise DamagedError("its tables are those of another program")
    for table, columns in wanted.items():
        for name, kind in columns:
            wrong = f"{name} is not null and typeof({name}) not in ({_KINDS[kind]})"
            if kind == "REAL":
                wrong += f" or abs({name}) > 1e12"
            if database.execute(f"select 1 from {table} where {wrong} limit 1").fetchone():
                raise DamagedError(f"a value of {table}.{name} is none")
        database.execute(f"select * from {table}").fetchall()  # text that is no UTF-8 shows itself here


def check_pages(database: sqlite3.Connection) -> None:
    """Raises DamagedError where sqlite itself finds damage in any database."""
    (found,) = database.execute("pragma integrity_check(1)").fetchone()
    if found != "ok":
        raise DamagedError(" ".join(found.split()))


def means_damage(error: sqlite3.Error) -> bool:
    """Whether an error tells of what the file holds, and not of its disk or of another process."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _BUSY or code == sqlite3.SQLITE_IOERR_SHORT_READ


def _columns(database: sqlite3.Connection) -> dict[str, list[tuple[str, str]]]:
    return {
        table: [(row[1], row[2].upper()) for row in database.execute(f"pragma table_info({table})")]
        for table in ("stage", "attempt", "session")
    }


def upgrade(database: sqlite3.Connection) -> None:
    """Create the tables, or bring those of an older version up to date.

    Raises:
        RuntimeError: the database is of a newer version than this code.
    """
    (version,) = database.execute("pragma user_version").fetchone()
    if not 0 <= version <= _NEWEST:
        raise DamagedError(f"its version would be {version}")
    if version > _VERSION:
        raise RuntimeError(f"the ledger is of version {version}, this deepblur knows {_VERSION}; install a newer one")
    old = database.execute("select 1 from sqlite_master where name = 'stage'").fetchone() and version == 0
    script = _FROM_0.format(tables=_TABLES) if old else _TABLES
    database.executescript(f"begin immediate; {script} pragma user_version = {_VERSION}; commit;")


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of the block's changes or none."""
    database.execute("begin immediate")
    try:
        yield
    except BaseException:
        database.execute("rollback")
        raise
    database.execute("commit")
