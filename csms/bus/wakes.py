"""The processes wake one another when there is news; a wake may be lost, since everybody looks by himself now and then."""

import asyncio
from collections.abc import Callable, Collection, Set
from typing import Any, Final

import msgspec
import structlog

from csms.bus import names
from csms.bus.client import AWAY, Client
from csms.bus.outbox import PAUSE_S

log = structlog.get_logger(__name__)

GATHER_S: Final = 0.1  # many commits are one wake
LISTEN_S: Final = 5.0


class Woken(msgspec.Struct, frozen=True, array_like=True):
    """`kinds`: of news, each with the types it is of, None for any."""

    by: str
    kinds: dict[str, list[str] | None]


class Wakes:
    """Nothing is listened to before somebody wants to hear it: most of what is said concerns no gateway."""

    def __init__(self, client: Client, *, process_id: str) -> None:
        self._client = client
        self._line = client.line()
        self._process_id = process_id
        self._kinds: dict[str, set[str] | None] = {}
        self._news = asyncio.Event()
        self._heard: Callable[[str, Set[str] | None], None] = lambda *_: None
        self._wanted = asyncio.Event()

    def hear_by(self, heard: Callable[[str, Set[str] | None], None]) -> None:
        """`heard(kind, types)` is called for what another process said."""
        self._heard = heard
        self._wanted.set()

    def wake(self, kind: str, types: Collection[str] | None = None) -> None:
        """Returns at once. On the loop."""
        said = self._kinds.get(kind, set())
        self._kinds[kind] = None if said is None or types is None else {*said, *types}
        self._news.set()

    async def tell(self) -> None:
        """Publishes until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            kinds, self._kinds = self._kinds, {}
            told = {kind: None if types is None else sorted(types) for kind, types in kinds.items()}
            try:
                await self._line.ask("PUBLISH", names.WAKE, msgspec.msgpack.encode(Woken(self._process_id, told)))
            except AWAY:
                await asyncio.sleep(PAUSE_S)
            await asyncio.sleep(GATHER_S)

    async def listen(self) -> None:
        """Hears the others until cancelled."""
        await self._wanted.wait()
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await channel.subscribe(names.WAKE)
                    while True:
                        self._hear(await channel.get_message(ignore_subscribe_messages=True, timeout=LISTEN_S))
            except AWAY as error:
                log.warning("wakes_away", error=f"{type(error).__name__}: {error}"[:300])
                await asyncio.sleep(PAUSE_S)

    def _hear(self, message: dict[str, Any] | None) -> None:
        if message is None:
            return
        try:
            woken = msgspec.msgpack.decode(message["data"], type=Woken)
        except msgspec.MsgspecError:
            return
        if woken.by != self._process_id:
            for kind, types in woken.kinds.items():
                self._heard(kind, None if types is None else frozenset(types))
