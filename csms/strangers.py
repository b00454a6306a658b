"""Stations that nobody announced are few at a time: those that wait for adoption, and those that only hold a socket."""

from collections.abc import Collection

from sqlalchemy import Connection, func, select

from csms.bus import Admission
from csms.models import Station

STRANGERS_AT_MOST = 100
KNOCKED_FOR_S = 10.0  # a handshake that no open socket followed counts for so long


def waiting(connection: Connection) -> int:
    """Strangers that said what they are, and wait for adoption."""
    query = select(func.count()).select_from(Station).where(Station.admission == Admission.PENDING)
    return int(connection.execute(query).scalar_one())


class Knocking:
    """Who was let in and is no row yet: a stranger that never sends its Boot takes the place of one that waits. Each
    identity is here until it becomes a row, closes its socket, or turns out to have opened none."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def names(self) -> Collection[str]:
        return list(self._until)

    def let_in(self, station_id: str, now: float, *, waiting: int, stored: Collection[str]) -> bool:
        """Whether there is room for one more at `now`, monotonic. `stored`: those of `names` that have become rows."""
        self._until = {name: until for name, until in self._until.items() if name not in stored and until > now}
        if station_id not in self._until:
            if waiting + len(self._until) >= STRANGERS_AT_MOST:
                return False
            self._until[station_id] = now + KNOCKED_FOR_S
        return True

    def opened(self, station_id: str) -> None:
        if station_id in self._until:
            self._until[station_id] = float("inf")

    def closed(self, station_id: str) -> None:
        self._until.pop(station_id, None)
