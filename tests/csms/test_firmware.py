"""A station's way to new firmware: refused, sent, told step by step, proven by a Boot, stuck, failed."""

import itertools
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from csms import firmware, firmware_images, signed_urls
from csms.commands import Outcome
from csms.database import Database
from csms.firmware import MEANING, OPEN, WAY, State, UpdateRefused, told_state
from csms.firmware_images import ImageExists, ImageRefused, UnknownImage, keep_file
from csms.models import (
    ActualSetting,
    FirmwareImage,
    FirmwareUpdate,
    JournalEntry,
    RemoteRequest,
    Station,
)
from csms.remote import settle_lost
from csms.stations import UnknownStation
from tests.csms.core_story import NOON, told
from tests.csms.firmware_story import NEW, OLD, PUBLIC, alerts, answer, begin, image, look, row, says

# ---- the table of statuses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "status", "becomes"),
    [
        (State.SENT, "Downloading", State.DOWNLOADING),
        (State.REQUESTED, "Downloading", State.DOWNLOADING),  # faster than the answer was stored
        (State.REQUESTED, "Installed", None),  # of an earlier update
        (State.REQUESTED, "DownloadFailed", None),
        (State.DOWNLOADING, "DownloadPaused", None),
        (State.DOWNLOADING, "downloaded", State.DOWNLOADED),
        (State.DOWNLOADED, "SignatureVerified", None),
        (State.DOWNLOADED, "Downloading", None),  # out of order
        (State.DOWNLOADED, "Installing", State.INSTALLING),
        (State.INSTALLING, "InstallRebooting", None),
        (State.INSTALLING, "Idle", None),
        (State.INSTALLING, "Installed", State.INSTALLED),
        (State.SENT, "Installed", State.INSTALLED),  # all others were lost
        (State.INSTALLED, "InstallationFailed", None),
        (State.FAILED, "Downloading", None),
        (State.FAILED, "Installed", State.INSTALLED),  # it tried again by itself
        (State.CANCELLED, "Installed", None),
        (State.SENT, "Rebooting soon", None),
    ],
)
def test_what_a_status_makes_of_an_update(was: State, status: str, becomes: State | None) -> None:  # R07
    assert told_state(was, status, named=False) is becomes


def test_a_status_that_names_its_update_is_believed_before_the_answer() -> None:  # R07
    assert told_state(State.REQUESTED, "InvalidSignature", named=True) is State.FAILED


@given(st.lists(st.sampled_from(sorted(MEANING))), st.booleans())
def test_statuses_in_any_order_only_lead_on(statuses: list[str], named: bool) -> None:  # R07
    state = State.SENT
    for status in [one for one in statuses for _ in range(2)]:  # each is repeated
        becomes = told_state(state, status, named=named)
        if becomes is not None:
            assert state is not State.INSTALLED
            if becomes is not State.FAILED and state is not State.FAILED:
                assert WAY.index(becomes) > WAY.index(state)
            state = becomes


# ---- one station ------------------------------------------------------------------------------------------------------


async def test_an_update_is_followed_until_it_is_installed(database: Database, tmp_path: Path) -> None:  # R06, R07
    async with told(database) as story:
        story.site("CP1")
        await story.boot(firmware_version=OLD)
        update_id = begin(story, image(story, tmp_path))
        (asked,) = story.rows(RemoteRequest)
        assert (asked.kind, asked.state) == ("update_firmware", "queued")
        assert re.match(rf"{PUBLIC}/firmware/1/[0-9a-f]{{8}}-acme-2\.0\.bin\?station=CP1&", asked.command["url"])
        answer(story, update_id)
        states = [row(story, update_id).state]
        for status in (
            "Downloading",
            "Downloading",
            "Downloaded",
            "Downloading",
            "Installing",
            "Installed",
            "Installed",
        ):
            story.pass_time(minutes=1)
            await says(story, status)
            states.append(row(story, update_id).state)
        assert [state for state, _ in itertools.groupby(states)] == [
            "sent",
            "downloading",
            "downloaded",
            "installing",
            "installed",
        ]
        done = row(story, update_id)
        assert (done.evidence, done.version_before, done.status) == ("status", OLD, "Installed")
        assert done.finished_at == NOON + timedelta(minutes=6)
        (station,) = story.rows(Station)
        assert station.firmware_status == "Installed"
        facts = [entry for entry in story.rows(JournalEntry) if entry.type == "firmware_update"]
        assert [entry.data["state"] for entry in facts] == [
            "sent",
            "downloading",
            "downloaded",
            "installing",
            "installed",
        ]
        assert alerts(story) == []


