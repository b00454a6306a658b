"""What a station uploaded can be read and searched as text, packed or not, without ever holding more than a piece of it."""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

LINES: Final = 200
LINES_AT_MOST: Final = 5000
LONGEST_LINE: Final = 4000  # characters; the rest of a line is left out
UNPACKED_AT_MOST: Final = 256 * 1024 * 1024  # a small archive may hold more than a disk
MEMBERS_AT_MOST: Final = 1000
CONTENTS_AT_MOST: Final = 1024 * 1024  # bytes of a zip's table of contents: some ten thousand files

_ZIP_END: Final = 22 + 65535 + 20  # its last record, the longest comment, and what may stand before it

Broken = (
    OSError,
    EOFError,
    ValueError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    RuntimeError,
    NotImplementedError,
)


class Unreadable(Exception):
    """The file is broken, encrypted, or has no such member; the text says which."""


@dataclass(frozen=True, kw_only=True)
class Line:
    number: int  # from 1
    text: str


@dataclass(frozen=True, kw_only=True)
class Text:
    """`members`: the files of an archive, empty for a single file. `member`: which of them this is. `next_offset`: where to
    read on, None at the end. `cut`: the text goes on behind what is looked at."""

    members: Sequence[str]
    member: str | None
    lines: Sequence[Line]
    next_offset: int | None
    cut: bool = False


def open_text(
    path: Path, *, member: str | None = None, offset: int = 0, limit: int = LINES, search: str | None = None
) -> Text:
    """`limit` lines after the first `offset` of the file, or of a member of the archive (None: of its first); with `search`
    only those that contain it, in any case. Raises Unreadable."""
    limit = max(1, min(limit, LINES_AT_MOST))
    try:
        with _opened(path, member) as (members, chosen, stream):
            return _read(_Lines(stream), members, chosen, max(0, offset), limit, search)
    except Broken as error:
        raise Unreadable(f"it cannot be read: {error}" if str(error) else "it cannot be read") from error


def _read(
    lines: "_Lines", members: Sequence[str], chosen: str | None, offset: int, limit: int, search: str | None
) -> Text:
    wanted = search.casefold() if search else None
    found: list[Line] = []
    more = None
    for number, text in enumerate(lines, 1):
        if number <= offset:
            continue
        if wanted is not None and wanted not in text.casefold():
            continue
        if len(found) == limit:
            more = found[-1].number
            break
        found.append(Line(number=number, text=text))
    return Text(members=members, member=chosen, lines=found, next_offset=more, cut=lines.cut)


class _Lines:
    """Decoded lines; a byte that is no UTF-8 is shown as one that is missing."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.cut = False

    def __iter__(self) -> Iterator[str]:
        taken = 0
        while raw := self._stream.readline(LONGEST_LINE):
            taken += len(raw)
            line = raw
            while not raw.endswith(b"\n") and (raw := self._stream.readline(LONGEST_LINE)):
                taken += len(raw)  # the rest of a line that is too long
                if taken > UNPACKED_AT_MOST:
                    break
            yield line.decode("utf-8", "replace").rstrip("\r\n")
            if taken > UNPACKED_AT_MOST:
                self.cut = True
                return


@contextmanager
def _opened(path: Path, member: str | None) -> Iterator[tuple[Sequence[str], str | None, IO[bytes]]]:
    """Told by what a file begins with: names are the station's."""
    with path.open("rb") as file:
        head = file.read(265)
        file.seek(0)
        if head.startswith(b"PK"):
            _refuse_endless(file)
            with zipfile.ZipFile(file) as packed:
                names = [info.filename for info in packed.infolist()[:MEMBERS_AT_MOST] if not info.is_dir()]
                name = _chosen(names, member)
                with packed.open(name) as inner, _unzipped(inner) as stream:
                    yield names, name, stream
        elif tar := _tar(file, head):
            with tar:
                infos = {info.name: info for _, info in zip(range(MEMBERS_AT_MOST), tar, strict=False) if info.isfile()}
                name = _chosen(list(infos), member)
                extracted = tar.extractfile(infos[name])
                assert extracted is not None  # a regular file
                with extracted as inner, _unzipped(inner) as stream:
                    yield list(infos), name, stream
        else:
            if member is not None:
                raise Unreadable(f"it is a single file, without {member}")
            with _unzipped(file) as stream:
                yield [], None, stream


def _refuse_endless(file: IO[bytes]) -> None:
    """A zip's table of contents is read whole when it is opened, and may be all there is in it."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _ZIP_END))
    tail = file.read()
    file.seek(0)
    bare = len(tail) - 22  # without a comment, as zipfile looks first
    at = bare if tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\x00\x00" else tail.rfind(b"PK\x05\x06")
    contents = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if contents > CONTENTS_AT_MOST or b"PK\x06\x07" in tail[:at][-20:]:  # the latter: one for more than 4 GB
        raise Unreadable("its archive holds too many files")


def _tar(file: IO[bytes], head: bytes) -> tarfile.TarFile | None:
    """A tar archive, plain or gzipped; None for anything else."""
    try:
        if head[257:262] == b"ustar":
            return tarfile.open(fileobj=file, mode="r:")
        if head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as unzipped:
                inner = unzipped.read(265)
            file.seek(0)
            if inner[257:262] == b"ustar":
                return tarfile.open(fileobj=_Limited(gzip.GzipFile(fileobj=file)), mode="r:")
    except Broken:
        file.seek(0)
    return None


class _Limited(io.RawIOBase):
    """Ends a look into an archive that would unpack without end."""

    def __init__(self, inner: gzip.GzipFile) -> None:
        self._inner = inner

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._inner.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0 and offset > UNPACKED_AT_MOST:
            raise Unreadable("its archive holds too much")
        return self._inner.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if self._inner.tell() > UNPACKED_AT_MOST:
            raise Unreadable("its archive holds too much")
        return self._inner.read(UNPACKED_AT_MOST if size < 0 else size)


@contextmanager
def _unzipped(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """A member may be gzipped itself; logs are rotated so."""
    buffered = io.BufferedReader(cast(io.RawIOBase, stream))
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=buffered) as inner:
            yield inner  # type: ignore[misc]  # reads bytes by line
    else:
        yield buffered


def _chosen(names: Sequence[str], member: str | None) -> str:
    if member is not None:
        if member not in names:
            raise Unreadable(f"there is no {member} in it")
        return member
    if not names:
        raise Unreadable("its archive is empty")
    return names[0]
