"""How a link writes down each frame of its charger (A04)."""

import time
from abc import abstractmethod
from datetime import datetime
from typing import Protocol

from csms.gateway.frames import Json


class Recording(Protocol):
    """The words of `record` are those of bus.LoggedFrame. `at` None: now."""

    __slots__ = ()

    @abstractmethod
    def record(
        self,
        direction: str,
        message_type: str,
        message_id: Json,
        action: str,
        text: str,
        *,
        result: str = "ok",
        latency_ms: float | None = None,
        at: datetime | None = None,
    ) -> None: ...


def ms_since(moment: float) -> float:
    """Milliseconds since a time.perf_counter(), to the microsecond."""
    return int((time.perf_counter() - moment) * 1_000_000) / 1000
