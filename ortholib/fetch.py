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
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pooch
import requests

from ortholib import locks, paths, progress
from ortholib.errors import OrthoError, UsageError
from ortholib.unzip import unzip

TIMEOUT = (10, 60)  # seconds to connect, and without a byte
PAUSES = (1, 5, 20)  # seconds before each further try; the count begins again after `PROGRESS` new bytes
PROGRESS = 2**20
CHUNK = 2**16  # bytes that a broken connection loses at most
HOPS = 8  # redirects followed
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


RELEASES = {
    release.name: release
    for release in (
        # of 2026-06-13; size and md5 are figshare's, as projects that pin this file quote them alike.
        # Addresses under figshare.com/ndownloader/ answer programs with 202 and no byte.
        Release(
            name="fracatlas",
            version="v7",
            url="https://ndownloader.figshare.com/files/65518038",
            size=338_436_460,
            checksum="md5:fe9da2c7c285915ebee69dfdab8fd396",
            folder="FracAtlas",
        ),
    )
}
# for whoever gets a set by hand
ADDRESSES = {
    "kneekl": "https://data.mendeley.com/datasets/56rmx5bjcr/1",
    "grazpedwri": "https://ndownloader.figshare.com/files/35026432 (dataset.csv), likewise 34268819 "
    "(folder_structure.zip) and 34268828, 34268849, 34268864, 34268891 (images_part1.zip to images_part4.zip)",
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
    from ortholib import datasets  # takes seconds, and no download needs it

    card = datasets.describe(name)
    why = "its owner wants a registration" if card.registration else "this command knows no single archive of it"
    address = f" Address: {ADDRESSES[name]}." if name in ADDRESSES else ""
    return (
        f"{name} cannot be fetched: {why}. {card.title} ({card.where}): {card.get}.{address} Expected in "
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
    part, unpacked = work.with_name(f"{work.name}.part"), work / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a call that was killed
    expected, origin = release.checksum, "published checksum"
    if expected is None:
        expected, origin = _recorded(note, release), f"checksum recorded at first use in {note.name}"
    _show_and_check_room(release, root, max(_size(part), _size(work / "archive.zip")))
    pooch.get_logger().setLevel("WARNING")
    try:
        downloader = partial(_download, release, part)
        archive = Path(pooch.retrieve(release.url, expected, "archive.zip", work, downloader=downloader))
    except ValueError as error:
        part.unlink(missing_ok=True)
        said = str(error).partition(". Deleted")[0]
        changed = f" To trust it as it is now, delete {note}." if release.checksum is None else ""
        raise OrthoError(
            f"{release.url} did not send {release.name} {release.version} ({origin}): {said}. What arrived was "
            f"deleted. Run the same command again; if it stays so, the publisher has changed the file.{changed}"
        ) from error
    part.unlink(missing_ok=True)
    try:
        files = unzip(archive, unpacked, UNPACKED * release.size)
    except OrthoError:
        archive.unlink()  # what is no archive of a set is no use next time either
        raise
    arrived = {
        "name": release.name,
        "version": release.version,
        "url": release.url,
        "bytes": release.size,
        "sha256": pooch.file_hash(archive),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _put_text(note, json.dumps(arrived, indent=1) + "\n")
    tops = [path for path in unpacked.iterdir() if path.name != "__MACOSX" and not path.name.startswith(".")]
    (tops[0] if len(tops) == 1 and tops[0].is_dir() else unpacked).rename(target)
    shutil.rmtree(work)
    _mark(part).unlink(missing_ok=True)
    verified = f"{origin}: {expected}" if expected else f"nobody published a checksum: sha256 recorded in {note}"
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
    unpacked = UNPACKED * release.size
    needed, free = max(release.size - have, 0) + unpacked, shutil.disk_usage(root).free
    size, here, needs, room = (f"{number / 1e6:,.1f} MB" for number in (release.size, have, needed, free))
    print(
        f"{release.name} {release.version}: {size} from {release.url} into {root / release.folder}"
        f"{f' ({here} are here already)' if have else ''}; needs at most {needs} of the {room} free",
        flush=True,
    )
    if free < needed:
        raise OrthoError(
            f"{root} has {room} free; {release.name} {release.version} needs {needs} (archive {size}, and up to "
            f"{UNPACKED} times that unpacked). Free some, or name another folder with --into."
        )


# ---- download


class _Again(Exception):
    """Worth another try."""


def _download(release: Release, part: Path, url: str, output: str, _pooch) -> None:
    """Downloader for pooch: completes `part`, across breaks and calls, then hands it over as `output`.

    Raises OrthoError where trying again is no use or was of none.
    """
    pauses = list(PAUSES)
    with requests.Session() as session:
        while (before := _size(part)) != release.size:
            try:
                _receive(session, release, part)
                why = "the connection was closed"
            except _Again as error:
                why = str(error)
            except requests.RequestException as error:
                why = f"the connection failed ({_innermost(error)!r})"
            have = _size(part)
            if have == release.size:
                break
            if have - before >= PROGRESS:
                pauses = list(PAUSES)
            if not pauses:
                raise OrthoError(
                    f"{url}: {why}; {have:,} of {release.size:,} bytes are here after {len(PAUSES) + 1} tries. "
                    f"They stay in {part}: run the same command again and it goes on."
                )
            time.sleep(pauses.pop(0))
    os.unlink(output)
    try:
        os.link(part, output)  # so that an interruption while it is verified loses nothing
    except OSError:  # a file system without links
        os.replace(part, output)


def _innermost(error: BaseException) -> BaseException:
    """What it began with: the errors of requests wrap it several times."""
    while error.__context__:
        error = error.__context__
    return error


def _receive(session: requests.Session, release: Release, part: Path) -> None:
    """One request: appends what it brings to `part`, which begins again where the server's file is another one."""
    have, mark = _size(part), _mark(part)
    if have > release.size:
        part.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges are of the file itself
    known = mark.read_text("latin-1").strip() if have and mark.exists() else ""
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": known} if known else {})
    with _open(session, release.url, headers) as response:
        now = _validator(response)
        if response.status_code == 206:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            if not span or int(span[1]) != have or (known and now and known != now):
                part.unlink(missing_ok=True)
                raise _Again("the file changed between two tries, or another part of it was sent than asked for")
            total = span[2]
        elif response.status_code == 200:
            have, total = 0, response.headers.get("Content-Length", "*")
        elif response.status_code == 416:
            part.unlink(missing_ok=True)
            raise _Again("answered 416: the file is shorter than what is here of it")
        elif response.status_code in (408, 425, 429) or response.status_code >= 500:
            raise _Again(f"answered {response.status_code} {response.reason}")
        else:
            raise OrthoError(
                f"{release.url} answered {response.status_code} {response.reason}; expected 200 and the archive of "
                f"{release.name} {release.version}. Try later, or download it in a browser and unpack it as "
                f"{release.folder}/ into the data folder."
            )
        if total != "*" and total != str(release.size):
            raise OrthoError(
                f"{release.url} announces {total} bytes; {release.name} {release.version} has {release.size}. Nothing "
                "was taken. Try later; if it stays so, the publisher has changed the file."
            )
        if not have:
            part.unlink(missing_ok=True)  # first, so that no kill leaves it under the mark of another file
            mark.write_text(now, "latin-1")
        bar = progress.bar(
            total=release.size, initial=have, unit="B", unit_scale=True, desc=f"{release.name} {release.version}"
        )
        with open(part, "ab") as file, bar:
            for chunk in response.iter_content(CHUNK):
                have += len(chunk)
                if have > release.size:
                    part.unlink()
                    raise OrthoError(
                        f"{release.url} sends more than the {release.size} bytes of {release.name} {release.version}. "
                        "What arrived was deleted. Try later; if it stays so, the publisher has changed the file."
                    )
                file.write(chunk)
                bar.update(len(chunk))


def _open(session: requests.Session, url: str, headers: dict) -> requests.Response:
    """The response after all redirects. Raises OrthoError for those that leave http(s), or https, or lead nowhere."""
    asked, secure = url, False
    for _ in range(HOPS + 1):
        scheme = urlsplit(url).scheme
        if scheme != "https" and (secure or scheme != "http"):
            raise OrthoError(
                f"{asked} leads to {url}; expected an address with https (or http all the way). Try later."
            )
        secure = scheme == "https"
        response = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUT)
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["Location"])
    raise OrthoError(f"{asked} redirects more than {HOPS} times, last to {url}; expected the file. Try later.")


def _validator(response: requests.Response) -> str:
    """What tells this file from another one at the same address: its strong ETag, else its date, else nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _mark(part: Path) -> Path:
    """File with the validator of what `part` holds the beginning of."""
    return part.with_name(f"{part.name}.mark")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _put_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    partial_file = path.with_name(f"{path.name}.partial")
    partial_file.write_text(text)
    partial_file.replace(path)
