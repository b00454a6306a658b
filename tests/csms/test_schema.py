"""Models and migrations are two ways to the same tables, and a migration may be run by anybody, twice and at once."""

import sqlite3
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

import crud.models  # noqa: F401
from csms import schema
from csms.database import Database
from csms.models import Base, LogBase
from csms.schema import VERSION_TABLES, SchemaError, migrate

ROOT = Path(__file__).resolve().parents[2]
REVISIONS = sorted(file.name[:4] for file in (ROOT / "alembic" / "versions").glob("*.py"))
EVERYTHING = [f"{revision} ({target})" for target in ("main", "message_log") for revision in REVISIONS]


def differences(connection: Connection, metadata: MetaData) -> list[object]:
    """What autogenerate would change; tables of the other metadata in the same database are not its business, nor are
    indexes that only the other kind of database has."""
    names = set(metadata.tables)

    def ours(obj: object, name: str | None, type_: str, reflected: bool, compare_to: object) -> bool:
        where = getattr(obj, "_ddl_if", None)
        if where is not None and where.dialect != connection.dialect.name:
            return False
        return type_ != "table" or name in names or (not reflected)

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": False, "include_object": ours}
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type 'xid8'")
        warnings.filterwarnings("ignore", ".*expression-based index")  # `declared` compares those
        return list(compare_metadata(context, metadata))


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()


def declared(connection: Connection) -> dict[str, object]:
    """All that the database itself knows of its tables, the defaults and the conditions of partial indexes included."""
    if connection.dialect.name == "sqlite":
        query = "SELECT type || ' ' || name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' AND sql IS NOT NULL"
        found = {
            name: sorted(" ".join(part.split()) for part in parts(sql)) for name, sql in connection.execute(text(query))
        }
        return dict(found)
    columns = """SELECT table_name || '.' || column_name,
                        data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
                 FROM information_schema.columns WHERE table_schema = 'public'"""
    constraints = """SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
                     WHERE connamespace = 'public'::regnamespace"""
    # Of a month PostgreSQL names the indexes, by their turn; each has all that the whole table has.
    indexes = """SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
                 AND tablename NOT IN (SELECT relname FROM pg_class WHERE relispartition)"""
    sequences = "SELECT sequencename, min_value || ' ' || max_value FROM pg_sequences WHERE schemaname = 'public'"
    months = """SELECT inhrelid::regclass || ' of ' || inhparent::regclass,
                       pg_get_partkeydef(inhparent) || ' ' || pg_get_expr(relpartbound, inhrelid)
                FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE relkind = 'r'"""
    return {
        name: value
        for query in (columns, constraints, indexes, sequences, months)
        for name, value in connection.execute(text(query))
        if "alembic_version" not in name
    }


def parts(sql: str) -> list[str]:
    """What a statement lists between its outermost brackets, and what stands around them: a column that was added later
    stands at another place, which is no difference."""
    found, depth = [""], 0
    for letter in sql:
        depth += (letter == "(") - (letter == ")")
        if (letter == "(" and depth == 1) or (letter == ")" and depth == 0) or (letter == "," and depth == 1):
            found.append("")
        else:
            found[-1] += letter
    return found


def test_migrations_make_the_tables_of_the_models(empty_url: str) -> None:
    assert migrate(empty_url) == EVERYTHING
    with opened(empty_url) as database:
        with database.engine.connect() as connection:
            assert differences(connection, Base.metadata) == []
        with database.log_engine.connect() as connection:
            assert differences(connection, LogBase.metadata) == []


def test_migrations_and_models_agree_in_every_word_the_database_keeps(empty_url: str, database: Database) -> None:
    with opened(empty_url) as models:
        Base.metadata.create_all(models.engine)
        LogBase.metadata.create_all(models.log_engine)
        with database.engine.connect() as migrated, models.engine.connect() as created:
            assert declared(migrated) == declared(created)
        with database.log_engine.connect() as migrated, models.log_engine.connect() as created:
            assert declared(migrated) == declared(created)


def test_the_message_log_has_its_own_file_on_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    migrate(sqlite_url, message_log=tmp_path / "data" / "messages.db")
    with sqlite3.connect(tmp_path / "data" / "messages.db") as log:
        tables = {name for (name,) in log.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    log.close()
    assert tables == {"messages", VERSION_TABLES["message_log"]}


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    migrate(empty_url)
    assert migrate(empty_url) == []


def test_processes_that_migrate_at_once_take_turns(empty_url: str) -> None:
    script = "import csms.schema, sys; print(csms.schema.migrate(sys.argv[1]))"
    racers = [
        subprocess.Popen([sys.executable, "-c", script, empty_url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outcomes = [racer.communicate(timeout=60)[0].splitlines()[-1] for racer in racers]  # behind what it logged
    assert sorted(outcomes) == [str(EVERYTHING), "[]", "[]"]


@contextmanager
def migrating(url: str) -> Iterator[None]:
    """As if another process were at it."""
    with opened(url) as database, database.write() as connection:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({schema.LOCK_KEY})"))
        yield


def test_a_migration_of_another_is_waited_for_longer_than_a_table_is(
    empty_url: str, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dialect != "postgresql":
        pytest.skip("SQLite's writers take turns by themselves")
    monkeypatch.setattr(schema, "LOCK_LIMIT_S", 0.1)
    with ThreadPoolExecutor() as threads, capture_logs() as logs:
        with migrating(empty_url):
            waiting = threads.submit(migrate, empty_url)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
        assert waiting.result(timeout=60) == EVERYTHING
    assert [entry["event"] for entry in logs] == ["schema_waits"]


def test_who_is_told_to_leave_waits_for_no_migration(empty_url: str, dialect: str) -> None:
    if dialect != "postgresql":
        pytest.skip("SQLite's writers take turns by themselves")
    stop = threading.Event()
    with ThreadPoolExecutor() as threads, migrating(empty_url):
        waiting = threads.submit(migrate, empty_url, stop=stop)
        stop.set()
        with pytest.raises(SchemaError, match="stopped"):
            waiting.result(timeout=30)


def test_a_database_of_a_newer_version_is_left_alone(empty_url: str) -> None:
    migrate(empty_url)
    with opened(empty_url) as database, database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="9999"):
        migrate(empty_url)


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str) -> None:
    with opened(empty_url) as database:
        with database.write() as connection:
            connection.execute(text("CREATE TABLE transactions (id TEXT)"))
        with pytest.raises(DBAPIError, match="already exists"):
            migrate(empty_url)
        assert inspect(database.engine).get_table_names() == ["transactions"]


def test_an_installed_wheel_carries_its_migrations(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [wheel] = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = (
        "import csms.schema, sys; assert csms.schema.__file__.startswith(sys.argv[1]), csms.schema.__file__;"
        "print(csms.schema.migrate(sys.argv[2]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(site), f"sqlite:///{tmp_path / 'installed.db'}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert ran.stdout.strip() == str(EVERYTHING)
