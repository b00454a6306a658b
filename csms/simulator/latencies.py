"""How long each of many calls took, in memory that does not grow with them."""

import math
from collections import Counter

STEPS_PER_E = 40  # latencies are kept in steps of 2.5 percent
FINEST_S = 1e-5


class Latencies:
    """A histogram: how many calls took how long."""

    __slots__ = ("_steps", "longest_s")

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()
        self.longest_s = 0.0

    def add(self, seconds: float) -> None:
        self._steps[int(math.log(max(seconds, FINEST_S) / FINEST_S) * STEPS_PER_E)] += 1
        self.longest_s = max(self.longest_s, seconds)

    def take_in(self, others: "Latencies") -> None:
        self._steps.update(others._steps)
        self.longest_s = max(self.longest_s, others.longest_s)

    @property
    def count(self) -> int:
        return self._steps.total()

    def percentile_ms(self, share: float) -> float:
        """At least this share took no longer, to 2.5 percent; 0 of nothing."""
        left = math.ceil(share * self.count)
        for step in sorted(self._steps):
            left -= self._steps[step]
            if left <= 0:
                return 1000 * min(self.longest_s, FINEST_S * math.exp((step + 1) / STEPS_PER_E))
        return 0.0

    def told(self) -> dict[str, float]:
        return {
            "calls": self.count,
            "p50_ms": round(self.percentile_ms(0.50), 2),
            "p99_ms": round(self.percentile_ms(0.99), 2),
            "longest_ms": round(self.longest_s * 1000, 2),
        }
