"""Of the many who come at once a few are judged at a time, so that those who are here are served as before (X07)."""

import asyncio
from collections import Counter, OrderedDict
from typing import Protocol

TURN_S = 1.0  # a handshake that takes longer does not hold up the next any more


class Newcomer(Protocol):
    def take_turn(self) -> None:
        """Its turn has come."""
        ...


class Crowd:
    """`at_once` handshakes are judged at a time, and `in_line` more wait for their turn in the order in which they came; of
    one address `per_address` sockets may be open. Who waits is not read from, and so costs nothing meanwhile."""

    def __init__(self, *, at_once: int, in_line: int, per_address: int) -> None:
        self._at_once = at_once
        self._in_line = in_line
        self._per_address = per_address
        self._judged: dict[Newcomer, asyncio.TimerHandle] = {}
        self._line: OrderedDict[Newcomer, None] = OrderedDict()
        self._here: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Whoever comes now must come again later."""
        return len(self._line) >= self._in_line

    def come(self, newcomer: Newcomer) -> bool:
        """Whether its turn is now; else it is told when it is. `go` ends it."""
        if len(self._judged) < self._at_once:
            self._begin(newcomer)
            return True
        self._line[newcomer] = None
        return False

    def go(self, newcomer: Newcomer) -> None:
        """It was judged, or gave up. Repeats do nothing."""
        self._line.pop(newcomer, None)
        over = self._judged.pop(newcomer, None)
        if over is not None:
            over.cancel()
            self._call_next()

    def crowds(self, address: str) -> bool:
        """Whether this address holds all that one may."""
        return self._here[address] >= self._per_address

    def came(self, address: str) -> None:
        self._here[address] += 1

    def left(self, address: str) -> None:
        self._here[address] -= 1
        if not self._here[address]:
            del self._here[address]

    def _call_next(self) -> None:
        while self._line and len(self._judged) < self._at_once:
            newcomer, _ = self._line.popitem(last=False)
            self._begin(newcomer)
            newcomer.take_turn()

    def _begin(self, newcomer: Newcomer) -> None:
        self._judged[newcomer] = asyncio.get_running_loop().call_later(TURN_S, self.go, newcomer)
