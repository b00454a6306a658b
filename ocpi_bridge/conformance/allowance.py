"""One partner's haste is its own: who asks too often is told when to come again, the others are served (TR-37)."""

import math
import time
from collections.abc import Callable

BURST_S = 10  # so many seconds' worth may come at once


class Allowance:
    """A bucket for each partner that fills at `per_minute`; 0 limits nobody. Of one process, and forgotten with it."""

    def __init__(self, per_minute: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_minute / 60
        self._most = max(self._per_s * BURST_S, 1.0)
        self._monotonic = monotonic
        self._left: dict[int, tuple[float, float]] = {}  # by partner: how many, and when

    def wait_s(self, partner_id: int) -> int:
        """0: go on, and one less is left. Otherwise the whole seconds after which there is one again."""
        if not self._per_s:
            return 0
        now = self._monotonic()
        left, at = self._left.get(partner_id, (self._most, now))
        left = min(left + (now - at) * self._per_s, self._most)
        enough = left >= 1
        self._left[partner_id] = (left - enough, now)
        return 0 if enough else math.ceil((1 - left) / self._per_s)
