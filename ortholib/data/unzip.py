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
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)  # what zipfile raises


def unzip(archive: Path, folder: Path, limit_bytes: int) -> int:
    """Unpack a zip archive that nobody has to trust into a folder that does not exist yet; the number of files in it.

    Own checks before `ZipFile.extract`, because that (like `pooch.Unzip`) mends paths instead of refusing them, and
    minds no size. Raises OrthoError, naming the member, for paths that leave the folder or that two members share,
    links and other special files, encryption, damage, and content of more than `limit_bytes`. The folder is gone then.
    """
    folder.mkdir(parents=True)
    member = ""
    try:
        with zipfile.ZipFile(archive) as content:
            _check(content.infolist(), archive.stat().st_size, limit_bytes)
            files = [info for info in content.infolist() if not info.is_dir()]
            for info in progress.bar(files, desc="unpacking", unit="file"):
                member = f"member {info.orig_filename!r} is damaged: "
                if Path(content.extract(info, folder)).stat().st_size != info.file_size:  # never more: zipfile stops
                    raise ValueError(f"it claims {info.file_size:,} bytes and holds less")
        if not files:
            raise ValueError("it holds no file")
        return len(files)
    except BaseException as error:
        shutil.rmtree(folder)
        if isinstance(error, DAMAGE):
            raise OrthoError(
                f"{archive} is no sound zip archive: {member}{error}. Expected plain open files (stored or deflated), "
                f"each with a path of its own below one folder, {limit_bytes:,} bytes at most. Nothing was unpacked."
            ) from error
        raise


def _check(members: list[zipfile.ZipInfo], size: int, limit: int) -> None:
    """Raise ValueError unless every member of an archive of `size` bytes is known to be harmless."""
    total, compressed, seen = 0, 0, {}
    for number, info in enumerate(members, 1):
        name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
        parts = name.removesuffix("/").split("/")
        total, compressed = total + info.file_size, compressed + info.compress_size
        for wrong, why in (
            (number > MEMBERS, f"is one of {len(members):,}, more than {MEMBERS:,}"),
            (re.search(r"[\\:\x00-\x1f\x7f]", name), "has a backslash, a colon or a control character in its path"),
            (max(len(part.encode()) for part in parts) > 255, "has a part of more than 255 bytes in its path"),
            # empty, `.`, `..`, and what some systems take for them
            (not all(map(_folded, parts)), "has an absolute path, or '..' or an empty part in it"),
            (kind not in (0, stat.S_IFREG, stat.S_IFDIR), f"is a {'link' if stat.S_ISLNK(kind) else 'special file'}"),
            (info.flag_bits & 0x2041, "is encrypted"),  # itself, strongly, or the list of members too
            (info.compress_type not in (0, 8), f"is compressed by method {info.compress_type}"),
            (total > limit, f"brings the content to {total:,} bytes or more"),
            (
                info.file_size > max(2**20, RATIO * info.compress_size),
                f"claims {info.file_size:,} bytes from {info.compress_size:,}, unlike radiographs",
            ),
            (not 0 <= info.header_offset < size, f"begins at byte {info.header_offset:,} of {size:,}"),
            (compressed > size, "shares its bytes with another member"),
        ):
            if wrong:
                raise ValueError(f"member {name!r} {why}")
        for depth in range(1, len(parts) + 1):
            key, here = tuple(map(_folded, parts[:depth])), parts[:depth]
            file = depth == len(parts) and not info.is_dir()
            spelled, was_file = seen.setdefault(key, (here, file))
            if spelled != here or was_file != file or (file and spelled is not here):
                raise ValueError(f"member {name!r} collides with {'/'.join(spelled)!r} of another member")


def _folded(part: str) -> str:
    """What a part of a path is on systems that mind neither case nor composition nor dots and spaces at the end."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold()).rstrip(". ")
