"""A charger lives in two times: the one that really passes, which a scenario may hurry, and the one its clock shows."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """True time as the charger lives it, aware UTC."""

    def now(self) -> datetime: ...

    async def advance(self, seconds: float) -> None:
        """Let time pass: the car charges, the driver shops."""
        ...

    async def pause(self, seconds: float) -> None:
        """The charger's own wait in the background (before a retry); a hurried clock skips it and time does not move."""
        ...


class SimClock:
    """Time that moves only when a scenario advances it, so an hour's charge runs in milliseconds."""

    def __init__(self, starts_at: datetime | None = None) -> None:
        self._now = starts_at or datetime.now(UTC)

    def now(self) -> datetime:
        return self._now

    async def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(0)


class RealClock:
    """The wall clock: an hour's charge takes an hour."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class StationClock:
    """What the charger believes and stamps its messages with: wrong by an offset, or stopped at `frozen_at`.

    A charger that follows currentTime takes over the server's error against the wall clock. It is not set to currentTime
    itself: the server did not live through the time that a scenario skipped.
    """

    def __init__(self, clock: Clock, *, offset: timedelta, frozen_at: datetime | None, follows: bool) -> None:
        self._clock = clock
        self._frozen_at = frozen_at
        self._follows = follows
        self.offset = offset

    def now(self) -> datetime:
        return self._frozen_at or self._clock.now() + self.offset

    def stamp(self) -> str:
        return self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def hear(self, current_time: object) -> None:
        """Take over the currentTime of an answer; one that cannot be read is ignored."""
        if not self._follows or not isinstance(current_time, str):
            return
        try:
            said = datetime.fromisoformat(current_time)
        except ValueError:
            return
        self.offset = (said if said.tzinfo else said.replace(tzinfo=UTC)) - datetime.now(UTC)
