"""Who asks at the same moment is answered by one look; a slow or failed one harms only those who asked it."""

import asyncio
import threading
from collections.abc import Mapping, Sequence

import pytest

from csms.together import Together


class Looks:
    """Answers each key with itself, after `go`; `asked` is what each look was asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.go = threading.Event()
        self.broken: set[str] = set()

    def __call__(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(keys)
        assert self.go.wait(30)
        if self.broken.intersection(keys):
            raise LookupError
        return {key: f"of {key}" for key in keys}


async def begun(looks: Looks, count: int) -> None:
    async with asyncio.timeout(30):
        while len(looks.asked) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_all_who_come_meanwhile_share_the_next_look() -> None:
    looks = Looks()
    together = Together(looks, long_s=30)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(together.ask("a"))
        await begun(looks, 1)
        later = [tasks.create_task(together.ask(key)) for key in ("b", "c", "b", "a")]
        await asyncio.sleep(0)
        looks.go.set()
    assert looks.asked == [["a"], ["b", "c", "a"]]  # "a" again: what was seen before is not told to who asks later
    assert first.result() == "of a"
    assert [task.result() for task in later] == ["of b", "of c", "of b", "of a"]
    assert await together.ask("d") == "of d"


async def test_a_look_that_fails_is_told_to_those_who_asked_it() -> None:
    looks = Looks()
    looks.go.set()
    looks.broken = {"bad"}
    together = Together(looks)
    failed = await asyncio.gather(together.ask("bad"), together.ask("beside"), return_exceptions=True)
    assert [type(error) for error in failed] == [LookupError, LookupError]
    assert await together.ask("good") == "of good"


async def test_a_look_that_takes_long_does_not_hold_up_the_next() -> None:
    looks = Looks()
    together = Together(looks, long_s=0.01)
    stuck = asyncio.create_task(together.ask("slow"))
    await begun(looks, 1)
    waits = asyncio.create_task(together.ask("next"))
    await begun(looks, 2)
    looks.go.set()
    assert (await stuck, await waits) == ("of slow", "of next")


async def test_who_gave_up_is_not_missed() -> None:
    looks = Looks()
    together = Together(looks)
    impatient, patient = asyncio.create_task(together.ask("x")), asyncio.create_task(together.ask("x"))
    await begun(looks, 1)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    looks.go.set()
    assert await patient == "of x"
