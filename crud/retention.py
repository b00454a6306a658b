"""What partners asked of stations goes with what they must be told of it, when it is old enough."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from crud.models import CommandCallback
from csms.models import RemoteRequest


def delete_partners_requests(connection: Connection, before: datetime, at_most: int) -> int:
    """Requests of partners that were made before then, with their callbacks; returns how many."""
    row = RemoteRequest
    old = select(row.id).where(row.created_at < before, row.requested_by.startswith("partner:")).limit(at_most)
    ids = list(connection.execute(old).scalars())
    if ids:
        connection.execute(delete(CommandCallback).where(CommandCallback.request_id.in_(ids)))
        connection.execute(delete(row).where(row.id.in_(ids)))
    return len(ids)
