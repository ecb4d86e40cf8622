"""Download of openly licensed sets: resumed where it broke off, verified before it appears, whole or not at all.

The only place that writes to the user's data root. Everything happens in `<root>/.fetch`; the set's folder appears by
one rename and is never overwritten. Beside it, `<folder>.fetched.json` says where it came from.
"""

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BufferedWriter
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pooch
import requests
from tqdm.utils import CallbackIOWrapper

from ortholib import locks, paths, progress
from ortholib.data.unzip import unzip
from ortholib.errors import OrthoError, UsageError

TIMEOUT = (10, 60)  # seconds to connect, and without a byte
PAUSES = (1, 5, 20)  # seconds before each further try; the count begins again after `PROGRESS` new bytes
PROGRESS = 2**20
CHUNK = 2**16  # bytes that a broken connection loses at most
UNPACKED = 3  # times the archive that its content may take: radiographs hardly compress


@dataclass(frozen=True)
class Release:
    """One zip archive: a version of a set.

    size: bytes. checksum: `<algorithm>:<hex>` as its publisher gives it. A checksum that nobody published (None) is
    recorded at first use, never invented: the sha256 of what arrived, which later downloads must match.
    folder: name of the set's folder in the data root.
    """

    name: str
    version: str
    url: str
    size: int
    checksum: str | None
    folder: str

    @property
    def by_hand(self) -> str:
        """What to do with the file after a download in a browser."""
        return f"unpack it as {self.folder}/ into the data folder"


RELEASES = {
    # of 2026-06-13; size and md5 are figshare's, as projects that pin this file quote them alike.
    # Addresses under figshare.com/ndownloader/ answer programs with 202 and no byte.
    "fracatlas": Release(
        name="fracatlas",
        version="v7",
        url="https://ndownloader.figshare.com/files/65518038",
        size=338_436_460,
        checksum="md5:fe9da2c7c285915ebee69dfdab8fd396",
        folder="FracAtlas",
    ),
}


def fetch(name: str, into: Path | None = None) -> dict:
    """Download a set into `into` (default: `$ORTHOLIB_DATA`), and say what arrived and how it was verified.

    Raises UsageError for a set that cannot be fetched, with the way to get it, and OrthoError where the download fails
    or the set is there already. What arrived before a failure or an interruption stays, and a later call goes on.
    """
    release = RELEASES.get(name)
    if release is None:
        raise UsageError(_by_hand(name))
    root = Path(into).expanduser().resolve() if into else paths.data_root()
    if root is None:
        raise UsageError(f"ORTHOLIB_DATA is not set: where is {name} to go? Set it, or name a folder with --into.")
    try:
        _refuse_existing(root / release.folder)
        with locks.held(root / ".fetch" / name):
            _refuse_existing(root / release.folder)  # another process may have brought it meanwhile
            return _fetched(release, root)
    except OSError as error:
        raise OrthoError(
            f"{error.filename or root}: {error.strerror or error}, while {name} {release.version} was fetched. "
            f"Nothing of it appeared in {root}. Mend that and run the same command again: it goes on."
        ) from error


def _by_hand(name: str) -> str:
    """How to get a set that cannot be fetched. Raises UsageError for one that is not known."""
    from ortholib.data import datasets  # takes seconds, and no download needs it

    card = datasets.describe(name)
    why = "its owner wants a registration" if card.registration else "this command knows no single archive of it"
    return (
        f"{name} cannot be fetched: {why}. {card.title} ({card.where}): {card.get}. Expected in "
        f"$ORTHOLIB_DATA/{card.folders[0]}/: {card.layout}. Then `ortholib data check {name}`."
    )


def _refuse_existing(target: Path) -> None:
    """Raise OrthoError for a target that is anything but absent or an empty folder."""
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir() or any(target.iterdir())):
        raise OrthoError(
            f"{target} is there already and is never overwritten. "
            "To fetch it anew, move it away or name another folder with --into."
        )


def _fetched(release: Release, root: Path) -> dict:
    """`fetch`, under the lock."""
    target, note = root / release.folder, root / f"{release.folder}.fetched.json"
    work = root / ".fetch" / f"{release.name}-{release.version}"
    part, archive, unpacked = work / "part", work / "archive.zip", work / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a call that was killed
    checksum, origin = release.checksum, "published checksum"
    if checksum is None:
        checksum, origin = _recorded(note, release), f"checksum recorded at first use in {note}"
    have = max((path.stat().st_size for path in (part, archive) if path.exists()), default=0)
    _show_and_check_room(release, root, have)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(release.url, checksum, archive.name, work, downloader=partial(resume, release, part))
    except ValueError as error:  # pooch's, which names both checksums
        shutil.rmtree(work)
        trust = f": to trust it as it is now, delete {note}" if release.checksum is None else ""
        raise OrthoError(
            f"{release.url} did not send {release.name} {release.version} ({origin}). {error} "
            f"Run the same command again; if it stays so, the publisher has changed the file{trust}."
        ) from error
    try:
        files = unzip(archive, unpacked, UNPACKED * release.size)
    except OrthoError:
        shutil.rmtree(work)  # what is no archive of a set is no use next time either
        raise
    arrived = {"name": release.name, "version": release.version, "url": release.url, "bytes": release.size}
    arrived |= {"sha256": pooch.file_hash(archive), "when": datetime.now(UTC).isoformat(timespec="seconds")}
    (work / note.name).write_text(json.dumps(arrived, indent=1) + "\n")
    (work / note.name).replace(note)
    tops = [path for path in unpacked.iterdir() if path.name != "__MACOSX" and not path.name.startswith(".")]
    (tops[0] if len(tops) == 1 and tops[0].is_dir() else unpacked).rename(target)
    shutil.rmtree(work)
    verified = f"{origin}: {checksum}" if checksum else f"nobody published a checksum: sha256 recorded in {note}"
    return arrived | {"folder": str(target), "files": files, "verified": verified}


