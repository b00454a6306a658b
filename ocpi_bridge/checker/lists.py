"""A list is asked in every way a puller asks: to its end, in small pages, beyond the end, from and to a time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ocpi_bridge.checker import envelope
from ocpi_bridge.checker.asking import Answer, Asker, with_query
from ocpi_bridge.checker.fields import moment
from ocpi_bridge.checker.objects import identity, judge, name_of
from ocpi_bridge.checker.report import Report, kind_of
from ocpi_bridge.checker.rules import UNIQUE
from ocpi_bridge.emsp_wire import next_page

ALL_TIMES = "2000-01-01T00:00:00Z"
BEYOND = 1_000_000


@dataclass(kw_only=True)
class Listed:
    """`whole`: read to its end, so what is not in it is not there."""

    entries: list[Any] = field(default_factory=list)
    whole: bool = False


class Lists:
    def __init__(self, ask: Asker, report: Report, version: str, *, max_pages: int) -> None:
        self._ask = ask
        self._report = report
        self._version = version
        self._max_pages = max_pages

    async def read(self, module: str, kind: str, url: str) -> Listed | None:
        """None when it could not be read at all, which is then reported."""
        base = with_query(url, date_from=ALL_TIMES) if module == "sessions" else url
        first = await self._ask.get(base)
        if not self._is_page(module, first):
            return None
        listed = await self._crawl(module, base, first)
        self._report.read[module] = len(listed.entries)
        self._judge(module, kind, listed.entries)
        await self._same_again(module, base, first)
        await self._small_pages(module, base, listed)
        await self._beyond(module, base)
        await self._times(module, url, listed)
        await self._parameters(module, url, base)
        return listed

    # ---- to the end --------------------------------------------------------------------------------------------------

    async def _crawl(self, module: str, base: str, first: Answer) -> Listed:
        listed = Listed()
        answer, url, seen = first, base, {base}
        while True:
            listed.entries += answer.data
            following = next_page(url, answer.headers)
            if following is None:
                listed.whole = True
                break
            if following in seen:
                self._report.add("PG-12", module, "a next link leads back to where it came from")
                break
            if len(seen) >= self._max_pages:
                self._report.unread.append(f"{module} after {len(seen)} pages")
                break
            seen.add(following)
            answer, url = await self._ask.get(following), following
            if not self._is_page(module, answer):
                break
        total = _number(first, "x-total-count")
        if listed.whole and total is not None and total != len(listed.entries):
            again = _number(await self._ask.get(base), "x-total-count")
            if again == total:  # else the list has changed while it was read
                self._report.add("PG-05", module, f"X-Total-Count {total}, and {len(listed.entries)} are listed")
        return listed

    def _is_page(self, module: str, answer: Answer) -> bool:
        """Whether it is a list, after everything that is wrong with it as a page was reported."""
        if not answer.ok:
            self._report.add("PG-15", module, str(answer))
            self._say(module, envelope.envelope(answer))
            return False
        self._say(module, envelope.envelope(answer))
        self._say(module, envelope.ids(answer, self._version))
        self._say(module, envelope.cardinality(answer, list))
        if not isinstance(answer.data, list):
            return False
        for id, name in (("PG-05", "X-Total-Count"), ("PG-06", "X-Limit")):
            told = answer.headers.get(name)
            if told is None or not told.strip().isdecimal():
                self._report.add(id, module, f"{name} {'is missing' if told is None else f'is {told!r}'}")
        limit = _number(answer, "x-limit")
        if limit is not None and len(answer.data) > limit:
            self._report.add("PG-06", module, f"X-Limit {limit}, and {len(answer.data)} objects")
        link = answer.headers.get("link")
        if link is not None and not link.strip():
            self._report.add("PG-07", module, "an empty Link header")
        elif link is not None and not re.search(r"<https?://[^<>]+>", link):
            self._report.add("PG-07", module, "a Link header without an absolute URL")
        return True

    def _judge(self, module: str, kind: str, entries: Sequence[Any]) -> None:
        seen: set[tuple[str, ...]] = set()
        for entry in entries:
            for wrong in judge(entry, kind, self._version):
                path = wrong.path.lstrip(".")
                self._report.add(
                    wrong.id,
                    f"{module} {name_of(entry)} {path}".strip(),
                    wrong.seen,
                    kind=f"{module} {kind_of(path)}",
                )
            key = identity(entry, module) if isinstance(entry, dict) else None
            if key is not None and key in seen:
                self._report.add(
                    UNIQUE.get(module, "HC-02"), f"{module} {name_of(entry)}", "listed twice", kind=f"{module} twice"
                )
            elif key is not None:
                seen.add(key)

    # ---- in other ways -----------------------------------------------------------------------------------------------

    async def _same_again(self, module: str, base: str, first: Answer) -> None:
        again = await self._ask.get(base)
        if again.ok and isinstance(again.data, list):
            before, after = _names(module, first.data), _names(module, again.data)
            both = min(len(before), len(after))
            if before[:both] != after[:both]:
                self._report.add("PG-11", module, "the same URL gave another page")

    async def _small_pages(self, module: str, base: str, listed: Listed) -> None:
        one = await self._ask.get(with_query(base, limit=1))
        if not one.ok or not isinstance(one.data, list):
            self._report.add("PG-04", f"{module}?limit=1", str(one))
            return
        if len(one.data) > 1:
            self._report.add("PG-04", f"{module}?limit=1", f"{len(one.data)} objects")
            return
        total = _number(one, "x-total-count")
        if total is not None and listed.whole and total != len(listed.entries) and total == len(one.data):
            self._report.add("PG-05", f"{module}?limit=1", f"X-Total-Count {total}, the size of the page")
        if len(listed.entries) < 2:
            return
        following = next_page(one.url, one.headers)
        if following is None:
            self._report.add("PG-07", f"{module}?limit=1", f"no next link, and {len(listed.entries)} objects")
        else:
            self._kept(module, one.url, following)
        second = await self._ask.get(with_query(base, limit=1, offset=1))
        await self._second(f"{module}?limit=1&offset=1", module, "PG-03", one, second, listed)
        if following is not None:
            await self._second(f"{module}, next link", module, "PG-07", one, await self._ask.get(following), listed)

    async def _second(self, where: str, module: str, id: str, one: Answer, second: Answer, listed: Listed) -> None:
        """Whether `second` holds the second object of the list."""
        if not second.ok or not isinstance(second.data, list) or not second.data:
            self._report.add(id, where, str(second) if not second.ok else "no object, and there is a second one")
        elif _names(module, second.data)[:1] == _names(module, one.data)[:1]:
            self._report.add(id, where, "the first object again")
        elif _names(module, second.data)[:1] != _names(module, listed.entries[1:2]):
            self._report.add("PG-10", where, "not the second object of the whole list")

    def _kept(self, module: str, url: str, following: str) -> None:
        """PG-08."""
        asked, linked = parse_qs(urlsplit(url).query), parse_qs(urlsplit(following).query)
        for name in ("date_from", "date_to", "limit"):
            if name in asked and _value(asked, name) != _value(linked, name):
                self._report.add("PG-08", f"{module}, next link", f"{name} is {'other' if name in linked else 'lost'}")

    async def _beyond(self, module: str, base: str) -> None:
        answer = await self._ask.get(with_query(base, offset=BEYOND))
        where = f"{module}?offset={BEYOND}"
        if not answer.ok:
            self._report.add("PG-03", where, str(answer))
        elif answer.data:
            self._report.add("PG-03", where, f"{len(answer.data)} objects")
        elif next_page(answer.url, answer.headers) is not None:
            self._report.add("PG-07", where, "a next link behind the end")

    async def _times(self, module: str, url: str, listed: Listed) -> None:
        """Asks from the newest time on and up to the oldest: whatever changed meanwhile, what comes must be in that range."""
        dated = [
            (at, entry["last_updated"], identity(entry, module))
            for entry in listed.entries
            if isinstance(entry, dict) and (at := moment(entry.get("last_updated")))
        ]
        if not dated:
            return
        newest, oldest = max(dated, key=lambda each: each[0]), min(dated, key=lambda each: each[0])
        answer = await self._ranged(module, with_query(url, date_from=newest[1]), "date_from", newest[0], None)
        if answer is not None and next_page(answer.url, answer.headers) is None:
            if newest[2] not in _names(module, answer.data):
                self._report.add("PG-02", f"{module}?date_from", "an object of that very time is left out")
            total = _number(answer, "x-total-count")
            if total is not None and total != len(answer.data):
                self._report.add("PG-05", f"{module}?date_from", f"X-Total-Count {total} of {len(answer.data)} objects")
        start = {"date_from": ALL_TIMES} if module == "sessions" else {}
        await self._ranged(module, with_query(url, **start, date_to=oldest[1]), "date_to", None, oldest[0])

    async def _ranged(
        self, module: str, url: str, name: str, since: datetime | None, until: datetime | None
    ) -> Answer | None:
        answer = await self._ask.get(url)
        if not answer.ok or not isinstance(answer.data, list):
            self._report.add("PG-02", f"{module}?{name}", str(answer))
            return None
        for entry in answer.data:
            at = moment(entry.get("last_updated")) if isinstance(entry, dict) else None
            if at is not None and ((since and at < since) or (until and at >= until)):
                self._report.add("PG-02", f"{module}?{name}", f"an object of {entry['last_updated']} outside the range")
                return None
        return answer

    async def _parameters(self, module: str, url: str, base: str) -> None:
        for text in ("limit=few", "date_from=yesterday"):
            name, value = text.split("=")
            answer = await self._ask.get(with_query(base, **{name: value}))
            if answer.status is not None and answer.status >= 500:
                self._report.add("TR-19", f"{module}?{text}", str(answer))
            elif (answer.status, answer.code) != (200, 2001):
                self._report.add("PG-17", f"{module}?{text}", str(answer))
        if module == "sessions":
            answer = await self._ask.get(url)
            if answer.status is not None and answer.status >= 500:
                self._report.add("TR-19", "sessions without date_from", str(answer))
            elif answer.code != 2001:
                self._report.add("SE-01", "sessions without date_from", str(answer))

    def _say(self, where: str, said: Any) -> None:
        for id, seen in said:
            self._report.add(id, where, seen)


def _number(answer: Answer, name: str) -> int | None:
    text = answer.headers.get(name, "").strip()
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _names(module: str, entries: Sequence[Any]) -> list[Any]:
    return [identity(entry, module) if isinstance(entry, dict) else None for entry in entries]


def _value(query: dict[str, list[str]], name: str) -> object:
    """Times are the same however they are written."""
    text = query.get(name, [""])[0]
    return moment(text) or text
