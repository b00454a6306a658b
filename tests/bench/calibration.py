"""How busy the machine is while something is measured: a loop that never changes, timed in between."""

import statistics
import time

TURNS = 200_000


class Calibration:
    """`best_ms` and `middle_ms` are of a million turns of an empty loop, in CPU. Far apart: others take the machine's caches
    and cores, and what was measured beside it cost more than it does alone."""

    def __init__(self) -> None:
        self._found: list[float] = []

    def turn(self) -> None:
        began = time.process_time()
        for _ in range(TURNS):
            pass
        self._found.append((time.process_time() - began) * 1000 * (1_000_000 / TURNS))

    @property
    def best_ms(self) -> float:
        return min(self._found)

    @property
    def middle_ms(self) -> float:
        return statistics.median(self._found)

    def __str__(self) -> str:
        return f"{self.best_ms:.1f} ms at best, {self.middle_ms:.1f} in the middle"
