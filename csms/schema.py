"""The schema is the newest before anything reads a table, from a checkout and from an installed wheel alike."""

import threading
import time
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, column, inspect, select, table, text

from csms import restored
from csms.database import Database

VERSION_TABLES = {"main": "alembic_version", "message_log": "alembic_version_messages"}
LOCK_KEY = 0x726F616D  # "roam": one migration at a time in a PostgreSQL database
LOCK_LIMIT_S = 120  # for a table that somebody uses
LOOK_EVERY_S = 0.5
TELL_EVERY_S = 30.0

log = structlog.get_logger(__name__)


class SchemaError(Exception):
    """The database cannot be brought to our schema; the text says why."""


def migrate(url: str, *, message_log: Path | None = None, stop: threading.Event | None = None) -> list[str]:
    """Bring the database at `url` to the newest schema, as `Database(url, message_log=...)` names it.

    Returns what was applied, as "0001 (main)"; empty when it was the newest already. Two processes may do this at once: one
    waits for the other, however long that takes, and says so; `stop` ends the wait (SchemaError). Two threads may not:
    alembic keeps its context in a module. A migration that fails leaves its database as it was. A database that was restored
    from a dump on another server is made to go on where it stood (csms.restored).
    """
    database = Database(url, message_log=message_log)
    applied: list[str] = []
    try:
        if _is_newest(database):
            _follow(database)
            return applied
        with database.write() as connection:  # held until both are done: nobody else comes in between
            _take_turn(connection, stop or threading.Event())
            _upgrade(connection, "main", applied)
            if database.sqlite:
                with database.write_log() as beside:
                    _upgrade(beside, "message_log", applied)
            else:
                _upgrade(connection, "message_log", applied)
        _follow(database)
    finally:
        database.dispose()
    return applied


def _follow(database: Database) -> None:
    if restored.follow(database):
        log.warning("journal_restored", why="this database was filled from a dump: readers go on where they stood")


def scripts() -> Path:
    """Where the migrations are: packed into the wheel beside this module, or `alembic` at the root of a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "migrations", here.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaError(f"this installation lacks its migrations (looked in {here / 'migrations'})")


def _is_newest(database: Database) -> bool:
    newest = max(file.name.partition("_")[0] for file in scripts().glob("versions/*.py"))
    engines = {"main": database.engine, "message_log": database.log_engine}
    return all(_version(engine, VERSION_TABLES[target]) == newest for target, engine in engines.items())


def _version(engine: Engine, name: str) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table(name):
            return None
        found: str | None = connection.execute(select(column("version_num")).select_from(table(name))).scalar()
        return found


def _take_turn(connection: Connection, stop: threading.Event) -> None:
    """One migration at a time: a long one of somebody else's is waited for. What ours then must lock is not, for as long."""
    if connection.dialect.name != "postgresql":
        return
    told_at = None
    while not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK_KEY}).scalar_one():
        if told_at is None or time.monotonic() - told_at > TELL_EVERY_S:
            log.info("schema_waits", why="another process is migrating the database")
            told_at = time.monotonic()
        if stop.wait(LOOK_EVERY_S):
            raise SchemaError("stopped while another process was migrating the database")
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_LIMIT_S}s'"))


def _upgrade(connection: Connection, target: str, applied: list[str]) -> None:
    # Loaded here: a service that starts on the newest schema needs nothing of it, and it takes as long as a tenth of the rest.
    from alembic.config import Config
    from alembic.util import CommandError

    from alembic import command

    def on_version_apply(*, step: Any, **_: Any) -> None:
        applied.extend(f"{revision} ({target})" for revision in step.up_revision_ids)

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(
        connection=connection,
        target=target,
        version_table=VERSION_TABLES[target],
        on_version_apply=on_version_apply,
    )
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaError(f"the {target} schema cannot be migrated, is it from a newer version? {error}") from error
