"""A PostgreSQL cluster in a folder of its own, on a unix socket there: ours to crash."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

START_LIMIT_S = 60
INITDB = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
# Nothing survives the session, so nothing is made durable. No autovacuum: its snapshots would hold back journal cursors.
CLUSTER_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
}
# The server ends with this shell's standard input, so also when pytest itself was killed.
LEASH = '"$@" & server=$!; read -r _; kill -QUIT $server; wait $server'


class PostgresCluster:
    """`start` after `crash` finds what was committed. initdb refuses root, so root becomes somebody else."""

    def __init__(self, **settings: str) -> None:
        """Makes its files; `settings` beside or instead of CLUSTER_SETTINGS. Raises FileNotFoundError when PostgreSQL is not
        installed."""
        self._binaries = _binaries()
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self._server: subprocess.Popen[bytes] | None = None
        self._home = Path(tempfile.mkdtemp(prefix="rbpg-"))  # short: the path of a unix socket has at most 107 bytes
        if self._user is not None:
            os.chown(self._home, self._user.pw_uid, self._user.pw_gid)
        self._settings = CLUSTER_SETTINGS | {"unix_socket_directories": str(self._home)} | settings
        self.url = f"postgresql://postgres@/postgres?host={self._home}"
        made = self._run([str(self._binaries / "initdb"), *INITDB, "-D", str(self._home / "data")])
        made.communicate(timeout=START_LIMIT_S)

    def start(self) -> None:
        """Returns when it can be connected to."""
        flags = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        postgres = [str(self._binaries / "postgres"), "-D", str(self._home / "data"), *flags]
        self._server = self._run(["sh", "-c", LEASH, "sh", *postgres])
        self._wait_for(self.url)

    def crash(self) -> None:
        """All its processes die at once, and so does whatever was not committed."""
        server, self._server = self._server, None
        if server is not None:
            server.communicate(timeout=START_LIMIT_S)  # closes its standard input

    def cut(self) -> None:
        """Every connection to it, now."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def folder(self, name: str) -> Path:
        """A new one, which is the server's."""
        made = self._home / name
        made.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(made, self._user.pw_uid, self._user.pw_gid)
        return made

    def remove(self) -> None:
        self.crash()
        shutil.rmtree(self._home, ignore_errors=True)

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        user = self._user
        with (self._home / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._home,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
                start_new_session=True,  # an interrupt at the keyboard is pytest's to handle
            )

    def _wait_for(self, url: str) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                psycopg.connect(url, connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                assert self._server is not None
                if self._server.poll() is not None or time.monotonic() > deadline:
                    log = (self._home / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"PostgreSQL did not start: {log}") from error
                time.sleep(0.02)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("running as root, and there is neither a user postgres nor nobody to run PostgreSQL as")


def _binaries() -> Path:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else versions[-1:]
    if not found:
        raise FileNotFoundError("neither initdb on PATH nor in /usr/lib/postgresql")
    return found[0].parent
