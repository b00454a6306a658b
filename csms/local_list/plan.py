"""How the list that a station holds becomes the one that is wanted, in messages of a size it can take."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec

from csms.commands import ListedToken, SendLocalList

SMALLEST = 48  # what the smallest stations in the field take, when one does not tell (X06)
NEWEST_VERSION = 2**31 - 1

Held = Mapping[str, str]  # key of a card: digest of what was said of it


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many cards a station keeps, and how many it takes in one message."""

    list_length: int = SMALLEST
    message_length: int = SMALLEST


def plan(
    station_id: str,
    held_version: int,
    held: Held | None,
    wanted: Sequence[ListedToken],
    limits: Limits,
    *,
    tried_version: int = 0,
) -> Sequence[SendLocalList]:
    """The messages in their order, none when nothing changes. `wanted` is in the order of preference and cut to what the
    station keeps. `held` None: nobody knows what it holds, so it is told anew; version 0 is an empty list. What is taken
    off goes before what is added, so that the list is never longer than it may be. Each message has a version of its own,
    above all that the station may have seen (`tried_version`)."""
    listed = wanted[: limits.list_length]
    changes = None if held is None else _changes(held, listed)
    if changes is not None and not changes:
        return []
    before = max(held_version, tried_version, 0)
    full = changes is None or held_version <= 0 or _count(changes, limits) > _count(listed, limits)
    entries = listed if full or changes is None else changes
    if before + _count(entries, limits) > NEWEST_VERSION:
        before, full, entries = 0, True, listed
    return [
        SendLocalList(station_id=station_id, version=before + place, full=full and place == 1, entries=tuple(chunk))
        for place, chunk in enumerate(_chunks(entries, limits), start=1)
    ]


def applied(held: Held, update: SendLocalList) -> dict[str, str]:
    """What the station holds after it has accepted `update`."""
    result = {} if update.full else dict(held)
    for entry in update.entries:
        if entry.authorization is None:
            result.pop(key_of(entry.id_token), None)
        else:
            result[key_of(entry.id_token)] = digest(entry)
    return result


def key_of(id_token: str) -> str:
    """A station makes no difference between upper and lower case either."""
    return id_token.casefold()


def digest(entry: ListedToken) -> str:
    """Two entries with the same digest say the same."""
    return blake2b(msgspec.json.encode(entry), digest_size=6).hexdigest()


def _changes(held: Held, listed: Iterable[ListedToken]) -> list[ListedToken]:
    wanted = {key_of(entry.id_token): entry for entry in listed}
    gone = [ListedToken(id_token=key) for key in held if key not in wanted]
    return [*gone, *(entry for key, entry in wanted.items() if held.get(key) != digest(entry))]


def _chunks(entries: Sequence[ListedToken], limits: Limits) -> Iterator[Sequence[ListedToken]]:
    """At least one: an empty full list is a message too."""
    size = max(1, limits.message_length)
    for start in range(0, len(entries) or 1, size):
        yield entries[start : start + size]


def _count(entries: Sequence[ListedToken], limits: Limits) -> int:
    return max(1, -(-len(entries) // max(1, limits.message_length)))
