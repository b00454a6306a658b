"""Who asks the same of the database at the same moment is answered by one look, not by one each."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

LONG_S = 1.0  # a look that takes longer does not hold up the next any more


class Together(Generic[K, V]):
    """A look in a thread is for all who came while the one before was under way. Nothing is kept: who asks later is answered
    by a later look."""

    def __init__(self, look: Callable[[Sequence[K]], Mapping[K, V]], *, long_s: float = LONG_S) -> None:
        """`look` answers every key it is given; what it raises is raised to all who asked."""
        self._look = look
        self._long_s = long_s
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._looking = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, key: K) -> V:
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if not self._looking:
            self._looking = True
            self._spawn(self._look_for_all())
        return await future

    async def _look_for_all(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await asyncio.wait([self._spawn(self._answer(asked))], timeout=self._long_s)
        finally:
            self._looking = False

    async def _answer(self, asked: Sequence[tuple[K, asyncio.Future[V]]]) -> None:
        try:
            found = await asyncio.to_thread(self._look, list(dict.fromkeys(key for key, _ in asked)))
            for key, future in asked:
                if not future.done():
                    future.set_result(found[key])
        except Exception as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in asked:
                future.cancel()  # of those that are not done: we are being stopped

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
