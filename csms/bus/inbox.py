"""A process's inbox: read from where it was left, so that a cut connection to Redis loses nothing."""

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from csms.bus import names
from csms.bus.client import AWAY, Client
from csms.bus.entries import Message, messages_from_bytes
from csms.bus.outbox import PAUSE_S

log = structlog.get_logger(__name__)

BLOCK_MS = 1000
AT_ONCE = 200
BEGIN = "0-0"


class Inbox:
    """`hear(message, entry_id)` is called for each message, in order."""

    def __init__(self, client: Client, *, process_id: str, hear: Callable[[Message, str], None]) -> None:
        self._line = client.line()
        self._key = names.inbox(process_id)
        self._hear = hear
        self._last = BEGIN  # nobody writes to an inbox before its process lives
        self._doubted = False

    def doubt(self) -> None:
        """Redis may have lost what it held, and give new entries lower ids than those it gave before."""
        self._doubted = True

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            try:
                await self._read_next()
            except AWAY as error:
                log.warning("inbox_away", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(PAUSE_S)

    async def _read_next(self) -> None:
        if self._doubted:
            await self._find_place()
        answer = await self._line.ask("XREAD", "COUNT", AT_ONCE, "BLOCK", BLOCK_MS, "STREAMS", self._key, self._last)
        for entry_id, fields in answer[0][1] if answer else ():
            self._last = entry_id.decode()
            for message in messages_from_bytes(fields[1]):
                if isinstance(message, msgspec.MsgspecError):
                    log.error("message_unreadable", entry_id=self._last, error=str(message)[:300])
                    continue
                try:
                    self._hear(message, self._last)
                except Exception:
                    log.exception("message_failed", kind=type(message).__name__)

    async def _find_place(self) -> None:
        """From its first entry on when the one we stand at is not there any more: what was heard before is known to whoever
        hears it."""
        self._doubted = False
        try:
            there = await self._line.ask("XRANGE", self._key, self._last, self._last)
        except AWAY:
            self._doubted = True
            raise
        if not there and self._last != BEGIN:
            log.warning("inbox_began_again", read_until=self._last)
            self._last = BEGIN
