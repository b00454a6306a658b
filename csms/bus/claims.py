"""What a worker took and did not finish is found in its stream's group, and taken over with how often it was tried."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

from csms.bus import names
from csms.bus.client import Client, ResponseError

AT_ONCE: Final = 500
SUSPECT: Final = 3  # deliveries
MOST_DELIVERIES: Final = 5
FORGET_AFTER_MS: Final = 60_000

# KEYS: stream; ARGV: group, me, ms. Readers that died and left nothing: a redeploy would add one each time.
FORGET: Final = """
for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  if reader[2] ~= ARGV[2] and reader[4] == 0 and reader[6] > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], reader[2])
  end
end
"""


class Left(NamedTuple):
    entry_id: str
    deliveries: int


class Claims:
    def __init__(self, client: Client, *, process_id: str) -> None:
        self._client = client
        self._process_id = process_id

    async def prepare(self, stream: int) -> None:
        """The stream and its group are there, from its first entry on."""
        key = names.events(stream)
        try:
            await self._client.ask("XGROUP", "CREATE", key, names.GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        await self._client.script(FORGET, [key], names.GROUP, self._process_id, FORGET_AFTER_MS)

    async def left(self, stream: int, *, idle_ms: int) -> AsyncIterator[Sequence[Left]]:
        """What was delivered `idle_ms` ago or earlier and is not acknowledged, in order, to whomever it was delivered."""
        start = "-"
        while True:
            rows = await self._client.ask(
                "XPENDING", names.events(stream), names.GROUP, "IDLE", idle_ms, start, "+", AT_ONCE, parse_detail=True
            )
            left = [_left(row) for row in rows]
            if left:
                yield left
            if len(left) < AT_ONCE:
                return
            start = f"({left[-1].entry_id}"

    async def claim(self, stream: int, left: Sequence[Left]) -> Sequence[tuple[Left, dict[bytes, bytes]]]:
        """They are ours now; what was deleted meanwhile is left out."""
        if not left:
            return []
        entry_ids = [one.entry_id for one in left]
        key = names.events(stream)
        rows = await self._client.ask("XCLAIM", key, names.GROUP, self._process_id, 0, *entry_ids)
        by_id = {one.entry_id: one for one in left}
        return [(by_id[entry_id.decode()], fields) for entry_id, fields in rows if fields]


def _left(row: dict[str, Any]) -> Left:
    return Left(row["message_id"].decode(), row["times_delivered"])
