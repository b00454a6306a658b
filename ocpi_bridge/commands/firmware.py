"""`roambridge firmware`: images for stations, and each station's and each fleet's way to them."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from csms import firmware, firmware_campaigns, firmware_images, signed_urls
from ocpi_bridge.commands.asking import requester, waited
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show, written
from ocpi_bridge.settings import load

app = typer.Typer(help="Firmware: images, updates, campaigns.", no_args_is_help=True)
campaign = typer.Typer(help="One image to all stations of a make, one first, then in waves.", no_args_is_help=True)
app.add_typer(campaign, name="campaign")

FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]

Id = Annotated[str, typer.Argument(metavar="ID", help="The identity in the station's URL.")]
Image = Annotated[int, typer.Argument(metavar="IMAGE", help="Its number in `firmware list`.")]
Campaign = Annotated[int, typer.Argument(metavar="CAMPAIGN", help="Its number in `firmware campaign list`.")]
Model = Annotated[
    str | None, typer.Option(help="As the station's Boot says it; without it, every model of the vendor.")
]
Existing = typer.Option(exists=True, dir_okay=False)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    vendor: Annotated[str, typer.Option(help="As the station's Boot says it.")],
    version: Annotated[str, typer.Option(help="As the station's Boot will say it.")],
    model: Model = None,
    certificate: Annotated[Path | None, Existing] = None,
    signature: Annotated[str | None, typer.Option(help="The manufacturer's, in Base64.")] = None,
) -> None:
    """Copy an image to where stations may fetch it. With the manufacturer's certificate (PEM) and signature it is installed
    signed on stations that can check it."""
    pem = None if certificate is None else certificate.read_text()
    kept = firmware_images.keep_file(load().data_dir, file)
    image_id = _verb(
        lambda connection: firmware_images.add_image(
            connection,
            kept,
            vendor=vendor,
            model=model,
            version=version,
            certificate=pem,
            signature=signature,
            added_by=requester(),
            now=now(),
        )
    )
    say(f"image {image_id} added")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """All images."""
    with opened() as database, database.read() as connection:
        found = firmware_images.images(connection)
    rows = [
        {
            **{name: getattr(row, name) for name in ("id", "vendor", "model", "version", "name", "size", "sha256")},
            "signed": row.signature is not None,
            "added_by": row.added_by,
            "created_at": row.created_at,
        }
        for row in found
    ]
    columns = {"id": "image", "vendor": "vendor", "model": "model", "version": "version", "name": "file"}
    columns |= {"size": "bytes", "signed": "signed", "created_at": "added"}
    show("Firmware", columns, rows, as_json=as_json)


@app.command()
def update(
    station_id: Id,
    image_id: Image,
    at: Annotated[datetime | None, typer.Option(help="When it may begin to fetch, in UTC.", formats=FORMATS)] = None,
    install_at: Annotated[datetime | None, typer.Option(help="When to install, if signed.", formats=FORMATS)] = None,
    signed: Annotated[
        bool | None, typer.Option("--signed/--unsigned", help="As the station and the image allow, unless said.")
    ] = None,
) -> None:
    """Tell a station to fetch an image and install it. It is followed until it runs it: `firmware status`."""
    settings = load()
    begun = _verb(
        lambda connection: firmware.update(
            connection,
            station_id,
            image_id,
            retrieve_at=_utc(at) or now(),
            install_at=_utc(install_at),
            signed=signed,
            public_url=settings.public_url,
            key=signed_urls.signing_key(settings.needed_secret_key()),
            requested_by=requester(),
            now=now(),
        )
    )
    with opened(settings) as database:
        waited(database, begun.request_id, firmware.ANSWER_WITHIN_S)
        with database.read() as connection:
            row = next(row for row in firmware.updates(connection, station_id) if row.id == begun.update_id)
    if row.state == firmware.State.REQUESTED:
        raise Failed("nobody took the request: is `roambridge serve` running on this database?")
    if row.state == firmware.State.FAILED:
        raise Failed(f"update {row.id}: {station_id} did not take it ({row.detail})")
    say(f"update {row.id}: {row.state}")


@app.command()
def status(
    station_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A station; all without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """How far updates are, the newest first."""
    with opened() as database, database.read() as connection:
        found = firmware.updates(connection, station_id)
    names = (
        "id",
        "station_id",
        "version",
        "state",
        "status",
        "status_at",
        "evidence",
        "detail",
        "signed",
        "requested_by",
    )
    more = ("version_before", "retrieve_at", "expires_at", "stuck_at", "created_at", "finished_at")
    rows = [{name: getattr(row, name) for name in (*names, *more)} for row in found]
    columns = {"id": "update", "station_id": "station", "version_before": "from", "version": "to", "state": "state"}
    columns |= {"status": "said", "status_at": "at", "evidence": "shown by", "detail": "why", "stuck_at": "stuck since"}
    show("Firmware updates", columns, rows, as_json=as_json)


@app.command()
def cancel(update_id: Annotated[int, typer.Argument(metavar="UPDATE")]) -> None:
    """Follow an update no longer, so that another may begin. The station is not told: OCPP has no word for it."""
    done = _verb(lambda connection: firmware.cancel(connection, update_id, now=now()))
    say(f"update {update_id} cancelled" if done else f"update {update_id} was over already")


# ---- campaigns ------------------------------------------------------------------------------------------------------


@campaign.command()
def prepare(
    vendor: Annotated[str, typer.Argument(help="As the stations' Boots say it.")],
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Every model without it.")] = None,
    image_id: Annotated[int | None, typer.Option("--image", help="May be given at the start, too.")] = None,
    wave_size: Annotated[int, typer.Option(min=1)] = firmware_campaigns.WAVE_SIZE,
    failure_limit: Annotated[
        int, typer.Option(min=0, max=100, help="Percent of failures at which it pauses.")
    ] = firmware_campaigns.FAILURE_LIMIT_PERCENT,
) -> None:
    """Draft a campaign; nothing is sent before `campaign start`."""
    campaign_id = _verb(
        lambda connection: firmware_campaigns.prepare_campaign(
            connection,
            vendor,
            model,
            image_id,
            wave_size=wave_size,
            failure_limit_percent=failure_limit,
            created_by=requester(),
            now=now(),
        )
    )
    say(f"campaign {campaign_id} drafted")


@campaign.command()
def start(campaign_id: Campaign, image_id: Annotated[int | None, typer.Option("--image")] = None) -> None:
    """Begin with one station, or go on after a pause: failures until now count as looked at."""
    _verb(lambda connection: firmware_campaigns.start_campaign(connection, campaign_id, image_id=image_id, now=now()))
    say(f"campaign {campaign_id} started")


@campaign.command()
def resume(campaign_id: Campaign) -> None:
    """As `start`, for one that paused."""
    start(campaign_id)


@campaign.command()
def pause(campaign_id: Campaign) -> None:
    """Ask no further station; what is under way goes on."""
    why = f"paused by {requester()}"
    _verb(lambda connection: firmware_campaigns.pause_campaign(connection, campaign_id, why=why))
    say(f"campaign {campaign_id} paused")


@campaign.command("cancel")
def cancel_campaign(campaign_id: Campaign) -> None:
    """End a campaign for good; what is under way goes on."""
    _verb(lambda connection: firmware_campaigns.cancel_campaign(connection, campaign_id, now=now()))
    say(f"campaign {campaign_id} cancelled")


@campaign.command("list")
def list_campaigns(as_json: AsJson = False) -> None:
    """All campaigns, and how far each is."""
    with opened() as database, database.read() as connection:
        found = firmware_campaigns.campaigns(connection)
    names = ("id", "vendor", "model", "state", "wave", "wave_size", "failure_limit_percent", "detail", "created_by")
    rows = [
        {
            **{name: getattr(row, name) for name in (*names, "created_at", "started_at", "finished_at")},
            "image": row.image_row,
            "installed": tally.installed,
            "failed": tally.failed,
            "under_way": tally.open,
            "to_come": missing,
        }
        for row, tally, missing in found
    ]
    columns = {"id": "campaign", "vendor": "vendor", "model": "model", "image": "image", "state": "state"}
    columns |= {"wave": "wave", "installed": "installed", "failed": "failed", "under_way": "under way"}
    show("Firmware campaigns", columns | {"to_come": "to come", "detail": "why"}, rows, as_json=as_json)


def _verb(change: Callable[[Connection], Any]) -> Any:
    try:
        return written(change)
    except firmware_images.UnknownImage as error:
        raise Failed(f"there is no image {error}") from None
    except firmware_images.ImageExists as error:
        raise Failed(f"this file is there already, as image {error}") from None
    except firmware.UnknownUpdate as error:
        raise Failed(f"there is no update {error}") from None
    except firmware_campaigns.UnknownCampaign as error:
        raise Failed(f"there is no campaign {error}") from None
    except (
        firmware_images.ImageRefused,
        firmware.UpdateRefused,
        firmware_campaigns.CampaignRefused,
        signed_urls.AddressTooLong,
    ) as error:
        raise Failed(str(error)) from None


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
