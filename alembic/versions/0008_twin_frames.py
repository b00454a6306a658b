"""Frames that are written together know each other, which needs fewer indexes; on SQLite the log has no key but the id.

Revision ID: 0008
Revises: 0007
"""

from typing import Any

import sqlalchemy as sa

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    {"main": _main, "message_log": _message_log}[target]()


def downgrade(target: str) -> None:
    raise RuntimeError("go back by restoring the database as it was")


def _main() -> None:
    pass


BEGINS = "(message_type NOT IN ('result', 'error') OR result = 'unsolicited')"
OUTWARD = "direction = 'out' AND message_type NOT IN ('result', 'error')"
BAD = "result <> 'ok'"
KEPT: dict[str, tuple[list[str], str]] = {
    "ix_messages_of_station": (["station_id", "id"], BEGINS),
    "ix_messages_of_action": (["action", "id"], BEGINS),
    "ix_messages_outward": (["id"], OUTWARD),
    "ix_messages_bad": (["id"], BAD),
    "ix_messages_bad_of_station": (["station_id", "id"], BAD),
}
COLUMNS = "id, at, station_id, ocpp_version, direction, message_type, message_id, action, result, latency_ms, frame"


def _message_log() -> None:
    op.drop_index("ix_messages_id", "messages")
    op.drop_index("ix_messages_pair", "messages")
    if op.get_bind().dialect.name == "sqlite":
        _made_anew()
    else:
        op.add_column("messages", sa.Column("twin", sa.SmallInteger(), nullable=True))
        op.drop_constraint("pk_messages", "messages")
        op.create_primary_key("pk_messages", "messages", ["id", "at"])
    last_letter = sa.literal_column("substr(message_id, length(message_id))")
    _partial("ix_messages_named", [last_letter, "id", "message_id"], "(twin IS NULL OR twin > 0)")
    _partial("ix_messages_pair", ["message_id", "station_id", "id"], "twin IS NULL")


def _made_anew() -> None:
    """SQLite cannot change the key of a table: the rows move to another."""
    for name in KEPT:
        op.drop_index(name, "messages")
    op.execute("ALTER TABLE messages RENAME TO messages_before")
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("station_id", "ocpp_version", "direction", "message_type", "message_id", "action", "result")
        ),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("frame", sa.Text(), nullable=False),
        sa.Column("twin", sa.SmallInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
    )
    # Two rows with one id could only be of two clocks that gave the same microsecond: the second stays behind.
    op.execute(f"INSERT OR IGNORE INTO messages ({COLUMNS}) SELECT {COLUMNS} FROM messages_before ORDER BY id")  # noqa: S608
    op.execute("DROP TABLE messages_before")
    for name, (columns, where) in KEPT.items():
        _partial(name, columns, where)


def _partial(name: str, columns: list[Any], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "messages", columns, sqlite_where=condition, postgresql_where=condition)
