"""A database that was closed stays closed, whoever comes late."""

import os
import threading
import time
from pathlib import Path

import psycopg
from sqlalchemy import text

from csms.database import Database


def test_a_thread_that_begins_after_the_end_leaves_nothing_open(database: Database, database_url: str) -> None:
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
        assert open_connections(database_url) > 0
    database.dispose()

    def late() -> None:
        with database.read() as connection:
            connection.execute(text("SELECT 1"))
        with database.write() as connection:
            connection.execute(text("SELECT 1"))

    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
    until = time.monotonic() + 30
    while open_connections(database_url):  # the server notices a moment later
        assert time.monotonic() < until
        time.sleep(0.01)


def open_connections(database_url: str) -> int:
    if database_url.startswith("sqlite"):
        files = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        names = [os.readlink(file) for file in files if file.is_symlink()]
        return sum(name.endswith("/roambridge.db") for name in names)
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(database_url, autocommit=True) as connection:
        (count,) = connection.execute(asked).fetchone() or (0,)
        return int(count)
