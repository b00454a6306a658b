"""The message log of a PostgreSQL cluster on a disk of its own, as docs/message-log.md says, which a test may let be full."""

import os
import re
import subprocess
from pathlib import Path
from typing import LiteralString, cast

import psycopg

from tests.postgres_cluster import PostgresCluster

PAGE = Path(__file__).parents[1] / "docs" / "message-log.md"
ROOM_MB = 8192  # of memory, which a tmpfs takes only when it is used
NO_ROOM = """
CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER no_room BEFORE INSERT ON messages FOR EACH STATEMENT EXECUTE FUNCTION no_room();
"""
ROOM = "DROP TRIGGER no_room ON messages"


class LogDisk:
    """A tmpfs as large as what it holds is full. Where nothing may be mounted (not root, or a container without the right)
    PostgreSQL says of the log's table what it says of a full disk, and there is a folder for a disk."""

    def __init__(self, cluster: PostgresCluster) -> None:
        """The cluster runs."""
        self._url = cluster.url
        self.folder = cluster.folder("log-disk")
        owner = self.folder.stat()
        options = f"size={ROOM_MB}m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        self.real = _mount("-t", "tmpfs", "-o", options, "message-log", str(self.folder))

    def move(self) -> None:
        """The log, which there is by now, as an operator does it."""
        (sql,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
        create, move = sql.replace("/srv/roambridge-messages", str(self.folder)).split(";\n", 1)
        self._say(create, move)

    def full(self) -> None:
        if self.real:
            found = os.statvfs(self.folder)
            self._resize(f"{(found.f_blocks - found.f_bfree) * found.f_frsize // 1024}k")
        else:
            self._say(NO_ROOM)

    def room(self) -> None:
        if self.real:
            self._resize(f"{ROOM_MB}m")
        else:
            self._say(ROOM)

    def _resize(self, size: str) -> None:
        assert _mount("-o", f"remount,size={size}", str(self.folder))

    def remove(self) -> None:
        """After the cluster ended, and before its files go."""
        if self.real:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
            self.real = False

    def _say(self, *statements: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(cast(LiteralString, statement))


def _mount(*arguments: str) -> bool:
    return os.geteuid() == 0 and subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
