"""What a station said of one action, what it was asked, and a message id of it are found in the index, without its rows.

Revision ID: 0009
Revises: 0008
"""

from typing import Any

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    {"main": _main, "message_log": _message_log}[target]()


def downgrade(target: str) -> None:
    raise RuntimeError("go back by restoring the database as it was")


def _main() -> None:
    pass


INDEXES: dict[str, tuple[list[Any], str]] = {
    "ix_messages_named": (
        [sa.literal_column("substr(message_id, length(message_id))"), "id", "message_id", "station_id"],
        "(twin IS NULL OR twin > 0)",
    ),
    "ix_messages_of_station": (
        ["station_id", "id", "action"],
        "(message_type NOT IN ('result', 'error') OR result = 'unsolicited')",
    ),
    "ix_messages_outward": (["id", "station_id"], "direction = 'out' AND message_type NOT IN ('result', 'error')"),
}


def _message_log() -> None:
    for name, (columns, where) in INDEXES.items():
        op.drop_index(name, "messages")
        condition = sa.text(where)
        op.create_index(name, "messages", columns, sqlite_where=condition, postgresql_where=condition)
