"""What a fleet under load has sent, what came back and how soon, in memory that does not grow with its messages."""

from collections import Counter
from dataclasses import dataclass, field

from csms.simulator.latencies import Latencies
from csms.simulator.stages import Stages


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
    stages: Stages = field(default_factory=Stages)
    in_storm: Latencies = field(default_factory=Latencies)  # of those who stayed connected while others came back
    reconnects: Latencies = field(default_factory=Latencies)  # from the cut to the last answer of Boot and statuses
    delivered_late: int = 0  # transaction messages that had waited for a line
    played: list[Played] = field(default_factory=list)
    up: int = 0