async def test_an_end_before_its_time_is_of_an_earlier_update(database: Database, tmp_path: Path) -> None:  # R07
    async with told(database) as story:
        story.site("CP1")
        await story.boot("CP1", vendor="Acme", model="X", firmware_version=OLD)
        update_id = begin(story, image(story, tmp_path), retrieve_at=NOON + timedelta(hours=6))
        answer(story, update_id)
        await says(story, "DownloadScheduled", "Installed", "DownloadFailed")
        assert (row(story, update_id).state, alerts(story)) == ("sent", [])
        story.pass_time(hours=7)
        await says(story, "Installed")
        assert row(story, update_id).state == "installed"


async def test_an_update_that_cannot_be_meant_is_refused(database: Database, tmp_path: Path) -> None:  # R06
    async with told(database) as story:
        story.site("CP1", "CP2")
        await story.boot(firmware_version=OLD)
        await story.boot("CP2", vendor="Other", firmware_version=OLD)
        of_x = image(story, tmp_path)
        of_all = image(story, tmp_path, model=None, version="3.0")
        of_y = image(story, tmp_path, model="Y", version="4.0")
        for more, error in (
            ({"image_id": of_x, "station_id": "CP2"}, UpdateRefused),
            ({"image_id": of_y}, UpdateRefused),
            ({"image_id": of_x, "retrieve_at": NOON + timedelta(hours=24, seconds=1)}, UpdateRefused),
            ({"image_id": of_x, "signed": True}, UpdateRefused),
            ({"image_id": of_x, "install_at": NOON}, UpdateRefused),
            ({"image_id": 999}, UnknownImage),
            ({"image_id": of_x, "station_id": "NOBODY"}, UnknownStation),
            ({"image_id": of_x, "public_url": "https://" + "a" * 500}, signed_urls.AddressTooLong),
        ):
            with pytest.raises(error):
                begin(story, **more)  # type: ignore[arg-type]
        assert story.rows(FirmwareUpdate) == story.rows(RemoteRequest) == []
        update_id = begin(story, of_all, retrieve_at=NOON + timedelta(hours=24))
        with pytest.raises(UpdateRefused, match=f"update {update_id} is under way"):
            begin(story, of_x)
        with story.database.write() as connection:
            assert firmware.cancel(connection, update_id, now=NOON)
            assert not firmware.cancel(connection, update_id, now=NOON)
        begin(story, of_x)


async def test_an_image_is_kept_once_under_a_harmless_name(database: Database, tmp_path: Path) -> None:
    async with told(database) as story:
        with pytest.raises(ImageExists, match=str(image(story, tmp_path))):
            image(story, tmp_path)
        file = tmp_path / "..;rm -rf é.tar.gz"
        file.write_bytes(b"x")
        with story.database.write() as connection:
            kept_file = keep_file(tmp_path / "data", file)
            id_ = firmware_images.add_image(
                connection, kept_file, vendor="A", model=None, version="1", added_by="t", now=NOON
            )
            kept = firmware_images.image(connection, id_)
            with pytest.raises(ImageRefused):
                firmware_images.add_image(
                    connection,
                    kept_file,
                    vendor="A",
                    model=None,
                    version="1",
                    signature="s",
                    added_by="t",
                    now=NOON,
                )
        assert re.fullmatch(r"[0-9a-f]{8}-rm--rf-\.tar\.gz", kept.name)
        assert (tmp_path / "data" / "firmware" / kept.name).read_bytes() == b"x"
        assert len(list((tmp_path / "data" / "firmware").iterdir())) == len(story.rows(FirmwareImage)) == 2


