"""Each partner's list is pulled when due: at once, hours later, soon after a failure; one that hangs delays no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from crud.partners import PartnerRecord

log = structlog.get_logger(__name__)

EVERY = timedelta(hours=6)  # TK-20, PG-14; partners push what changes, this is for what never reached us
RETRY_FIRST, RETRY_LAST = timedelta(seconds=2), timedelta(minutes=15)


class Pulling:
    """`partners` have a list to pull; `unread` says of whose nothing was read yet. `pull` returns why it failed, or None."""

    def __init__(
        self,
        *,
        what: str,
        partners: Callable[[], Sequence[PartnerRecord]],
        unread: Callable[[PartnerRecord], bool],
        pull: Callable[[int], Awaitable[str | None]],
        clock: Callable[[], datetime],
        poll_s: float,
        spread: Callable[[], float],
    ) -> None:
        self._what = what
        self._partners = partners
        self._unread = unread
        self._pull = pull
        self._clock = clock
        self._poll_s = poll_s
        self._spread = spread
        self._woken = asyncio.Event()
        self._due: dict[int, datetime] = {}
        self._waits: dict[int, timedelta] = {}

    def wake(self) -> None:
        """A partner may have registered: look at once."""
        self._woken.set()

    def due_by(self, partner_id: int, at: datetime) -> None:
        """Not later than `at`."""
        self._due[partner_id] = min(self._due.get(partner_id, at), max(at, self._clock()))
        self._woken.set()

    async def run(self) -> None:
        """Pulls until cancelled, each list in a task of its own."""
        async with asyncio.TaskGroup() as group:
            running: dict[int, asyncio.Task[None]] = {}
            while True:
                self._woken.clear()
                for partner in await asyncio.to_thread(self._partners):
                    task = running.get(partner.id)
                    if (task is None or task.done()) and self._is_due(partner):
                        running[partner.id] = group.create_task(self._pull_apart(partner.id))
                try:
                    async with asyncio.timeout(self._poll_s):
                        await self._woken.wait()
                except TimeoutError:
                    pass

    def _is_due(self, partner: PartnerRecord) -> bool:
        unread = self._unread(partner) and partner.id not in self._waits
        return unread or self._due.get(partner.id, self._clock()) <= self._clock()

    async def _pull_apart(self, partner_id: int) -> None:
        try:
            failure = await self._pull(partner_id)
        except Exception as error:  # a failure of ours is tried again like one of theirs, and is nobody else's
            log.exception("list_not_pulled", list=self._what, partner_id=partner_id)
            failure = type(error).__name__
        if failure is None:
            self._waits.pop(partner_id, None)
            wait = pause(self._spread())
        else:
            last = self._waits.get(partner_id)
            wait = self._waits[partner_id] = min(last * 2, RETRY_LAST) if last else RETRY_FIRST
        self._due[partner_id] = self._clock() + wait


def pause(chance: float) -> timedelta:
    """Between pulls: hours, and never all partners at once (PG-14); `chance` is between 0 and 1."""
    return EVERY * (0.8 + 0.4 * chance)
