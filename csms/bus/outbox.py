"""What a process writes to Redis goes in order, all that waits in one round trip, and again until Redis confirmed it."""

import asyncio
from collections import deque
from typing import Any, Final

import structlog

from csms.bus import names
from csms.bus.client import AWAY, Client, ResponseError
from csms.bus.entries import Message, messages_to_bytes

log = structlog.get_logger(__name__)

AT_ONCE = 500  # commands in one round trip
PAUSE_S = 0.2  # after Redis could not be reached
INBOX_LENGTH = 10_000
INBOX_OUTLIVES_MS = 300_000  # its process
NOT_NOW: Final = ("LOADING", "READONLY", "OOM", "MISCONF", "MASTERDOWN", "NOREPLICAS", "BUSY ", "UNBLOCKED")


class Outbox:
    """Everything written twice must be harmless: events carry their id, and whoever reads an inbox knows what it waits for."""

    def __init__(self, client: Client) -> None:
        self._line = client.line()
        self._commands: deque[tuple[Any, ...]] = deque()
        self._letters: dict[str, list[Message]] = {}
        self._work = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, *command: Any) -> None:
        self._commands.append(command)
        self._wake()

    def tell(self, process_id: str, message: Message) -> None:
        """All that one process is told at a time is one entry of its inbox."""
        self._letters.setdefault(process_id, []).append(message)
        self._wake()

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._commands or self._letters:
                if not await self._write_next():
                    await asyncio.sleep(PAUSE_S)
            self._empty.set()

    async def emptied(self, within_s: float) -> None:
        """Returns when all that was put is written, or the time is over."""
        waiting = asyncio.ensure_future(self._empty.wait())  # not a timeout: whoever leaves is cancelled already
        await asyncio.wait([waiting], timeout=within_s)
        if not waiting.done():
            waiting.cancel()
            log.warning("bus_not_written", commands=len(self._commands), letters=len(self._letters))

    def _wake(self) -> None:
        self._work.set()
        self._empty.clear()

    async def _write_next(self) -> bool:
        """False when Redis did not take it: then it is kept."""
        letters, self._letters = self._letters, {}
        taken: list[tuple[Any, ...]] = []
        for process_id, messages in letters.items():
            key = names.inbox(process_id)
            data = messages_to_bytes(messages)
            taken.append(("XADD", key, "MAXLEN", "~", INBOX_LENGTH, "*", "m", data))
            taken.append(("PEXPIRE", key, INBOX_OUTLIVES_MS, "NX"))  # should its process be dead
        while self._commands and len(taken) < AT_ONCE:
            taken.append(self._commands.popleft())
        refused = taken
        try:
            answers = await self._line.write(taken)
            refused = [one for one, answer in zip(taken, answers, strict=True) if _not_now(one, answer)]
        except AWAY as error:
            log.warning("bus_away", waiting=len(taken) + len(self._commands), error=f"{type(error).__name__}: {error}")
        finally:
            self._commands.extendleft(reversed(refused))
        return not refused


def _not_now(command: tuple[Any, ...], answer: Any) -> bool:
    """Whether Redis refused it for now; what it refuses for good is told and left."""
    if not isinstance(answer, Exception):
        return False
    if isinstance(answer, ResponseError) and not str(answer).startswith(NOT_NOW):
        log.error("bus_command_refused", command=command[0], error=str(answer)[:300])
        return False
    return True