async def test_a_signed_image_goes_signed_to_who_can_check_it(database: Database, tmp_path: Path) -> None:  # R07
    async with told(database) as story:
        story.site("CP1", "CP2")
        await story.boot("CP1", firmware_version=OLD)
        await story.boot("CP2", firmware_version=OLD)
        signed = image(story, tmp_path, signed=True)
        plain_id = begin(story, signed, "CP1")
        with database.write() as connection:
            setting = {"station_id": "CP2", "key": "SecurityProfile", "value": "1", "readonly": False, "read_at": NOON}
            connection.execute(ActualSetting.__table__.insert().values(**setting))
        signed_id = begin(story, signed, "CP2", install_at=NOON + timedelta(hours=3))
        commands = {asked.station_id: asked.command for asked in story.rows(RemoteRequest)}
        assert {name: command["type"] for name, command in commands.items()} == {
            "CP1": "update_firmware",
            "CP2": "update_firmware_signed",
        }
        assert (commands["CP2"]["request_id"], commands["CP2"]["certificate"]) == (signed_id, "PEM")
        answer(story, signed_id)
        await says(story, "SignatureVerified", station_id="CP2", request_id=signed_id + 7)  # of no update of ours
        assert row(story, signed_id).state == "sent"
        await says(story, "SignatureVerified", "InstallScheduled", station_id="CP2", request_id=signed_id)
        assert row(story, signed_id).state == "downloaded"
        await says(story, "InvalidSignature", station_id="CP2", request_id=signed_id)
        assert (row(story, signed_id).state, row(story, signed_id).detail) == ("failed", "InvalidSignature")
        assert alerts(story) == [("firmware_failed", str(signed_id))]
        assert row(story, plain_id).state == "requested"


@pytest.mark.parametrize(
    ("outcome", "state", "detail"),
    [
        (Outcome.OFFLINE, "failed", "offline"),
        (Outcome.NOT_SUPPORTED, "failed", "not_supported"),
        (Outcome.REJECTED, "failed", "rejected"),
        (Outcome.TIMEOUT, "sent", None),
    ],
)
async def test_an_update_that_was_not_taken_is_over(
    database: Database, tmp_path: Path, outcome: Outcome, state: str, detail: str | None
) -> None:  # R07
    async with told(database) as story:
        story.site("CP1")
        await story.boot(firmware_version=OLD)
        update_id = begin(story, image(story, tmp_path))
        answer(story, update_id, outcome)
        assert (row(story, update_id).state, row(story, update_id).detail) == (state, detail)
        await says(story, "Installed")  # kept while it was away: of an earlier update, or of ours
        assert row(story, update_id).state == ("failed" if outcome is Outcome.OFFLINE else "installed")


@pytest.mark.parametrize(("taken", "state"), [(True, "sent"), (False, "failed")])
async def test_a_request_that_was_lost_with_its_process_may_have_arrived_once_it_was_taken(  # R07
    database: Database, tmp_path: Path, taken: bool, state: str
) -> None:
    async with told(database) as story:
        story.site("CP1")
        await story.boot(firmware_version=OLD)
        update_id = begin(story, image(story, tmp_path))
        story.pass_time(minutes=1)
        with database.write() as connection:
            if taken:
                connection.execute(update(RemoteRequest).values(state="sent"))
            settle_lost(connection, story.now)
        assert row(story, update_id).state == state
        (asked,) = story.rows(RemoteRequest)
        assert "signature" not in asked.command["url"]


@pytest.mark.parametrize("reported", ["2.0", " V2.0"])
async def test_a_boot_with_the_new_version_is_proof_enough(database: Database, tmp_path: Path, reported: str) -> None:
    """R07: whatever was said or not said before; the service may have been away meanwhile."""
    async with told(database) as story:
        story.site("CP1")
        await story.boot(firmware_version=OLD)
        update_id = begin(story, image(story, tmp_path))
        answer(story, update_id)
        look(story)
        assert row(story, update_id).state == "sent"
    async with told(database) as story:
        story.pass_time(minutes=20)
        await story.boot(firmware_version=reported)
        look(story)
        done = row(story, update_id)
        assert (done.state, done.evidence) == ("installed", "boot")


