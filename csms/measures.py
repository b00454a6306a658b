"""What happens often is counted so that counting costs next to nothing, and is added up when somebody asks."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from csms.bus import LoggedFrame

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
OTHER = "other"  # an action that nobody knows: whatever chargers make up must not become series without end

UNDERSTOOD = ("ok", "violation")

FRAME_LABELS = ("ocpp_version", "direction", "type", "action", "result")


class Distribution:
    """How many were how large, for each key; `add` may be called by any thread, and costs a third of a microsecond."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._found: dict[str, list[float]] = {}  # how many up to each bound, beyond the last, and their sum
        self._lock = threading.Lock()

    def add(self, key: str, *values: float) -> None:
        with self._lock:
            found = self._found.get(key)
            if found is None:
                found = self._found[key] = [0] * (len(self._bounds) + 2)
            for value in values:
                found[bisect_left(self._bounds, value)] += 1
                found[-1] += value

    def read(self) -> Iterator[tuple[str, Sequence[tuple[str, float]], float]]:
        """(key, [(bound, how many up to it)], sum), as Prometheus has it."""
        with self._lock:
            found = {key: list(numbers) for key, numbers in sorted(self._found.items())}
        for key, (*numbers, total) in found.items():
            sums, so_far = [], 0.0
            for bound, number in zip([*map(str, self._bounds), "+Inf"], numbers, strict=True):
                so_far += number
                sums.append((bound, so_far))
            yield key, sums, total


class Frames:
    """Frames by action and result, and how long answers took, counted where the message log is written: no charger waits
    for it. `answered` and `obeyed` are told (action, *seconds)."""

    def __init__(self, *, answered: Callable[..., None], obeyed: Callable[..., None]) -> None:
        self._answered = answered
        self._obeyed = obeyed
        self._known: set[str] = set()
        self._counts: Counter[tuple[str, str, str, str, str]] = Counter()

    def count(self, frames: Sequence[LoggedFrame]) -> None:
        counts: dict[tuple[str, str, str, str, str], int] = {}
        took: dict[tuple[str, str], list[float]] = {}
        for frame in frames:
            action, result, latency_ms = frame.action, frame.result, frame.latency_ms
            if action not in self._known:
                if result in UNDERSTOOD:
                    self._known.add(action)
                else:
                    action = OTHER
            key = (frame.ocpp_version, frame.direction, frame.message_type, action, result)
            counts[key] = counts.get(key, 0) + 1
            if latency_ms is not None:
                took.setdefault((frame.direction, action), []).append(latency_ms / 1000)
        self._counts.update(counts)
        for (direction, action), seconds in took.items():
            (self._answered if direction == "out" else self._obeyed)(action, *seconds)

    def read(self) -> Mapping[tuple[str, ...], float]:
        return {key: float(count) for key, count in self._counts.copy().items()}
