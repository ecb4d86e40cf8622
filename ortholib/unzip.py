"""Unpacking of an archive that nobody has to trust: plain files below one folder, of a bounded size, or nothing."""

import re
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

from ortholib import progress
from ortholib.errors import OrthoError

MEMBERS = 200_000  # of one archive
RATIO = 200  # declared size of a member of more than 1 MiB over its compressed size
# what zipfile raises for a damaged list of members; NotImplementedError: for one that asks for a later zip version
LIST_DAMAGED = (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError)


def unzip(archive: Path, folder: Path, limit_bytes: int) -> int:
    """Unpack a zip archive that nobody has to trust into a folder that does not exist yet; the number of files in it.

    Raises OrthoError, naming the member, for paths that leave the folder or that two members share, links and other
    special files, encryption, damage, and content of more than `limit_bytes`. The folder is gone then.
    """
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as content:
            members = _safe_members(content, archive, limit_bytes)
            files = [(info, folder.joinpath(*parts)) for info, parts in members if not info.is_dir()]
            for info, path in progress.bar(files, desc="unpacking", unit="file"):
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(content, info, path)
            if not files:
                raise OrthoError(f"{archive} holds no file; expected a data set. Nothing was unpacked.")
        return len(files)
    except BaseException as error:
        shutil.rmtree(folder)
        if isinstance(error, _Refused):
            raise OrthoError(f"{archive}: member {error}. Nothing was unpacked.") from error
        if isinstance(error, LIST_DAMAGED):
            raise OrthoError(f"{archive} is no sound zip archive ({error}). Nothing was unpacked.") from error
        raise


class _Refused(Exception):
    """A member that is not unpacked, and why."""

    def __init__(self, member: str, why: str):
        super().__init__(f"{member!r} {why}")


def _safe_members(content: zipfile.ZipFile, archive: Path, limit: int) -> list[tuple[zipfile.ZipInfo, list[str]]]:
    """All members with the parts of their paths, once every one of them is known to be harmless."""
    members, total, compressed, seen = [], 0, 0, {}
    size = archive.stat().st_size
    infos = content.infolist()
    if len(infos) > MEMBERS:
        raise _Refused(infos[MEMBERS].filename, f"is one of {len(infos):,}; expected at most {MEMBERS:,}")
    for info in infos:
        name = info.orig_filename
        parts = _parts(name)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a link" if stat.S_ISLNK(kind) else "a special file"
            raise _Refused(name, f"is {what}; expected plain files and folders")
        if info.flag_bits & 0x2041:  # encrypted, strongly, or the list of members too
            raise _Refused(name, "is encrypted; expected an open archive")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _Refused(name, f"is compressed by method {info.compress_type}; expected stored or deflated (0, 8)")
        total, compressed = total + info.file_size, compressed + info.compress_size
        if total > limit:
            raise _Refused(name, f"brings the content to {total:,} bytes or more; expected at most {limit:,}")
        if info.file_size > max(2**20, RATIO * info.compress_size):
            raise _Refused(name, f"claims {info.file_size:,} bytes from {info.compress_size:,}; expected radiographs")
        if not 0 <= info.header_offset < size:
            raise _Refused(name, f"begins at byte {info.header_offset:,}; expected one of the archive's {size:,}")
        if compressed > size:
            raise _Refused(name, "shares its bytes with another member; expected each to have its own")
        for depth in range(1, len(parts) + 1):
            key, here = tuple(map(_folded, parts[:depth])), parts[:depth]
            file = depth == len(parts) and not info.is_dir()
            spelled, was_file = seen.setdefault(key, (here, file))
            if spelled != here or was_file != file or (file and spelled is not here):
                raise _Refused(
                    name, f"collides with {'/'.join(spelled)!r} of another member; expected one spelling each"
                )
        members.append((info, parts))
    return members


def _parts(name: str) -> list[str]:
    """The parts of a member's path. Raises _Refused for one that is not plainly below the folder, on any system."""
    if name.startswith("/"):
        raise _Refused(name, "has an absolute path; expected one below the folder")
    if re.search(r"[\\:\x00-\x1f\x7f]", name):
        raise _Refused(name, "has a backslash, a colon or a control character in its path; expected a plain one")
    parts = name.removesuffix("/").split("/")
    if max(len(part.encode()) for part in parts) > 255:
        raise _Refused(name, "has a part of more than 255 bytes in its path; expected names that a disk can hold")
    if not all(map(_folded, parts)):  # empty, `.`, `..`, and what some systems take for them
        raise _Refused(name, "has '..' or an empty part in its path; expected one below the folder")
    return parts


def _folded(part: str) -> str:
    """What a part of a path is on systems that mind neither case nor composition nor dots and spaces at the end."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold()).rstrip(". ")


def _write(content: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    """Unpack one file. Raises _Refused where it is damaged or not as long as it claims."""
    written = 0
    try:
        with content.open(info) as packed, open(path, "xb") as file:
            while chunk := packed.read(2**20):
                written += len(chunk)
                if written > info.file_size:
                    break
                file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        raise _Refused(info.orig_filename, f"is damaged ({error}); expected what was packed") from error
    if written != info.file_size:
        raise _Refused(info.orig_filename, f"claims {info.file_size:,} bytes and holds {written:,} or more")
