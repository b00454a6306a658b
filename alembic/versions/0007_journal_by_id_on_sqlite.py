"""The journal's order by transaction is PostgreSQL's alone: SQLite commits in the order of ids.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    {"main": _main, "message_log": _message_log}[target]()


def downgrade(target: str) -> None:
    raise RuntimeError("go back by restoring the database as it was")


def _main() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index("ix_journal_xid_id", "journal")


def _message_log() -> None:
    pass
