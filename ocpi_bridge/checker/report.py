"""What a check found: each deviation once, however many objects share it, and nothing secret in it."""

import base64
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ocpi_bridge.checker.rules import RULES, Level

__all__ = ["Finding", "Level", "Report"]

SEEN_MAX = 160
FINDINGS_MAX = 1_000  # a platform may invent as many field names as it likes
MORE = f"findings beyond {FINDINGS_MAX}"
REDACTED = "(token)"
ORDER = {Level.MUST: 0, Level.SHOULD: 1, Level.INFO: 2}


@dataclass(kw_only=True)
class Finding:
    """`where` names the first place; `count` says in how many the same was seen."""

    id: str
    level: Level
    where: str
    seen: str
    due: str
    count: int = 1

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "level": self.level.value,
            "where": self.where,
            "seen": self.seen,
            "due": self.due,
            "count": self.count,
        }

    def __str__(self) -> str:
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        return f"{self.level.value:6} {self.id}  {self.where}: {self.seen}{more}; due: {self.due}"


@dataclass(kw_only=True)
class Report:
    """`secrets` never stand in it, neither as they are nor in Base64. `unread` says what the limits kept from being read.

    `shut`: the token opens no module, so nothing of them was checked."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    version: str | None = None
    requests: int = 0
    read: dict[str, int] = field(default_factory=dict)
    shut: bool = False
    unread: list[str] = field(default_factory=list)
    _found: dict[tuple[str, str, Level], Finding] = field(default_factory=dict)

    def add(self, id: str, where: str, seen: str, *, kind: str | None = None, level: Level | None = None) -> None:
        """`kind` is what `where` is one example of: findings of one id and kind are one."""
        rule = RULES[id]
        level = level or rule.level
        key = (id, kind or where, level)
        known = self._found.get(key)
        if known is not None:
            known.count += 1
            return
        if len(self._found) >= FINDINGS_MAX:
            if MORE not in self.unread:
                self.unread.append(MORE)
            return
        self._found[key] = Finding(id=id, level=level, where=self._plain(where), seen=self._plain(seen), due=rule.due)

    def findings(self) -> list[Finding]:
        """The gravest first, otherwise in the order in which they were met."""
        return sorted(self._found.values(), key=lambda finding: ORDER[finding.level])

    def count(self, level: Level) -> int:
        return sum(finding.level is level for finding in self._found.values())

    @property
    def clean(self) -> bool:
        """Whether nothing that MUST be is otherwise."""
        return not self.count(Level.MUST)

    def summary(self) -> str:
        read = ", ".join(f"{count} {module}" for module, count in self.read.items()) or "no objects"
        line = (
            f"OCPI {self.version}: {self.count(Level.MUST)} deviations of MUST, {self.count(Level.SHOULD)} of SHOULD, "
            f"{self.count(Level.INFO)} remarks; {self.requests} requests read {read}"
        )
        return f"{line}; not read: {', '.join(self.unread)}" if self.unread else line

    def _plain(self, text: str) -> str:
        for secret in _readings(self.secrets):
            text = text.replace(secret, REDACTED)
        text = "".join(c if c.isprintable() else f"<{unicodedata.name(c, hex(ord(c)))}>" for c in text)
        return text if len(text) <= SEEN_MAX else f"{text[:SEEN_MAX]}..."


def _readings(secrets: tuple[str, ...]) -> Iterator[str]:
    for secret in filter(None, secrets):
        yield secret
        yield base64.b64encode(secret.encode()).decode()


def short(value: Any) -> str:
    """A value as it is shown, a whole object as what it is. Not cut: a secret is found in whole texts only."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value) if isinstance(value, str) else str(value)


def kind_of(path: str) -> str:
    """A path without its numbers: what many objects have in common."""
    return re.sub(r"\[\d+\]", "[]", path)
