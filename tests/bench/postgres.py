"""A PostgreSQL server for the length of a benchmark, which flushes what it commits, as an operator's does."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

START_LIMIT_S = 60.0
SETTINGS = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
}


def binaries() -> Path | None:
    """Where initdb is."""
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return Path(on_path).resolve().parent if on_path else found[-1].parent if found else None


@contextmanager
def running() -> Iterator[str]:
    """The URL of its maintenance database. Raises LookupError where PostgreSQL is not installed."""
    if (folder := binaries()) is None:
        raise LookupError("no PostgreSQL: initdb is neither on PATH nor in /usr/lib/postgresql")
    home = Path(tempfile.mkdtemp(prefix="rbbench-"))  # short: the path of a unix socket has at most 107 bytes
    user = _unprivileged() if os.geteuid() == 0 else None  # initdb refuses root
    if user is not None:
        os.chown(home, user.pw_uid, user.pw_gid)

    def start(*command: str) -> subprocess.Popen[bytes]:
        who = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        return subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)  # type: ignore[call-overload, no-any-return]

    server = None
    try:
        made = start(f"{folder}/initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D", f"{home}/data")
        if made.wait(START_LIMIT_S) != 0:
            raise RuntimeError("initdb failed")
        flags = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        server = start(f"{folder}/postgres", "-D", f"{home}/data", *flags, "-c", f"unix_socket_directories={home}")
        url = f"postgresql://postgres@/postgres?host={home}"
        _wait_for(url, server)
        yield url
    finally:
        if server is not None:
            server.terminate()
            server.wait(START_LIMIT_S)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def fresh(server: str, name: str) -> Iterator[str]:
    """An empty database of that name, for as long as it is needed."""

    def execute(statement: str) -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_LIMIT_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError("running as root, and there is neither a user postgres nor nobody to run PostgreSQL as")
