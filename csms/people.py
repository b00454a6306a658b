"""People who may use the console, and do by name what no program may: the system they log in to knows them by it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from csms.models import User
from csms.users import Role

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")  # no colon: nobody is called as a key or a job is


class UnknownPerson(Exception):
    """No user has this name."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """`disabled_at` None while the person may log in."""

    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None = None

    def may(self, needed: Role) -> bool:
        order = list(Role)
        return self.disabled_at is None and order.index(self.role) >= order.index(needed)


def add(connection: Connection, name: str, role: Role, now: datetime) -> bool:
    """The person may log in from now on, in this role; one who was here already gets it, and comes back when disabled. True
    when they are new. Raises ValueError for what is no name."""
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a user: letters, digits and . _ @ + -, at most 64")
    back = update(User).where(User.name == name).values(role=role.value, disabled_at=None)
    if connection.execute(back).rowcount:
        return False
    connection.execute(insert(User).values(name=name, role=role.value, created_at=now))
    return True


def find(connection: Connection, name: str) -> Person | None:
    """Also one who is disabled; None for nobody."""
    row = connection.execute(select(User.__table__).where(User.name == name)).one_or_none()
    return None if row is None else _person(row)


def everybody(connection: Connection) -> Sequence[Person]:
    """By name, the disabled ones too."""
    return [_person(row) for row in connection.execute(select(User.__table__).order_by(User.name))]


def disable(connection: Connection, name: str, now: datetime) -> bool:
    """The person may do nothing from this commit on; False when that was so before. Raises UnknownPerson."""
    if find(connection, name) is None:
        raise UnknownPerson(name)
    query = update(User).where(User.name == name, User.disabled_at.is_(None)).values(disabled_at=now)
    return connection.execute(query).rowcount == 1


def _person(row: Row[Any]) -> Person:
    return Person(name=row.name, role=Role(row.role), created_at=row.created_at, disabled_at=row.disabled_at)
