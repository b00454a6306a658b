"""What it costs to count a frame and the time of its answer for /metrics."""

import time
from datetime import UTC, datetime

from csms.bus import LoggedFrame
from csms.measures import Frames
from csms.metrics import Metrics

FRAMES = 20_000


def microseconds_a_frame(rounds: int = 5) -> float:
    """The best of several rounds, half of the frames being answers whose time is told too."""
    metrics = Metrics()
    frames = Frames(answered=metrics.seconds("answer", "a", "action"), obeyed=metrics.seconds("command", "b", "action"))
    at = datetime.now(UTC)
    both = [
        LoggedFrame(
            at=at,
            station_id="CP1",
            ocpp_version="1.6",
            direction=direction,
            message_type=kind,
            action="MeterValues",
            latency_ms=latency_ms,
            text="",
        )
        for direction, kind, latency_ms in (("in", "call", None), ("out", "result", 3.2))
    ]
    batch = both * (FRAMES // 2)
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        frames.count(batch)
        best = min(best, time.process_time() - began)
    return best / FRAMES * 1e6
