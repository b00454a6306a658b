"""API keys: shown once, found by a digest, revoked at once."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from csms.database import Database
from csms.models import ApiKey
from csms.users import Role, UnknownKey, create_key, holder_of, keys, revoke_key

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_a_key_opens_what_its_role_allows_until_it_is_revoked(database: Database) -> None:
    with database.write() as connection:
        key = create_key(connection, "billing export", Role.VIEWER, NOW)
        other = create_key(connection, "dispatcher", Role.ADMIN, NOW)
        holder = holder_of(connection, key)
        assert holder is not None
        assert (holder.name, holder.role, holder.prefix) == ("billing export", Role.VIEWER, key.split("_")[1])
        assert [holder.may(role) for role in Role] == [True, False, False]
        assert revoke_key(connection, holder.prefix, NOW) is True
        assert revoke_key(connection, holder.prefix, NOW) is False
        assert holder_of(connection, key) is None
        assert holder_of(connection, other) is not None
        assert [(k.name, k.revoked_at) for k in keys(connection)] == [("billing export", NOW), ("dispatcher", None)]


def test_a_key_cannot_be_read_from_the_database(database: Database) -> None:
    with database.write() as connection:
        key = create_key(connection, "x", Role.OPERATOR, NOW)
        [row] = connection.execute(select(ApiKey.__table__))
    secret = key.split("_", 2)[2]
    assert not any(secret in str(value) or str(value) == key for value in row)


def test_wrong_keys_open_nothing(database: Database) -> None:
    with database.write() as connection:
        key = create_key(connection, "x", Role.OPERATOR, NOW)
        assert [holder_of(connection, wrong) for wrong in ("", key[:-1], key + "A", key.upper())] == [None] * 4
        with pytest.raises(UnknownKey):
            revoke_key(connection, "nothing", NOW)