async def test_a_boot_with_the_old_version_after_installing_is_a_failure(database: Database, tmp_path: Path) -> None:
    async with told(database) as story:  # R07, R08
        story.site("CP1", "CP2")
        new = image(story, tmp_path)
        updates = {}
        for station_id in ("CP1", "CP2"):
            await story.boot(station_id, firmware_version=OLD)
            updates[station_id] = begin(story, new, station_id)
            answer(story, updates[station_id])
            await says(story, "Installing", station_id=station_id)
        story.pass_time(minutes=5)
        for station_id in updates:
            await story.boot(station_id, firmware_version=OLD)
        look(story)
        assert {row(story, id_).state for id_ in updates.values()} == {"installing"}  # it may explain itself
        await says(story, "Installed", station_id="CP2")
        story.pass_time(minutes=10, seconds=1)
        look(story)
        assert (row(story, updates["CP1"]).state, row(story, updates["CP2"]).state) == ("failed", "installed")
        assert row(story, updates["CP1"]).detail == "it booted with version 1.0"
        assert alerts(story) == [("firmware_failed", str(updates["CP1"]))]


async def test_the_same_version_again_is_proven_by_no_early_boot(database: Database, tmp_path: Path) -> None:  # R07
    async with told(database) as story:
        story.site("CP1")
        await story.boot(firmware_version=NEW)
        update_id = begin(story, image(story, tmp_path))
        answer(story, update_id)
        story.pass_time(minutes=1)
        await story.boot(firmware_version=NEW)
        look(story)
        assert row(story, update_id).state == "sent"
        await says(story, "Installing")
        story.pass_time(minutes=1)
        await story.boot(firmware_version=NEW)
        look(story)
        assert row(story, update_id).state == "installed"


async def test_failures_alert(
    database: Database, tmp_path: Path
) -> None:  # R08, TC_044_2_CSMS, TC_044_3_CSMS, TC_081_CSMS
    async with told(database) as story:
        stations = ("CP1", "CP2", "CP3", "CP4")
        story.site(*stations)
        new = image(story, tmp_path)
        expected = []
        for station_id, status in zip(
            stations,
            ("DownloadFailed", "InstallationFailed", "InstallVerificationFailed", "InvalidSignature"),
            strict=True,
        ):
            await story.boot(station_id, firmware_version=OLD)
            update_id = begin(story, new, station_id)
            answer(story, update_id)
            await says(story, status, status, station_id=station_id)
            expected.append(("firmware_failed", str(update_id)))
            assert row(story, update_id).finished_at == story.now
        assert alerts(story) == expected


async def test_a_station_silent_after_installing_alerts_once_in_half_an_hour(
    database: Database, tmp_path: Path
) -> None:
    async with told(database) as story:  # R08
        story.site("CP1")
        await story.boot(firmware_version=OLD)
        update_id = begin(story, image(story, tmp_path))
        answer(story, update_id)
        await says(story, "Installing")
        story.pass_time(minutes=30)
        look(story)
        assert alerts(story) == []
        story.pass_time(seconds=1)
        look(story)
        look(story)
        assert alerts(story) == [("firmware_stuck", str(update_id))]
        assert row(story, update_id).state == "installing"
        story.pass_time(hours=1)
        await story.boot(firmware_version=NEW)
        look(story)
        assert (row(story, update_id).state, alerts(story)) == ("installed", [])


async def test_an_update_that_comes_no_nearer_alerts_and_is_given_up(database: Database, tmp_path: Path) -> None:
    async with told(database) as story:  # R07
        story.site("CP1")
        await story.boot(firmware_version=OLD)
        update_id = begin(story, image(story, tmp_path), retrieve_at=NOON + timedelta(hours=3))
        answer(story, update_id)
        story.pass_time(hours=5)
        look(story)
        assert alerts(story) == []  # it was to begin two hours ago only
        story.pass_time(seconds=1)
        look(story)
        assert alerts(story) == [("firmware_stuck", str(update_id))]
        await says(story, "Downloading")
        look(story)
        assert (row(story, update_id).stuck_at, alerts(story)) == (None, [])
        story.pass_time(days=2, seconds=1)
        look(story)
        assert (row(story, update_id).state, row(story, update_id).detail) == (
            "failed",
            "nothing was heard of it any more",
        )
        begin(story, 1)


def test_every_open_state_is_on_the_way() -> None:
    assert set(OPEN) < set(WAY)
