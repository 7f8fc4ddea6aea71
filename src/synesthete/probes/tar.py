"""The members of a tar, by a strict reader that extracts nothing: names, kinds, where their bytes are."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from synesthete.errors import SynestheteError

_UNIT = 512
_BLOCK = 1 << 20
MAX_NOTE = 1 << 20  # bytes of a long name or of extended attributes
MAX_TAIL = 1 << 20  # of padding behind the end mark
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)  # fmt: skip
_KINDS = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.DIRTYPE: "a folder",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member.

    Attributes
    ----------
    name
        As the tar has it; it is never a path on this machine.
    other
        What it is, where it is no plain file: `a link`, `a folder`, ...; else empty.
    offset, size
        Where its bytes are.
    """

    name: str
    other: str
    offset: int
    size: int


def members(file: BinaryIO, size: int, name: str) -> Iterator[Member]:
    """Every member in order. The file may be read between two of them.

    Parameters
    ----------
    file, size
        The tar, uncompressed, and how many bytes it has.
    name
        What it is called in messages.

    Raises
    ------
    SynestheteError
        It is no tar, is damaged, ends early, or has members behind its end.
    """
    at = 0
    long_name = ""
    attributes: dict[str, str] = {}
    while True:
        header = _read(file, at, _UNIT, size, name)
        if header.count(0) == _UNIT:
            if _read(file, at + _UNIT, _UNIT, size, name).count(0) != _UNIT:
                raise _damaged(name, at, "half an end mark")
            _refuse_tail(file, at + 2 * _UNIT, size, name)
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            if at == 0:
                compressed = header[:2] == b"\x1f\x8b" or header[:4] == b"\x28\xb5\x2f\xfd"
                hint = "unpack it: gunzip or unzstd" if compressed else ""
                raise SynestheteError(f"'{name}' is no tar", hint=hint) from None
            raise _damaged(name, at, "no header") from None
        kind, length, data = info.type, info.size, at + _UNIT
        if kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):  # fmt: skip
            if not 0 <= length <= MAX_NOTE:
                raise _damaged(name, at, f"a name of {length:,} bytes")
            note = _read(file, data, length, size, name)
            if kind == tarfile.XHDTYPE:
                attributes = _attributes(note, name, at)
            elif kind == tarfile.GNUTYPE_LONGNAME:
                long_name = note.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            at = data + _padded(length)
            continue
        if "size" in attributes:
            if not (attributes["size"].isascii() and attributes["size"].isdigit()):
                raise _damaged(name, at, "no valid size")
            length = int(attributes["size"][:20])
        length = 0 if kind in _WITHOUT_DATA else length
        other = "" if kind in _FILES else _KINDS.get(kind, "a special file")
        if any(key.startswith("GNU.sparse") for key in attributes):
            other = _KINDS[tarfile.GNUTYPE_SPARSE]
        if kind == tarfile.GNUTYPE_SPARSE:
            more = bool(header[482])
            while more:
                more = bool(_read(file, data, _UNIT, size, name)[504])
                data += _UNIT
        if length < 0 or data + length > size:
            raise SynestheteError(
                f"'{name}' ends in the middle of a member (at byte {size:,} of {data + max(length, 0):,})",
                hint="copy it again",
            )
        called = attributes.get("path", "") or long_name or info.name
        yield Member(name=called, other=other, offset=data, size=length)
        long_name, attributes = "", {}
        at = data + _padded(length)


def blocks(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The bytes of a member, in blocks; fewer where the file became shorter."""
    file.seek(member.offset)
    left = member.size
    while left and (block := file.read(min(left, _BLOCK))):
        yield block
        left -= len(block)


def _padded(length: int) -> int:
    return -(-length // _UNIT) * _UNIT


def _read(file: BinaryIO, at: int, length: int, size: int, name: str) -> bytes:
    if at + length > size:
        raise SynestheteError(
            f"'{name}' ends without its end mark (at byte {size:,})", hint="copy it again"
        )
    file.seek(at)
    data = file.read(length)
    if len(data) != length:
        raise SynestheteError(f"'{name}' became shorter while it was read", hint="copy it again")
    return data


def _refuse_tail(file: BinaryIO, at: int, size: int, name: str) -> None:
    tail = size - at
    if tail > MAX_TAIL or file.seek(at) != at or file.read(tail).strip(b"\0"):
        raise SynestheteError(
            f"'{name}' has {tail:,} bytes behind its end mark, which nobody would read",
            hint="give joined tars one by one",
        )


def _attributes(note: bytes, name: str, at: int) -> dict[str, str]:
    """Extended attributes: records of `LENGTH KEY=VALUE` and a line end."""
    found: dict[str, str] = {}
    at_record, stop = 0, len(note.rstrip(b"\0"))
    while at_record < stop:
        digits, space, _ = note[at_record : at_record + 24].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        end = at_record + length - 1
        key, equals, value = note[at_record + len(digits) + 1 : max(end, 0)].partition(b"=")
        if not length or not equals or note[end : end + 1] != b"\n":
            raise _damaged(name, at, "extended attributes that cannot be read")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at_record = end + 1
    return found


def _damaged(name: str, at: int, what: str) -> SynestheteError:
    return SynestheteError(f"'{name}' is damaged at byte {at:,}: {what}", hint="copy it again")
