"""A fleet gets new firmware in waves: one station first, and no further when it fails."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from csms import firmware_campaigns
from csms.commands import Outcome
from csms.database import Database
from csms.firmware_campaigns import CampaignRefused, Campaigns, Tally, may_go_on, prepare_campaign, start_campaign
from csms.firmware_campaigns import State as CampaignState
from csms.firmware_images import UnknownImage
from csms.journal import Wake
from csms.models import (
    FirmwareCampaign,
    FirmwareUpdate,
    Station,
)
from tests.csms.core_story import NOON, Story, told
from tests.csms.firmware_story import KEY, OLD, PUBLIC, alerts, answer, image, look, says

FLEET = tuple(f"CP{number}" for number in range(1, 9))


@pytest.mark.parametrize(
    ("state", "tally", "goes_on"),
    [
        (CampaignState.CANARY, Tally(open=1), True),
        (CampaignState.CANARY, Tally(failed=1), False),
        (CampaignState.RUNNING, Tally(installed=1, open=4), True),
        (CampaignState.RUNNING, Tally(installed=3, failed=1, open=1), True),  # 20 % exactly
        (CampaignState.RUNNING, Tally(installed=2, failed=1, open=1), False),
        (CampaignState.RUNNING, Tally(), True),
    ],
)
def test_when_a_campaign_may_go_on(state: CampaignState, tally: Tally, goes_on: bool) -> None:  # R08
    assert may_go_on(state, tally, 20) is goes_on


async def fleet(story: Story) -> None:
    story.site(*FLEET)
    for station_id in FLEET:
        await story.boot(station_id, firmware_version=OLD)
    with story.database.write() as connection:
        connection.execute(update(Station).values(connection_id="open"))


def campaign(story: Story) -> Any:
    (only,) = story.rows(FirmwareCampaign)
    return only


def advance(story: Story) -> list[str]:
    """The stations that were asked now."""
    before = {one.id for one in story.rows(FirmwareUpdate)}
    campaigns = Campaigns(story.database, public_url=PUBLIC, key=KEY, wake=Wake(), clock=lambda: story.now)
    begun = campaigns.advance()
    asked = [one for one in story.rows(FirmwareUpdate) if one.id not in before]
    assert len(asked) == begun
    for one in asked:
        assert one.requested_by == "job:firmware-campaign-1"
        answer(story, one.id)
    return [one.station_id for one in asked]


async def test_a_campaign_begins_with_one_station_and_goes_on_in_waves(database: Database, tmp_path: Path) -> None:
    async with told(database) as story:  # R08
        await fleet(story)
        new = image(story, tmp_path)
        with database.write() as connection:
            connection.execute(update(Station).where(Station.station_id == "CP8").values(connection_id=None))  # away
            connection.execute(update(Station).where(Station.station_id == "CP7").values(firmware_version="v2.0"))
            campaign_id = prepare_campaign(connection, "acme", "x", new, wave_size=4, created_by="test", now=NOON)
        assert advance(story) == []  # a draft waits for a person
        with database.write() as connection:
            start_campaign(connection, campaign_id, now=story.now)
            with pytest.raises(CampaignRefused):
                start_campaign(connection, campaign_id, now=story.now)
        assert (advance(story), advance(story)) == (["CP1"], [])
        await says(story, "Installed")
        assert (advance(story), advance(story)) == (["CP2", "CP3", "CP4", "CP5"], [])
        for station_id in ("CP2", "CP3", "CP4"):
            await says(story, "Installed", station_id=station_id)
        assert advance(story) == []  # one wave after the other
        await says(story, "DownloadFailed", station_id="CP5")
        assert advance(story) == ["CP6"]
        await says(story, "Installed", station_id="CP6")
        assert (advance(story), campaign(story).state) == ([], "running")  # one is away
        with database.write() as connection:
            connection.execute(update(Station).where(Station.station_id == "CP8").values(connection_id="open"))
        assert advance(story) == ["CP8"]
        await says(story, "Installed", station_id="CP8")
        advance(story)
        assert (campaign(story).state, campaign(story).wave) == ("done", 4)
        with database.read() as connection:
            ((_, tally, missing),) = firmware_campaigns.campaigns(connection)
        assert (tally, missing) == (Tally(installed=6, failed=1), 0)


async def test_a_campaign_pauses_by_itself_and_is_resumed_by_a_person(database: Database, tmp_path: Path) -> None:
    async with told(database) as story:  # R08
        await fleet(story)
        with database.write() as connection:
            campaign_id = prepare_campaign(connection, "Acme", "X", None, wave_size=5, created_by="t", now=NOON)
            with pytest.raises(CampaignRefused, match="no image"):
                start_campaign(connection, campaign_id, now=NOON)
        new = image(story, tmp_path)
        with database.write() as connection:
            start_campaign(connection, campaign_id, image_id=new, now=NOON)
        assert advance(story) == ["CP1"]
        await says(story, "InstallationFailed")
        story.pass_time(minutes=1)
        assert (advance(story), campaign(story).state) == ([], "paused")
        assert campaign(story).detail == "1 of 1 stations failed or are stuck"
        assert ("firmware_campaign_paused", "1") in alerts(story)
        with database.write() as connection:
            start_campaign(connection, campaign_id, now=story.now)
        assert ("firmware_campaign_paused", "1") not in alerts(story)
        assert (advance(story), campaign(story).state) == (["CP2"], "canary")  # alone again: none has arrived
        await says(story, "Installed", station_id="CP2")
        assert advance(story) == ["CP3", "CP4", "CP5", "CP6", "CP7"]
        await says(story, "DownloadFailed", station_id="CP3")
        assert (advance(story), campaign(story).state) == ([], "running")  # 1 of 6
        await says(story, "Installing", station_id="CP4")
        story.pass_time(minutes=31)
        look(story)
        assert (advance(story), campaign(story).state) == ([], "paused")  # a bricked one counts
        with database.write() as connection:
            firmware_campaigns.cancel_campaign(connection, campaign_id, now=story.now)
            with pytest.raises(CampaignRefused):
                start_campaign(connection, campaign_id, now=story.now)
        assert advance(story) == []


async def test_a_station_that_was_not_reached_is_asked_again(database: Database, tmp_path: Path) -> None:  # R08
    async with told(database) as story:
        await fleet(story)
        new = image(story, tmp_path)
        with database.write() as connection:
            draft = prepare_campaign(connection, "Acme", "X", new, created_by="t", now=NOON)
            start_campaign(connection, draft, now=NOON)
        campaigns = Campaigns(database, public_url=PUBLIC, key=KEY, wake=Wake(), clock=lambda: story.now)
        campaigns.advance()
        answer(story, 1, Outcome.OFFLINE)
        campaigns.advance()
        assert [(one.station_id, one.state) for one in story.rows(FirmwareUpdate)] == [
            ("CP1", "failed"),
            ("CP1", "requested"),
        ]
        assert campaign(story).state == "canary"


async def test_a_station_that_charges_is_left_for_later(database: Database, tmp_path: Path) -> None:  # R08
    async with told(database) as story:
        await fleet(story)
        story.card()
        await story.start(station_id="CP1")
        new = image(story, tmp_path)
        with database.write() as connection:
            start_campaign(
                connection, prepare_campaign(connection, "Acme", "X", new, created_by="t", now=NOON), now=NOON
            )
        assert advance(story) == ["CP2"]


async def test_a_station_that_cannot_be_asked_holds_up_no_other(database: Database, tmp_path: Path) -> None:  # R08
    async with told(database) as story:
        endless = "A" * 200 + "/" * 150  # whose address would be too long for it; it is the first of all
        story.site(endless)
        await fleet(story)
        await story.boot(endless, firmware_version=OLD)
        new = image(story, tmp_path)
        with database.write() as connection:
            connection.execute(update(Station).values(connection_id="open"))
            start_campaign(
                connection, prepare_campaign(connection, "Acme", "X", new, created_by="t", now=NOON), now=NOON
            )
        assert advance(story) == [FLEET[0]]


async def test_a_campaign_for_another_make_is_refused(database: Database, tmp_path: Path) -> None:  # F07
    async with told(database) as story:
        of_x, of_all = image(story, tmp_path), image(story, tmp_path, model=None, version="3.0")
        with database.write() as connection:
            for vendor, model, of in (
                ("Other", "X", of_x),
                ("Acme", "Y", of_x),
                ("Acme", None, of_x),
                ("Other", None, of_all),
            ):
                with pytest.raises(CampaignRefused):
                    prepare_campaign(connection, vendor, model, of, created_by="t", now=NOON)
            with pytest.raises(UnknownImage):
                prepare_campaign(connection, "Acme", "X", 99, created_by="t", now=NOON)
            for model in ("X", None):
                prepare_campaign(connection, "Acme", model, of_all, created_by="t", now=NOON)
        assert [one.state for one in story.rows(FirmwareCampaign)] == ["draft", "draft"]
