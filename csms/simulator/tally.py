"""What a fleet under load has sent, what came back and how soon, in memory that does not grow with its messages."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(slots=True, kw_only=True)
class Played:
    """A transaction as its charger knows it. Its samples went out in order, each `step_wh` above the one before, so those
    that were acknowledged are the first `acknowledged` of `samples`. `number` None: no StartTransaction.conf came."""

    station_id: str
    started_at: str
    meter_start_wh: int
    step_wh: int
    number: int | None = None
    samples: int = 0
    acknowledged: int = 0
    stopped: bool = False
    stop_acknowledged: bool = False


@dataclass(kw_only=True)
class Tally:
    """What all chargers of a run count together. A call that was `cut` went down with its line and, where it matters, was
    sent again; one that is `silent` was never answered though the line was up."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    asked: Counter[str] = field(default_factory=Counter)  # by the CSMS
    turned_away: Counter[str] = field(default_factory=Counter)  # connections, by reason
    cards_refused: int = 0
    boots_refused: int = 0
    dropped: int = 0  # transaction messages that were refused for good
    latencies: Mapping[str, Latencies] = field(default_factory=lambda: defaultdict(Latencies))
    in_storm: Latencies = field(default_factory=Latencies)  # of those who stayed connected while others came back
    reconnects: Latencies = field(default_factory=Latencies)  # from the cut to the last answer of Boot and statuses
    delivered_late: int = 0  # transaction messages that had waited for a line
    played: list[Played] = field(default_factory=list)
    up: int = 0
