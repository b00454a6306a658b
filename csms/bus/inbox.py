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


class Inbox:
    """`hear(message, entry_id)` is called for each message, in order."""

    def __init__(self, client: Client, *, process_id: str, hear: Callable[[Message, str], None]) -> None:
        self._client = client
        self._key = names.inbox(process_id)
        self._hear = hear
        self._last = "0-0"  # nobody writes to an inbox before its process lives

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            try:
                await self._read_next()
            except AWAY as error:
                log.warning("inbox_away", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(PAUSE_S)

    async def _read_next(self) -> None:
        answer = await self._client.ask("XREAD", "COUNT", AT_ONCE, "BLOCK", BLOCK_MS, "STREAMS", self._key, self._last)
        for entry_id, fields in answer[0][1] if answer else ():
            self._last = entry_id.decode()
            for message in messages_from_bytes(fields[b"m"]):
                if isinstance(message, msgspec.MsgspecError):
                    log.error("message_unreadable", entry_id=self._last, error=str(message)[:300])
                    continue
                try:
                    self._hear(message, self._last)
                except Exception:
                    log.exception("message_failed", kind=type(message).__name__)
