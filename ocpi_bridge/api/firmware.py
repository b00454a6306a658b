"""Firmware: the images that stations may fetch, and campaigns that bring one to a fleet."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import select

from csms import firmware_campaigns, firmware_images
from csms.firmware_images import KeptFile
from csms.models import FirmwareCampaign, FirmwareImage
from csms.users import Role
from ocpi_bridge.api.asked import (
    PLAIN,
    Asked,
    FileBody,
    Input,
    Number,
    Page,
    Paging,
    Reply,
    Route,
    Small,
    Surroundings,
    cursor_number,
    paged,
)
from ocpi_bridge.api.problems import Problem

LARGEST = 1024**3  # bytes of an image

Word = Annotated[str, Meta(min_length=1, max_length=100, pattern=PLAIN, description="As a station's Boot says it.")]
FileName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/\\]*[^\x00-\x1f\x7f/\\. ]$")]


# ---- images -----------------------------------------------------------------------------------------------------------


class ImageRow(msgspec.Struct, frozen=True, kw_only=True):
    """`model` null: for every model of the vendor. `signed`: it has the manufacturer's signature."""

    id: int
    name: str
    vendor: str
    model: str | None
    version: str
    size: int
    sha256: str
    signed: bool
    added_by: str
    created_at: datetime


class NewImage(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: of the file; stations go by its ending. `model` absent: for every model of the vendor."""

    name: FileName
    vendor: Word
    version: Word
    model: Word | None = None


class Signature(Input, frozen=True, kw_only=True):
    """The manufacturer's: its certificate in PEM and its signature of the file in Base64."""

    certificate: Annotated[str, Meta(min_length=1, max_length=5500, pattern=r"^[^\x00]*$")]
    signature: Annotated[str, Meta(min_length=1, max_length=800, pattern=r"^[A-Za-z0-9+/=]+$")]


def list_images(asked: Asked[Paging, None]) -> Page[ImageRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = FirmwareImage
    query = select(row.__table__).order_by(row.id.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.id < after)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.id, _image)


def add_image(asked: Asked[NewImage, KeptFile]) -> Reply:
    wanted = asked.query
    try:
        image_id = firmware_images.add_image(
            asked.connection,
            asked.body,
            vendor=wanted.vendor,
            model=wanted.model,
            version=wanted.version,
            added_by=asked.by,
            now=asked.now,
        )
    except firmware_images.ImageExists as error:
        detail = f"this file is there already, as image {error}"
        raise Problem(status=409, code="image_exists", detail=detail) from None
    return Reply(value=_image(firmware_images.image(asked.connection, image_id)), status=201)


def sign_image(asked: Asked[None, Signature]) -> ImageRow:
    signed = {"certificate": asked.body.certificate, "signature": asked.body.signature}
    firmware_images.sign_image(asked.connection, asked.path["id"], **signed)
    return _image(firmware_images.image(asked.connection, asked.path["id"]))


def _keep(given: Surroundings, file: Path, query: Any) -> KeptFile:
    return firmware_images.keep_file(given.data_dir, file, name=query.name)


def _image(row: Any) -> ImageRow:
    names = [name for name in ImageRow.__struct_fields__ if name != "signed"]
    return ImageRow(signed=row.signature is not None, **{name: getattr(row, name) for name in names})


# ---- campaigns --------------------------------------------------------------------------------------------------------


class CampaignRow(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: draft, canary, running, paused, done, cancelled. `detail`: why it paused. Of its stations `installed`, `failed`
    (stuck ones too), `under_way`, and those `to_come`."""

    id: int
    vendor: str
    model: str | None
    image: int | None
    state: firmware_campaigns.State
    detail: str | None
    wave: int
    wave_size: int
    failure_limit_percent: int
    installed: int
    failed: int
    under_way: int
    to_come: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class NewCampaign(Input, frozen=True, kw_only=True):
    """A draft for all stations of a vendor and model, or of all its models; `image` may be named at the start, too. It pauses
    by itself when more than `failure_limit_percent` fail."""

    vendor: Word
    model: Word | None = None
    image: Small | None = None
    wave_size: Annotated[int, Meta(ge=1, le=100_000)] = firmware_campaigns.WAVE_SIZE
    failure_limit_percent: Annotated[int, Meta(ge=0, le=100)] = firmware_campaigns.FAILURE_LIMIT_PERCENT


class Start(Input, frozen=True, kw_only=True):
    image: Small | None = None


def list_campaigns(asked: Asked[Paging, None]) -> Page[CampaignRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = FirmwareCampaign
    query = select(row.__table__).order_by(row.id.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.id < after)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.id, lambda row: _campaign(asked, row))


def campaign(asked: Asked[None, Any]) -> CampaignRow:
    return _campaign(asked, firmware_campaigns.campaign(asked.connection, asked.path["id"]))


def prepare(asked: Asked[None, NewCampaign]) -> Reply:
    given = msgspec.structs.asdict(asked.body)
    vendor, model, image_id = (given.pop(name) for name in ("vendor", "model", "image"))
    who: dict[str, Any] = {"created_by": asked.by, "now": asked.now}
    id_ = firmware_campaigns.prepare_campaign(asked.connection, vendor, model, image_id, **given, **who)
    location = {"Location": f"/api/v1/firmware/campaigns/{id_}"}
    value = _campaign(asked, firmware_campaigns.campaign(asked.connection, id_))
    return Reply(value=value, status=201, headers=location)


def start(asked: Asked[None, Start]) -> CampaignRow:
    firmware_campaigns.start_campaign(asked.connection, asked.path["id"], image_id=asked.body.image, now=asked.now)
    return campaign(asked)


def pause(asked: Asked[None, None]) -> CampaignRow:
    firmware_campaigns.pause_campaign(asked.connection, asked.path["id"], why=f"paused by {asked.by}")
    return campaign(asked)


def cancel(asked: Asked[None, None]) -> CampaignRow:
    firmware_campaigns.cancel_campaign(asked.connection, asked.path["id"], now=asked.now)
    return campaign(asked)


def _campaign(asked: Asked[Any, Any], row: Any) -> CampaignRow:
    tally, missing = firmware_campaigns.progress(asked.connection, row)
    known: dict[str, Any] = {**row._mapping, "image": row.image_row, "state": firmware_campaigns.State(row.state)}
    known |= {"installed": tally.installed, "failed": tally.failed, "under_way": tally.open, "to_come": missing}
    return CampaignRow(**{name: known[name] for name in CampaignRow.__struct_fields__})


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/firmware/images",
        role=Role.VIEWER,
        summary="Firmware that can be installed, the newest first.",
        handler=list_images,
        query=Paging,
        output=Page[ImageRow],
    ),
    Route(
        method="POST",
        path="/firmware/images",
        role=Role.ADMIN,
        summary="Keep an image where stations may fetch it; the body is the file.",
        handler=add_image,
        query=NewImage,
        body=FileBody(most=LARGEST, keep=_keep),
        output=ImageRow,
        status=201,
    ),
    Route(
        method="PUT",
        path="/firmware/images/{id}/signature",
        role=Role.ADMIN,
        summary="Give an image its manufacturer's signature, once: stations that can check it install it signed.",
        handler=sign_image,
        body=Signature,
        output=ImageRow,
        path_types={"id": Number},
    ),
    Route(
        method="GET",
        path="/firmware/campaigns",
        role=Role.VIEWER,
        summary="Campaigns and how far they are, the newest first.",
        handler=list_campaigns,
        query=Paging,
        output=Page[CampaignRow],
    ),
    Route(
        method="POST",
        path="/firmware/campaigns",
        role=Role.ADMIN,
        summary="Draft a campaign; nothing is sent before it is started.",
        handler=prepare,
        body=NewCampaign,
        output=CampaignRow,
        status=201,
        problems=(404,),
    ),
    Route(
        method="GET",
        path="/firmware/campaigns/{id}",
        role=Role.VIEWER,
        summary="How far a campaign is.",
        handler=campaign,
        output=CampaignRow,
        path_types={"id": Number},
    ),
    Route(
        method="POST",
        path="/firmware/campaigns/{id}/start",
        role=Role.ADMIN,
        summary="Begin with one station, or go on after a pause: failures until now count as looked at.",
        handler=start,
        body=Start,
        output=CampaignRow,
        path_types={"id": Number},
    ),
    Route(
        method="POST",
        path="/firmware/campaigns/{id}/pause",
        role=Role.OPERATOR,
        summary="Ask no further station; what is under way goes on.",
        handler=pause,
        output=CampaignRow,
        path_types={"id": Number},
    ),
    Route(
        method="POST",
        path="/firmware/campaigns/{id}/cancel",
        role=Role.ADMIN,
        summary="End a campaign for good; what is under way goes on.",
        handler=cancel,
        output=CampaignRow,
        path_types={"id": Number},
    ),
)
