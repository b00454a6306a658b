"""Programs that may use the operator API: each has a key that is shown once and kept only as a digest."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from csms.models import ApiKey

SCHEME = "rb"
PREFIX_BYTES = 4
SECRET_BYTES = 32


class Role(StrEnum):
    """What one may do; each may also do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class UnknownKey(Exception):
    """No key with this prefix."""


@dataclass(frozen=True, kw_only=True)
class KeyHolder:
    """A program by its key. `prefix` is the part of the key that may be shown; `revoked_at` None while it works."""

    name: str
    role: Role
    prefix: str
    created_at: datetime
    revoked_at: datetime | None = None

    def may(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self.role) >= order.index(needed)


def create_key(connection: Connection, name: str, role: Role, now: datetime) -> str:
    """A new key: `rb_PREFIX_SECRET`. This is the only moment at which it can be read."""
    prefix = secrets.token_hex(PREFIX_BYTES)
    key = f"{SCHEME}_{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    row = {"name": name, "role": role.value, "prefix": prefix, "digest": _digest(key), "created_at": now}
    connection.execute(insert(ApiKey).values(**row))
    return key


def holder_of(connection: Connection, key: str) -> KeyHolder | None:
    """Whose key this is; None for one that is unknown or revoked. The digest is what is looked up, so the time it takes
    tells nothing of a key."""
    row = ApiKey.__table__.c
    query = select(ApiKey.__table__).where(row.digest == _digest(key), row.revoked_at.is_(None))
    found = connection.execute(query).one_or_none()
    return None if found is None else _holder(found)


def keys(connection: Connection) -> Sequence[KeyHolder]:
    """All that ever were, the oldest first."""
    return [_holder(row) for row in connection.execute(select(ApiKey.__table__).order_by(ApiKey.id))]


def revoke_key(connection: Connection, prefix: str, now: datetime) -> bool:
    """From this commit on the key opens nothing; False when it was revoked before. Raises UnknownKey."""
    known = connection.execute(select(ApiKey.id).where(ApiKey.prefix == prefix)).scalar()
    if known is None:
        raise UnknownKey(prefix)
    query = update(ApiKey).where(ApiKey.id == known, ApiKey.revoked_at.is_(None)).values(revoked_at=now)
    return connection.execute(query).rowcount == 1


def _holder(row: Row[Any]) -> KeyHolder:
    names = ("name", "prefix", "created_at", "revoked_at")
    return KeyHolder(role=Role(row.role), **{name: getattr(row, name) for name in names})


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()  # the key is 256 random bits: there is nothing to guess
