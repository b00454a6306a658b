"""Tokens that overlap: a partner whose answer was lost, or who lost ours, comes back without a new registration.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    {"main": _main, "message_log": _message_log}[target]()


def downgrade(target: str) -> None:
    raise RuntimeError("go back by restoring the database as it was")


def _main() -> None:
    op.add_column("partners", sa.Column("pending_sent", sa.Boolean(), nullable=True))
    op.add_column("partners", sa.Column("previous_in_digest", sa.Text(), nullable=True))
    op.add_column("partners", sa.Column("previous_in_state", sa.Text(), nullable=True))
    op.create_index("ix_partners_previous_in_digest", "partners", ["previous_in_digest"])


def _message_log() -> None:
    pass
