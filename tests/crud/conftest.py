"""Many small tests on both databases: on PostgreSQL they share one, emptied between them, since making one takes longer."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url, text

from csms.database import Database
from csms.models import Base


@pytest.fixture(scope="session")
def shared_postgres(postgres_server: str, postgres_template: str) -> Iterator[str]:
    name = f"roambridge_test_crud_{os.getpid()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}"')
    yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def database(dialect: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with all tables and no rows, on each of the two."""
    shared = dialect == "postgresql"
    database = Database(request.getfixturevalue("shared_postgres" if shared else "database_url"))
    yield database
    if shared:
        with database.write() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(text(f'DELETE FROM "{table.name}"'))
    database.dispose()
