"""The quirks of one connection: what passes is fixed, each fix is counted, and what a fix remembers lives as long."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from csms.commands import Command
from csms.events import Event
from csms.gateway import frames
from csms.gateway.frames import Frame, Unreadable
from csms.gateway.quirks.catalogue import Quirk
from csms.gateway.quirks.fixes import FIXES, CommandFix, EventFix, TextFix


class Applied:
    """Of a station with at least one quirk that acts; all others have none of this. `quirks` are those it was made for."""

    __slots__ = ("_commands", "_counts", "_events", "_texts", "pings", "quirks")

    def __init__(self, quirks: Sequence[Quirk], counts: Counter[str]) -> None:
        fixes = [(quirk.id, FIXES[quirk.fix]) for quirk in quirks]
        self.quirks = tuple(quirks)
        self.pings = all(fix.pings for _, fix in fixes)
        self._counts = counts
        self._texts: list[tuple[str, TextFix]] = [(id, fix.text) for id, fix in fixes if fix.text]
        self._events: list[tuple[str, EventFix]] = [(id, fix.event()) for id, fix in fixes if fix.event]
        self._commands: list[tuple[str, CommandFix]] = [(id, fix.command) for id, fix in fixes if fix.command]

    def reread(self, data: bytes | bytearray, unreadable: Unreadable) -> Frame:
        """What was no frame, read again with its text fixed; `unreadable` when that does not help."""
        for id, fix in self._texts:
            fixed = fix(bytes(data))
            if fixed != data and not isinstance(frame := frames.parse(fixed), Unreadable):
                self._count(id)
                return frame
        return unreadable

    def event(self, event: Event[Any]) -> Event[Any] | None:
        """None: answer it, and tell nobody."""
        for id, fix in self._events:
            fixed = fix(event)
            if fixed is not event:
                self._count(id)
            if fixed is None:
                return None
            event = fixed
        return event

    def command(self, command: Command[Any]) -> Command[Any]:
        for id, fix in self._commands:
            fixed = fix(command)
            if fixed is not command:
                self._count(id)
            command = fixed
        return command

    def _count(self, id: str) -> None:
        self._counts[f"quirk:{id}"] += 1


def apply(quirks: Sequence[Quirk], counts: Counter[str], former: Applied | None = None) -> Applied | None:
    """None when there is nothing to do on this connection; `former`, with all it remembers, when nothing changed."""
    acting = tuple(quirk for quirk in quirks if FIXES[quirk.fix].acts)
    if former is not None and former.quirks == acting:
        return former
    return Applied(acting, counts) if acting else None
