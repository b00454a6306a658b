"""A firmware image is kept once, under a name that harms nothing, with its maker's signature where it has one."""

import hashlib
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy import update as sql_update

from csms.models import FirmwareImage

FOLDER: Final = "firmware"  # below DATA_DIR
NAME_AT_MOST: Final = 60


class UnknownImage(Exception):
    """No image has this id."""


class ImageExists(Exception):
    """The same file is there under this name; the text is its id."""


class ImageRefused(Exception):
    """The image cannot be what was meant; the text says why."""


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """A file that is where stations may fetch it, and is no image yet."""

    name: str
    size: int
    sha256: str


def keep_file(data_dir: Path, path: Path, *, name: str | None = None) -> KeptFile:
    """Copy a file to where stations may fetch it, under its name or `name`; outside any transaction, it may be large. Raises
    OSError."""
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    stored = _stored_name(name or path.name, digest)
    part = folder / f".{stored}.{secrets.token_hex(4)}.part"
    try:
        shutil.copyfile(path, part)
        part.replace(folder / stored)
    finally:
        part.unlink(missing_ok=True)
    return KeptFile(name=stored, size=size, sha256=digest)


def add_image(
    connection: Connection,
    file: KeptFile,
    *,
    vendor: str,
    model: str | None,
    version: str,
    certificate: str | None = None,
    signature: str | None = None,
    added_by: str,
    now: datetime,
) -> int:
    """Returns the image's id. `model` None: it fits every model of the vendor. Raises ImageExists, and ImageRefused when
    certificate or signature stands alone."""
    if (certificate is None) is not (signature is None):
        raise ImageRefused("a certificate and a signature belong together: give both or neither")
    known = connection.execute(select(FirmwareImage.id).where(FirmwareImage.name == file.name)).scalar()
    if known is not None:
        raise ImageExists(str(known))
    added = insert(FirmwareImage).values(
        name=file.name,
        size=file.size,
        sha256=file.sha256,
        vendor=vendor.strip(),
        model=model.strip() if model else None,
        version=version.strip(),
        certificate=certificate,
        signature=signature,
        added_by=added_by,
        created_at=now,
    )
    return int(connection.execute(added.returning(FirmwareImage.id)).scalar_one())


def sign_image(connection: Connection, image_id: int, *, certificate: str, signature: str) -> None:
    """Give an image its manufacturer's signature. Raises UnknownImage, and ImageRefused when it has one."""
    row = FirmwareImage
    unsigned = sql_update(row).where(row.id == image_id, row.signature.is_(None))
    if connection.execute(unsigned.values(certificate=certificate, signature=signature)).rowcount:
        return
    image(connection, image_id)
    raise ImageRefused(f"image {image_id} has its signature")


def images(connection: Connection) -> Sequence[Row[Any]]:
    return connection.execute(select(FirmwareImage.__table__).order_by(FirmwareImage.id)).all()


def image(connection: Connection, image_id: int) -> Row[Any]:
    """Raises UnknownImage."""
    found = connection.execute(select(FirmwareImage.__table__).where(FirmwareImage.id == image_id)).one_or_none()
    if found is None:
        raise UnknownImage(image_id)
    return found


def _stored_name(name: str, digest: str) -> str:
    """Short, harmless in an address and on disk, another for another content; with its ending, which stations go by."""
    harmless = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-NAME_AT_MOST:].strip(".-")
    return f"{digest[:8]}-{harmless or 'image'}"
