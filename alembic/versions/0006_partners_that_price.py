"""Partners that price what they are told, and want no prices of ours.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    {"main": _main, "message_log": _message_log}[target]()


def downgrade(target: str) -> None:
    raise RuntimeError("go back by restoring the database as it was")


def _main() -> None:
    op.add_column("partners", sa.Column("prices_itself", sa.Text(), nullable=True))


def _message_log() -> None:
    pass
