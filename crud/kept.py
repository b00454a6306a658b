"""Objects, and pages of them, as they were last rendered: what looks as it did then is neither read nor rendered again."""

import threading
from collections.abc import Hashable, Mapping
from typing import TypeVar

from adapters.rendered import Rendered
from crud.location_pages import PageLook
from crud.pages import Joined

K = TypeVar("K", bound=Hashable)


class Kept:
    """By key, with how the object looked: whatever decides its rendering and is read at once for a whole page. The longest
    unchanged go first when there are more than `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[Hashable, tuple[object, Rendered]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def same(self, looks: Mapping[K, object]) -> dict[K, Rendered]:
        """Those of `looks` that look as they did."""
        with self._lock:
            known = [(key, look, self._kept.get(key)) for key, look in looks.items()]
        return {key: kept[1] for key, look, kept in known if kept is not None and kept[0] == look}

    def keep(self, looks: Mapping[K, object], fresh: Mapping[K, Rendered]) -> None:
        with self._lock:
            for key, rendered in fresh.items():
                self._kept.pop(key, None)
                self._kept[key] = (looks[key], rendered)
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]


PAGE_BYTES = 2_000  # what a page takes beside its bytes, though it be empty: each pull asks for another date_from
LOOK_BYTES = 200  # what each thing that decides how it looks takes


class KeptPages:
    """By what was asked, with how all of it looked. The longest unasked go first when they hold more than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: dict[Hashable, tuple[PageLook, Joined]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def same(self, asked: Hashable, look: PageLook) -> Joined | None:
        """The page that was kept, if it looks as it did."""
        with self._lock:
            kept = self._kept.pop(asked, None)
            if kept is None:
                return None
            if kept[0] == look:
                self._kept[asked] = kept
                return kept[1]
            self._bytes -= _weight(*kept)
            return None

    def keep(self, asked: Hashable, look: PageLook, page: Joined) -> None:
        with self._lock:
            before = self._kept.pop(asked, None)
            self._kept[asked] = (look, page)
            self._bytes += _weight(look, page) - (0 if before is None else _weight(*before))
            while self._bytes > self._most_bytes:
                self._bytes -= _weight(*self._kept.pop(next(iter(self._kept))))


def _weight(look: PageLook, page: Joined) -> int:
    return PAGE_BYTES + LOOK_BYTES * len(look[1]) + len(page.json_bytes)
