"""Published weights brought to `$ORTHOLIB_WEIGHTS`: resumed where a download broke off, verified before they appear."""

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pooch
import requests

from ortholib import locks, wording
from ortholib.data import fetch
from ortholib.encoders import registry
from ortholib.encoders.published import Encoder
from ortholib.errors import OrthoError

SMALL = (".json", ".txt")  # configurations and vocabularies, which come with the network's file


@dataclass(frozen=True)
class File(fetch.Release):
    """One file at an address. folder: where it belongs, its name included."""

    @property
    def by_hand(self) -> str:
        """What to do with the file after a download in a browser."""
        return f"put it at {self.folder}"


def get(name: str) -> dict:
    """Download the weights `name`, and say what is here and how it was verified. What is here already is verified only.

    A checksum that nobody published is recorded at first use, beside the file, and every later use must match it.
    Raises UsageError for an unknown name; OrthoError, with the way, for what no program may or can download, and
    where a download fails or brings another file.
    """
    card = registry.describe(name)
    if registry.absent(name):
        if card.source not in ("url", "hub"):
            raise OrthoError(f"{name} is not downloaded by this command. {registry.way(name)}")
        if card.gated and not _token():
            raise OrthoError(f"{name} is gated and HF_TOKEN is not set. {registry.way(name)}")
        folder = registry.folder(name)
        with locks.held(folder / ".get"):
            if registry.absent(name):  # another process may have brought it meanwhile
                (_from_hub if card.source == "hub" else _from_address)(name, card, folder)
    file = registry.find(name, "real")
    digest = registry.verify(name, file)
    if file.parent == registry.folder(name):
        _record(file.parent, card)
    note = file.parent / registry.RECORD
    how = "its publisher's sha256" if card.sha256 else f"nobody published a checksum: recorded at first use in {note}"
    return {"name": name, "file": str(file), "bytes": file.stat().st_size, "sha256": digest, "verified": how}


def _record(folder: Path, card: Encoder) -> None:
    """Add the files of an encoder that are here to the record of the folder."""
    known = registry.recorded(folder)
    new = {file: pooch.file_hash(str(folder / file)) for file in card.files
           if file not in known and (folder / file).is_file()}  # fmt: skip
    if new:
        part = folder / f"{registry.RECORD}.part"
        part.write_text(json.dumps(known | new, indent=1) + "\n")
        part.replace(folder / registry.RECORD)


def _from_address(name: str, card: Encoder, folder: Path) -> None:
    """One file over https, as the sets are fetched."""
    target, part = folder / card.file, folder / f"{card.file}.part"
    try:
        headers = {"Accept-Encoding": "identity"}
        with requests.get(card.address, headers=headers, stream=True, timeout=fetch.TIMEOUT) as answer:
            answer.raise_for_status()
            size = int(answer.headers["Content-Length"])
    except (requests.RequestException, KeyError, ValueError) as error:
        why = f"does not say its length ({error})" if isinstance(error, KeyError | ValueError) else f"{error}"
        raise OrthoError(f"{card.address}: {why}. Nothing was downloaded. {registry.way(name)}") from error
    file = File(name, "", card.address, size, None, str(target))
    pooch.get_logger().setLevel("WARNING")
    work = folder / ".part"
    pooch.retrieve(card.address, None, card.file, work, downloader=partial(fetch.resume, file, part))
    arrived = work / card.file
    digest = pooch.file_hash(str(arrived))
    if not digest.startswith(card.sha256):
        for path in (arrived, part):
            path.unlink(missing_ok=True)
        raise OrthoError(
            f"{card.address} sent another file: its sha256 is {digest}, its publisher's begins with {card.sha256}. "
            "Run the same command again; if it stays so, the file was changed there."
        )
    arrived.replace(target)
    part.unlink(missing_ok=True)
    part.with_name("part.mark").unlink(missing_ok=True)
    work.rmdir()


def _from_hub(name: str, card: Encoder, folder: Path) -> None:
    """The network's file and the small ones of a folder of the Hugging Face hub; its client resumes by itself."""
    from huggingface_hub import errors, hf_hub_download  # takes a second

    if registry.offline():
        raise OrthoError(f"{name} is not here and HF_HUB_OFFLINE is set. Unset it, or: {registry.way(name)}")
    # the network's file last: where it is, the others are
    for file in (*card.files[1:], card.file):
        if file == card.file or file.endswith(SMALL):
            try:
                endpoint = os.environ.get("HF_ENDPOINT")
                hf_hub_download(card.published, file, local_dir=folder, token=_token(), endpoint=endpoint)
            except errors.GatedRepoError as error:
                why = "its publisher has not given this account access. Ask for it there and set HF_TOKEN"
                raise OrthoError(f"{card.address}: {why}. {registry.way(name)}") from error
            except Exception as error:  # httpx, xet and the client each raise their own
                why = wording.one_line(error)
                again = "Run the same command again and it goes on"
                raise OrthoError(f"{card.address}, {file}: {why} {again}, or: {registry.way(name)}") from error


def _token() -> str | None:
    """`HF_TOKEN`, or that of a login on this machine."""
    from huggingface_hub import get_token

    return get_token()
