"""The tables of a ledger's database, and how an older database becomes one of today."""

import contextlib
import sqlite3
from collections.abc import Iterator

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


def upgrade(database: sqlite3.Connection) -> None:
    """Create the tables, or bring those of an older version up to date.

    Raises:
        RuntimeError: the database is of a newer version than this code.
    """
    (version,) = database.execute("pragma user_version").fetchone()
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
