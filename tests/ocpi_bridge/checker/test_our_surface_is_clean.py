"""Our own platform holds what the checker asks of others."""

from crud.models import Partner
from tests.ocpi_bridge.checker.surface import Spoiler, checked, ids, our_surface, shown
from tests.ocpi_bridge.roaming_world import World


async def test_every_rule_that_is_checked_holds_for_us(world: World) -> None:
    spoiler = Spoiler()
    async with our_surface(world, spoiler) as url:
        report = await checked(world, url)
    assert ids(report) == set(), shown(report)
    assert report.clean
    assert report.version == "2.2.1"
    assert report.read == {"tariffs": 2, "locations": 2, "sessions": 2, "cdrs": 2}
    assert report.unread == []
    assert {method for method, _ in spoiler.seen} == {"GET"}


async def test_every_rule_of_211_that_is_checked_holds_for_us(world: World) -> None:  # VE-01, V1-01 to V1-11
    async with our_surface(world, Spoiler()) as url:
        world.change(Partner, Partner.name == "emsp", version="2.1.1")
        report = await checked(world, url, version="2.1.1")
    assert ids(report) == set(), shown(report)
    assert report.clean
    assert report.version == "2.1.1"
    assert report.read == {"tariffs": 2, "locations": 2, "sessions": 2, "cdrs": 2}
    assert report.unread == []
