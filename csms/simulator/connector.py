"""A connector: what it shows, what is plugged into it, and the transaction that runs on it."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from csms.simulator.meter import Meter
from csms.simulator.wire import Payload


@dataclass(kw_only=True)
class Transaction:
    """`transaction_id` and `authorization` are the CSMS's and None until its answer arrived, which offline takes a while;
    `energy_mwh` is what the car really got, known when it ended."""

    connector: int
    id_token: str
    started_at: datetime
    transaction_id: int | None = None
    authorization: str | None = None
    energy_mwh: int = 0
    begin_sample: Payload | None = None
    reservation_id: int | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        return self.over.is_set()


@dataclass(kw_only=True)
class Connector:
    number: int
    meter: Meter
    status: str = "Available"
    operative: bool = True
    inoperative_after: bool = False  # ChangeAvailability was Scheduled behind the running transaction
    plugged: bool = False
    transaction: Transaction | None = None

    @property
    def running(self) -> Transaction | None:
        return self.transaction if self.transaction and not self.transaction.ended else None


@dataclass(frozen=True, kw_only=True)
class RemoteStart:
    """A RemoteStartTransaction that was accepted; starting is up to whoever drives the charger."""

    connector: int
    id_token: str
