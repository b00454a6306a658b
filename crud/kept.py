"""Objects as they were last rendered: one that looks as it did then is neither read nor rendered again."""

import threading
from collections.abc import Hashable, Mapping
from typing import TypeVar

from adapters.rendered import Rendered

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
