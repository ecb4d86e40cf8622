"""The beginning of a manifest: a table with a line an image file of a folder, for its owner to correct and fill in."""

import os
import stat
from collections import Counter
from pathlib import Path

import pandas as pd
from PIL import Image, ImageFile

from ortholib import paths, progress
from ortholib.data import dicom, files, ids, manifest
from ortholib.errors import OrthoError, UsageError


def begin(folder: Path, out: Path) -> pd.DataFrame:
    """Begin a manifest: a line an image file below `folder`, written to `out` with columns path, group, split, label.

    group: the hash of the DICOM header's PatientID, else the name of the folder directly below `folder`, else empty.
    Files are taken by name, or else by content, and not decoded; hidden files are skipped, links are not followed.
    The frame's `attrs` say how groups were guessed, what was skipped and why (all by name), and what to do next.
    Raises UsageError for an `out` that exists, that is no .csv, or that lies in `folder` or in the data root.
    """
    folder, out = folder.expanduser().resolve(), out.expanduser()
    if not folder.is_dir():
        raise OrthoError(f"{folder} is no folder; expected the one that holds your images.")
    _check_place(folder, out)
    found, skipped = walk(folder)
    if not found:
        why = ", ".join(f"{reason}: {k}" for reason, k in Counter(skipped.values()).items()) or "it is empty"
        raise OrthoError(f"{folder} holds no image file ({why}). Name the folder that holds your images with --from.")
    table = pd.DataFrame(found, columns=["path", "patient"]).astype(str).sort_values("path", ignore_index=True)
    top = table["path"].where(table["path"].str.contains("/"), "").str.partition("/")[0]
    by_header = table["patient"] != ""
    names = table.loc[by_header, "patient"].unique()
    hashes = dict(zip(names, ids.hashed(names, manifest.set_name(out)), strict=True)) if len(names) else {}
    table["group"] = table["patient"].map(hashes).where(by_header, top).astype(str)
    table = table.assign(split="", label="")[["path", "group", "split", "label"]]
    try:
        with out.open("x", encoding="utf-8-sig", newline="") as stream:  # the mark tells spreadsheets that it is UTF-8
            table.to_csv(stream, index=False)
    except OSError as error:
        raise OrthoError(f"{out} cannot be written ({error.strerror}). Choose another place with --out.") from error
    notes = []
    if by_header.any() and not by_header.all():
        notes.append(
            "some groups are from DICOM headers and some from folders: one patient may have two; make them one"
        )
    table.attrs = {
        "manifest": str(out),
        "root": str(folder),
        "files": len(table),
        "groups": int(table.loc[table["group"] != "", "group"].nunique()),
        "group_from": {
            "PatientID of the DICOM header, hashed": int(by_header.sum()),
            "name of the top folder": int((~by_header & (top != "")).sum()),
            "nothing: left empty": int((table["group"] == "").sum()),
        },
        "skipped": dict(Counter(skipped.values())),
        "skipped_files": skipped,
        "notes": notes,
        "next": "See that `group` is the patient, fill in the labels, then: "
        f"ortholib data check {out} --root {folder} (paths are relative to that folder)",
    }
    return table


def _check_place(folder: Path, out: Path) -> None:
    if out.suffix.lower() != ".csv":
        raise UsageError(f"{out}: a manifest is begun as CSV; expected a name that ends in .csv.")
    if os.path.lexists(out):
        raise UsageError(f"{out} exists already and is not overwritten; choose another name with --out.")
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent} is no folder; make it, or choose another place with --out.")
    for closed in filter(None, (folder, paths.data_root())):
        if out.parent.resolve().is_relative_to(closed):
            raise UsageError(
                f"{out} lies in {closed}, and nothing is ever written where images are. Name another place with --out; "
                f"`ortholib data check MANIFEST --root {folder}` reads it there."
            )


def walk(folder: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """(path below the folder, PatientID or "") of the image files, and why each other one was skipped, by path."""
    found, skipped = [], {}

    def skip(path: str, why: str) -> None:
        name = os.fsencode(os.path.relpath(path, folder)).decode("utf-8", "replace")
        skipped[manifest.CONTROL.sub("\N{REPLACEMENT CHARACTER}", name)] = why

    def closed(error: OSError) -> None:
        skip(error.filename, "a folder that cannot be opened")

    for inside, folders, names in progress.bar(os.walk(folder, onerror=closed), desc="looking", unit="folder"):
        for name in list(folders):
            path = os.path.join(inside, name)
            if name.startswith(".") or os.path.islink(path):
                folders.remove(name)
                skip(path, "a hidden folder" if name.startswith(".") else "a link")
        for name in names:
            path = Path(inside, name)
            try:
                patient = _patient(folder, path)
            except files.UNREADABLE as error:
                skip(path, files.reason(error))
            else:
                found.append((path.relative_to(folder).as_posix(), patient))
    return found, dict(sorted(skipped.items()))


def _patient(folder: Path, path: Path) -> str:
    """PatientID of a DICOM file, "" of another image. Raises one of UNREADABLE for what is no image file."""
    if path.name.startswith(".") or path.name == "Thumbs.db":
        raise ValueError("a hidden file")
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("a link" if stat.S_ISLNK(mode) else "no plain file")
    inside = path.relative_to(folder).as_posix()
    try:
        inside.encode()
    except UnicodeEncodeError:
        raise ValueError("a name that is not UTF-8") from None
    if manifest.place(folder, inside) != (inside, "") or inside != inside.strip():
        raise ValueError("a name that a manifest cannot hold")
    match files.kind(path):
        case "picture" if path.suffix.lower() not in files.PICTURES:
            with Image.open(path) as image:
                if isinstance(image, ImageFile.StubImageFile):
                    raise ValueError(f"a {image.format} file, which is not read")
        case "dicom":
            header = dicom.header(path)
            if "Rows" not in header:
                raise ValueError("a DICOM file without a picture")
            return manifest.CONTROL.sub("", str(header.get("PatientID") or "")).strip()
    return ""
