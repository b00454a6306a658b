"""A stream is worked by one worker at a time; the living share the streams evenly, and a dead one's are taken over."""

import time
from collections.abc import Collection, Sequence
from typing import Final

import structlog

from csms.bus import names
from csms.bus.client import Client

log = structlog.get_logger(__name__)

LEASE_S: Final = 5.0

# KEYS: leases; ARGV: me, milliseconds, how many I want. Returns those I had and those I took, as indices of KEYS.
TAKE: Final = """
local kept, gained = {}, {}
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then
    redis.call('PEXPIRE', key, ARGV[2])
    kept[#kept + 1] = i - 1
  end
end
for i, key in ipairs(KEYS) do
  if #kept + #gained >= tonumber(ARGV[3]) then break end
  if redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then gained[#gained + 1] = i - 1 end
end
return {kept, gained}
"""
GIVE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def share(streams: int, workers: int) -> int:
    """How many one worker may hold, so that none is left over."""
    return -(-streams // max(1, workers))


class Leases:
    """`held`: streams that are ours now. A lease that could not be renewed in time is not ours any more, whatever we think
    (`valid`); what was taken under it is handled once all the same."""

    def __init__(self, client: Client, *, process_id: str, streams: int) -> None:
        self._client = client
        self._process_id = process_id
        self._keys = [names.lease(stream) for stream in range(streams)]
        self._until = 0.0
        self.held: frozenset[int] = frozenset()
        self.leaving: frozenset[int] = frozenset()  # held, but more than our share: nothing more is read from them

    @property
    def valid(self) -> bool:
        return time.monotonic() < self._until

    async def renew(self, workers: int) -> Collection[int]:
        """Keeps what is ours and takes what is free, up to our share; returns what was gained, which may hold another's
        unfinished work."""
        fair = share(len(self._keys), workers)
        began = time.monotonic()
        arguments = (self._process_id, int(LEASE_S * 1000), fair)
        answer = await self._client.script(TAKE, self._keys, *arguments)
        kept, gained = (frozenset(one) for one in answer)
        lost = self.held - kept - gained
        self._until = began + LEASE_S
        self.held = kept | gained
        self.leaving = frozenset(sorted(self.held)[fair:])
        if gained or lost:
            log.info("streams", held=sorted(self.held), gained=sorted(gained), lost=sorted(lost))
        return sorted(gained)

    def lapse(self) -> None:
        """When the time is over and Redis could not be asked."""
        if self.held and not self.valid:
            log.warning("streams_lost", lost=sorted(self.held))
            self.held = self.leaving = frozenset()

    async def give(self, streams: Sequence[int]) -> None:
        for stream in streams:
            await self._client.script(GIVE, [self._keys[stream]], self._process_id)
            self.held -= {stream}
            self.leaving -= {stream}