def _recorded(note: Path, release: Release) -> str | None:
    """The checksum that the first download of this release left, if there was one."""
    if not note.exists():
        return None
    try:
        record = json.loads(note.read_text())
        same = (record["url"], record["version"]) == (release.url, release.version)
        return f"sha256:{record['sha256']}" if same else None
    except (ValueError, TypeError, KeyError) as error:
        raise OrthoError(
            f"{note} is damaged ({error!r}); expected JSON with url, version and sha256 of the first download. "
            "Restore it, or delete it to trust what arrives now."
        ) from error


def _show_and_check_room(release: Release, root: Path, have: int) -> None:
    """Say what is about to be downloaded. Raises OrthoError where the disk cannot hold it."""
    needed, free = max(release.size - have, 0) + UNPACKED * release.size, shutil.disk_usage(root).free
    size, here, needs, room = (f"{number / 1e6:,.1f} MB" for number in (release.size, have, needed, free))
    plan = (
        f"{release.name} {release.version}: {size} from {release.url} into {root / release.folder}"
        f"{f' ({here} are here already)' if have else ''}; needs at most {needs} of the {room} free"
    )
    if free < needed:
        raise OrthoError(f"{plan} (unpacked, {UNPACKED} times the archive). Free some, or choose a folder with --into.")
    print(plan, flush=True)


def resume(release: Release, part: Path, url: str, output_file: str, _pooch) -> None:
    """Downloader for pooch, whose own begins at byte 0: completes `part` across breaks and calls, then hands it over.

    Raises OrthoError where trying again is no use, or was of none.
    """
    name, size, pauses, why = f"{release.name} {release.version}", release.size, iter((0, *PAUSES)), ""
    mark = part.with_name("part.mark")  # the validator of the file that `part` is the beginning of
    with (
        open(part, "ab") as file,
        progress.bar(total=size, initial=file.tell(), unit="B", unit_scale=True, desc=name) as bar,
    ):

        def grown(_):
            bar.update(file.tell() - bar.n)  # negative after a new beginning
            if file.tell() > size:
                _empty(file)
                raise ValueError("it sends more, and what arrived was deleted")

        while (have := file.tell()) != size:
            if (pause := next(pauses, None)) is None:
                raise OrthoError(
                    f"{url}: {why}; {have:,} of {size:,} bytes are here after {len(PAUSES) + 1} tries. They stay "
                    f"in {part}: run the same command again and it goes on."
                )
            time.sleep(pause)
            headers = {"Accept-Encoding": "identity"}  # lengths and ranges are of the file itself
            if 0 < have < size:
                known = mark.read_text("latin-1") if mark.exists() else ""
                headers |= {"Range": f"bytes={have}-"} | ({"If-Range": known} if known else {})
            hooks = {"response": partial(_check, release, file, mark)}
            try:
                once = pooch.HTTPDownloader(chunk_size=CHUNK, timeout=TIMEOUT, headers=headers, hooks=hooks)
                once(url, CallbackIOWrapper(grown, file, "write"), None)
                why = "the connection was closed"
            except (ValueError, requests.TooManyRedirects) as error:  # ValueError of requests: no address for it
                raise OrthoError(
                    f"{url}: {error}; expected 200 and the {size} bytes of {name}, over https (or http all the way). "
                    "Try later; if it stays so, the publisher has changed the file: download it in a browser and "
                    f"{release.by_hand}."
                ) from error
            except requests.RequestException as error:
                why = str(error)
            if file.tell() - have >= PROGRESS:
                pauses = iter(PAUSES)
    os.unlink(output_file)
    try:
        os.link(part, output_file)  # so that an interruption while it is verified loses nothing
    except OSError:  # a file system without links
        os.replace(part, output_file)


def _check(release: Release, file: BufferedWriter, mark: Path, response: requests.Response, **_) -> None:
    """Hook of requests, before a body is read: lets through what belongs at the end of `file`, which it may empty.

    Raises ValueError where trying again is no use, and RequestException where it may be of some.
    """
    status, headers, known = response.status_code, response.headers, response.request.headers.get("If-Range")
    if response.is_redirect:
        to = urljoin(response.url, headers["Location"])
        if urlsplit(response.url).scheme == "https" != urlsplit(to).scheme:
            raise ValueError(f"{response.url} leads to {to}")
        response.close()  # or its body is read, of any length
        return
    etag = headers.get("ETag", "W/")
    now = headers.get("Last-Modified", "") if etag.startswith("W/") else etag  # a weak one promises no equal bytes
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if status in (206, 416) and not (span and int(span[1]) == file.tell() and (not known or now in ("", known))):
        _empty(file)
        raise requests.HTTPError(f"it answered {status}, but not the part asked for of the file that was here")
    if status in (408, 425, 429) or status >= 500:
        raise requests.HTTPError(f"it answered {status} {response.reason}")
    if status not in (200, 206):
        raise ValueError(f"it answered {status} {response.reason}")
    total = headers.get("Content-Length", "*") if status == 200 else span[2]
    if total not in ("*", str(release.size)):
        raise ValueError(f"it announces {total} bytes")
    if status == 200:
        _empty(file)  # first, so that no kill leaves it under the mark of another file
    if not file.tell():
        mark.write_text(now, "latin-1")


def _empty(file: BufferedWriter) -> None:
    file.truncate(file.seek(0))
