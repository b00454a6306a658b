"""Who is connected, and the one way to ask something of a charger; a station's newest socket is the one that counts (T9)."""

from collections.abc import Collection, Iterator
from typing import TypeVar

from csms.commands import Answer, Command, Outcome, answer_to
from csms.gateway.link import Link

A = TypeVar("A", bound=Answer)


class Connections:
    """Composed before the core and the gateway, so that the first may send and the second attach."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    async def send(self, command: Command[A], /, *, timeout_s: float) -> A:
        """bus.Send: first in, first out for each station, one call in flight; OFFLINE at once when it is not connected."""
        link = self._links.get(command.station_id)
        if link is None:
            return answer_to(command, Outcome.OFFLINE, "not connected")
        return await link.call(command, timeout_s)

    def connected(self) -> Collection[str]:
        """The stations with an open socket: a live view, so copy it before you await."""
        return self._links.keys()

    def close_station(self, station_id: str, code: int, reason: str) -> None:
        """Nothing happens when it is not connected."""
        for link in self.links_of(station_id):
            link.close(code, reason)

    def links_of(self, station_id: str) -> Iterator[Link]:
        """Its open sockets, the newest first."""
        link = self._links.get(station_id)
        while link is not None:
            yield link
            link = link.older

    def attach(self, link: Link) -> None:
        """Commands go to this link from now on. The older one is closed when this one turns out to be no probe."""
        link.older = self._links.get(link.station_id)
        self._links[link.station_id] = link

    def detach(self, link: Link) -> None:
        """A probe that leaves gives the station back to the socket it found."""
        newest = self._links.get(link.station_id)
        if newest is link:
            if link.older is None:
                del self._links[link.station_id]
            else:
                self._links[link.station_id] = link.older
        while newest is not None:
            if newest.older is link:
                newest.older = link.older
            newest = newest.older
