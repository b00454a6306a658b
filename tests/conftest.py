"""Every test that asks for a database gets a fresh one, on SQLite and on a PostgreSQL cluster that is ours to kill."""

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from sqlalchemy import make_url

from csms.database import Database
from csms.schema import migrate
from tests.postgres_cluster import PostgresCluster
from tests.redis_server import RedisServer

MEMORY = Path("/dev/shm")
ROOM = 2 << 30
LONGEST_NAME = 120

_numbers = itertools.count()

if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    tempfile.tempdir = str(MEMORY)  # tests wait for no disk: SQLite waits for one in each commit

# As in the service: structlog's own way, with the values of all variables, took a busy host's loop 18 s for one exception,
# in which leases run out and nobody is answered in time.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: what we start would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test's name is the same wherever it is collected, and can be read: what else a value is made of (bytes of a
    compression or of a key, a text with a time in it) is not in it. None: as pytest names it."""
    told = isinstance(val, str) and len(val) <= LONGEST_NAME and val.isascii() and val.isprintable() and "\\" not in val
    return argname if isinstance(val, bytes | str) and not told else None


# ---- what tests ask for ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """The two databases that everything must work on."""
    return str(request.param)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    with _fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
def empty_url(dialect: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database without tables, on each of the two."""
    return str(request.getfixturevalue("sqlite_url" if dialect == "sqlite" else "postgres_url"))


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database at the newest schema, without rows, on each of the two."""
    return str(request.getfixturevalue("sqlite_copied" if dialect == "sqlite" else "postgres_emptied"))


@pytest.fixture
def database(dialect: str, database_url: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """The one of `database_url`."""
    database: Database = request.getfixturevalue("sqlite_database" if dialect == "sqlite" else "postgres_database")
    database.disposed = False
    yield database
    database.dispose()


@pytest.fixture
def sqlite_copied(sqlite_template: Path, sqlite_folder: Path, tmp_path: Path) -> str:
    for file in sqlite_template.iterdir():
        shutil.copy(file, tmp_path / file.name)
    sqlite_folder.unlink(missing_ok=True)
    sqlite_folder.symlink_to(tmp_path)
    return f"sqlite:///{tmp_path / 'roambridge.db'}"


@pytest.fixture
def postgres_emptied(postgres_kept: str) -> str:
    with psycopg.connect(postgres_kept, autocommit=True) as connection:
        connection.execute(EMPTY)
    return postgres_kept


# ---- made once a session: a Database keeps the statements that it has compiled, a third of what a test would cost -----


@pytest.fixture(scope="session")
def sqlite_database(sqlite_folder: Path) -> Database:
    return Database(f"sqlite:///{sqlite_folder / 'roambridge.db'}")


@pytest.fixture(scope="session")
def sqlite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A link to the folder of the test that runs."""
    return tmp_path_factory.mktemp("sqlite") / "current"


@pytest.fixture(scope="session")
def postgres_database(postgres_kept: str) -> Database:
    return Database(postgres_kept)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    migrate(f"sqlite:///{folder / 'roambridge.db'}")
    return folder


@pytest.fixture(scope="session")
def postgres_kept(postgres_server: str) -> Iterator[str]:
    """The one database that is emptied for each test: ten times quicker than a copy of a template."""
    with _fresh_database(postgres_server) as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA kept; CREATE TABLE kept.tables AS SELECT tablename FROM pg_tables")
        yield url


EMPTY = """
DO $$
DECLARE name text; filled boolean; names text[] := '{}';
BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic%' LOOP
        IF NOT EXISTS (SELECT FROM kept.tables WHERE tablename = name) THEN
            EXECUTE format('DROP TABLE %I CASCADE', name);
        ELSE
            EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO filled;
            IF filled THEN names := names || quote_ident(name); END IF;
        END IF;
    END LOOP;
    IF names <> '{}' THEN
        EXECUTE 'TRUNCATE ' || array_to_string(names, ', ') || ' RESTART IDENTITY CASCADE';
    END IF;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
END $$
"""


# ---- Redis ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A redis-server of the test's own to kill, on a unix socket, which keeps what it confirmed (appendfsync always)."""
    if shutil.which("redis-server") is None:
        reason = "no redis-server on PATH"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


# ---- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server's maintenance database: of ROAMBRIDGE_TEST_POSTGRES, else of a cluster of this process."""
    given = os.environ.get("ROAMBRIDGE_TEST_POSTGRES")
    if given:
        yield given
        return
    cluster = postgres_cluster()
    try:
        cluster.start()
        yield cluster.url
    finally:
        cluster.remove()


def postgres_cluster(**settings: str) -> PostgresCluster:
    """Not started yet. Where none is installed the test is skipped, or fails in CI."""
    try:
        return PostgresCluster(**settings)
    except FileNotFoundError as missing:
        reason = f"no PostgreSQL: {missing}, and no ROAMBRIDGE_TEST_POSTGRES"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)


class _fresh_database:
    """A new, empty database; dropped at the end, whoever is still connected."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._name = f"roambridge_test_{os.getpid()}_{next(_numbers)}"

    def __enter__(self) -> str:
        self._execute(f'CREATE DATABASE "{self._name}" TEMPLATE template0', since_15=" STRATEGY file_copy")
        return make_url(self._server).set(database=self._name).render_as_string(hide_password=False)

    def __exit__(self, *_: object) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')

    def _execute(self, statement: str, *, since_15: str = "") -> None:
        """`since_15`: 15 began to write a copied database through its log, six times slower."""
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(statement + (since_15 if connection.info.server_version >= 150000 else ""))
