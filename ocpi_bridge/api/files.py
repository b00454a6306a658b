"""Each station's way to a firmware, and files that stations bring."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import select

from csms import diagnostics, firmware
from csms.log_text import Unreadable, open_text
from csms.models import FirmwareUpdate, Upload
from csms.users import Role
from ocpi_bridge.api.asked import (
    PLAIN,
    Asked,
    FileReply,
    Name,
    Number,
    Page,
    Paging,
    Route,
    paged,
)
from ocpi_bridge.api.of_stations import OfStation, newest
from ocpi_bridge.api.problems import Problem, not_found

LINES = 500


class UpdatesQuery(Paging, frozen=True, kw_only=True):
    station: Name | None = None
    state: firmware.State | None = None


class UpdateRow(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is the station's last word; `evidence` what showed that it is installed."""

    id: int
    station_id: str
    image: int
    signed: bool
    state: firmware.State
    status: str | None
    status_at: datetime | None
    detail: str | None
    evidence: str | None
    version_before: str | None
    retrieve_at: datetime
    expires_at: datetime
    stuck_at: datetime | None
    campaign: int | None
    wave: int | None
    requested_by: str
    remote_request_id: str | None
    created_at: datetime
    finished_at: datetime | None


class UploadRow(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: waiting, receiving, received, failed, expired. `here`: the file can be read."""

    id: int
    station_id: str
    kind: str
    state: str
    status: str | None
    filename: str | None
    size: int | None
    content_type: str | None
    here: bool
    requested_by: str
    remote_request_id: str | None
    created_at: datetime
    expires_at: datetime
    received_at: datetime | None


class TextQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`member`: which file of an archive. `search`: only lines that hold it, in any case."""

    member: Annotated[str, Meta(min_length=1, max_length=1000, pattern=PLAIN)] | None = None
    offset: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=5000)] = LINES
    search: Annotated[str, Meta(min_length=1, max_length=200, pattern=PLAIN)] | None = None


class LineOfText(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    text: str


class TextPart(msgspec.Struct, frozen=True, kw_only=True):
    """`next_offset` null at the end. `cut`: the text goes on behind what is looked at."""

    members: Sequence[str]
    member: str | None
    lines: Sequence[LineOfText]
    next_offset: int | None
    cut: bool


def list_updates(asked: Asked[UpdatesQuery, None]) -> Page[UpdateRow]:
    rows = newest(asked, FirmwareUpdate, FirmwareUpdate.id)
    return paged(rows, asked.query.limit, lambda row: row.id, _update)


def cancel_update(asked: Asked[None, None]) -> UpdateRow:
    firmware.cancel(asked.connection, asked.path["id"], now=asked.now)
    query = select(FirmwareUpdate.__table__).where(FirmwareUpdate.id == asked.path["id"])
    return _update(asked.connection.execute(query).one())


def list_uploads(asked: Asked[OfStation, None]) -> Page[UploadRow]:
    rows = newest(asked, Upload, Upload.id)
    return paged(rows, asked.query.limit, lambda row: row.id, lambda row: _upload(row, asked))


def upload(asked: Asked[None, None]) -> UploadRow:
    return _upload(diagnostics.upload(asked.connection, asked.path["id"]), asked)


def text(asked: Asked[TextQuery, None]) -> TextPart:
    file, _ = _file(asked)
    wanted = msgspec.structs.asdict(asked.query)
    try:
        found = open_text(file, **wanted)
    except Unreadable as unreadable:
        raise Problem(status=409, code="unreadable", detail=str(unreadable)) from None
    parts = {**asdict(found), "lines": [LineOfText(number=line.number, text=_plain(line.text)) for line in found.lines]}
    return TextPart(**{name: parts[name] for name in TextPart.__struct_fields__})


def download(asked: Asked[None, None]) -> FileReply:
    file, name = _file(asked)
    return FileReply(path=file, name=name)


def _file(asked: Asked[Any, None]) -> Any:
    row = diagnostics.upload(asked.connection, asked.path["id"])
    file = diagnostics.file_of(asked.given.data_dir, row)
    if file is None:
        raise not_found("file", asked.path["id"])
    return file, file.name


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _update(row: Any) -> UpdateRow:
    aside = ("image", "campaign", "state")
    names = [name for name in UpdateRow.__struct_fields__ if name not in aside]
    known = {name: getattr(row, name) for name in names}
    return UpdateRow(image=row.image_row, campaign=row.campaign_row, state=firmware.State(row.state), **known)


def _upload(row: Any, asked: Asked[Any, None]) -> UploadRow:
    names = [name for name in UploadRow.__struct_fields__ if name != "here"]
    here = diagnostics.file_of(asked.given.data_dir, row) is not None
    return UploadRow(here=here, **{name: getattr(row, name) for name in names})


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/firmware/updates",
        role=Role.VIEWER,
        summary="Each station's way to a firmware, the newest first; begun by a command.",
        handler=list_updates,
        query=UpdatesQuery,
        output=Page[UpdateRow],
    ),
    Route(
        method="POST",
        path="/firmware/updates/{id}/cancel",
        role=Role.OPERATOR,
        summary="Follow an update no longer; the station is not told.",
        handler=cancel_update,
        output=UpdateRow,
        path_types={"id": Number},
    ),
    Route(
        method="GET",
        path="/uploads",
        role=Role.VIEWER,
        summary="Files that stations brought or will bring, the newest first.",
        handler=list_uploads,
        query=OfStation,
        output=Page[UploadRow],
    ),
    Route(
        method="GET",
        path="/uploads/{id}",
        role=Role.VIEWER,
        summary="What is known of a file.",
        handler=upload,
        output=UploadRow,
        path_types={"id": Number},
    ),
    Route(
        method="GET",
        path="/uploads/{id}/text",
        role=Role.OPERATOR,  # a station writes card numbers into its logs
        summary="Lines of a file, packed or not.",
        handler=text,
        query=TextQuery,
        output=TextPart,
        path_types={"id": Number},
        problems=(409,),
    ),
    Route(
        method="GET",
        path="/uploads/{id}/file",
        role=Role.OPERATOR,
        summary="The file as the station brought it.",
        handler=download,
        path_types={"id": Number},
        file=True,
    ),
)
