"""A picture that shows next to nothing of its file is named, with what was shown as black and white; no other is."""

import json

import numpy as np
import pytest
from dicoms import make
from pictures import png, tiff
from PIL import Image

from ortholib.data import audit, check, files, manifest, plausible

RAMP = np.linspace(0, 4095, 48 * 64).round().astype(np.uint16).reshape(48, 64)


def doubt(*planes: np.ndarray) -> str:
    return plausible.doubt(Image.fromarray(plane) for plane in planes)


def test_what_is_doubtful():
    y, x = np.mgrid[:100, :100]
    assert doubt(np.full((9, 9), 77, np.uint8)) == "constant"
    assert doubt((x % 12).astype(np.uint8)) == "nearly black"
    assert doubt((244 + x % 12).astype(np.uint8)) == "nearly white"
    assert doubt((100 + x % 12).astype(np.uint8)) == "only the levels 100 to 111 of 255"
    assert doubt((100 + x % 13).astype(np.uint8)) == ""  # a twentieth of the range
    letters = np.where((x < 6) & (y < 6), 255, 0).astype(np.uint8)  # 0.36 % of the pixels
    assert doubt(letters) == "nearly black"
    assert doubt(np.where(x < 2, 200, 0).astype(np.uint8)) == ""  # 2 %: something is there
    assert doubt(np.zeros((9, 9), np.uint8), np.full((9, 9), 200, np.uint8)) == ""


def hot() -> np.ndarray:
    values = RAMP.astype(np.uint16) // 64
    values[0, 0] = 65535
    return values


def dicom(values=RAMP, **elements):
    return lambda path: make(values, **elements).save_as(path, enforce_file_format=True)


def saved(data) -> object:
    return lambda path: path.write_bytes(data)


NAMED = {
    "hot.png": (saved(png(hot())), "nearly black (window: 0 to 65535)"),
    "hot.tif": (saved(tiff(hot(), 0)), "nearly white (window: 0 to 65535)"),
    "mask.png": (Image.fromarray((RAMP > 2000).astype(np.uint8)).save, "nearly black (window: 0 to 255, as stored)"),
    "drawn-in-alpha.png": (
        Image.merge("LA", [Image.new("L", (64, 48)), Image.fromarray((RAMP // 16).astype(np.uint8))]).save,
        "constant (window: 0 to 255, as stored)",
    ),
    "wide.dcm": (
        dicom(WindowCenter=0, WindowWidth=10**6),
        "only the levels 128 to 129 of 255 (window: centre 0, width 1000000, LINEAR)",
    ),
    "high.dcm": (
        dicom(WindowCenter=9000, WindowWidth=100, VOILUTFunction="LINEAR_EXACT"),
        "constant (window: centre 9000, width 100, LINEAR_EXACT)",
    ),
    "hot.npy": (lambda path: np.save(path, hot()), "nearly black (window: 0 to 65535, of the whole volume)"),
}
PLAIN = {
    "blank.png": Image.new("L", (64, 48), 3).save,
    "blank.dcm": dicom(RAMP * 0 + 7, WindowCenter=2000, WindowWidth=9),
    "ramp.png": saved(png(RAMP)),
    "ramp.jpg": Image.fromarray((RAMP // 16).astype(np.uint8)).save,
    "ramp.dcm": dicom(WindowCenter=2048, WindowWidth=4096),
    "zero.npy": lambda path: np.save(path, np.zeros((20, 8, 8), np.uint8)),
    "sparse.npy": lambda path: np.save(path, np.where(np.arange(20)[:, None, None] == 3, RAMP[None] // 16, 0)),
}


@pytest.mark.parametrize("name", NAMED)
def test_named_with_its_window(tmp_path, name):
    write, words = NAMED[name]
    write(tmp_path / name)
    assert files.examine(tmp_path / name) == (64, 48, "", words)


@pytest.mark.parametrize("name", PLAIN)
def test_not_named(tmp_path, name):
    PLAIN[name](tmp_path / name)
    assert files.examine(tmp_path / name)[2:] == ("", "")


def test_check_and_audit_name_them(tmp_path):
    for name, write in ({name: write for name, (write, _) in NAMED.items()} | PLAIN).items():
        write(tmp_path / name)
    pages = [Image.fromarray((RAMP // 16).astype(np.uint8)), Image.fromarray((RAMP // 512).astype(np.uint8))]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "cut.png").write_bytes(png(hot())[:-40])
    names = [*NAMED, "ramp.png", "blank.png", "ramp.jpg", "pages.tif", "cut.png"]
    rows = "".join(f"{name},{k},{k % 2}\n" for k, name in enumerate(names))
    (tmp_path / "own.csv").write_text("path,group,y\n" + rows)
    found = manifest.read(tmp_path / "own.csv")
    expected = {name: words for name, (_, words) in NAMED.items()}
    expected["pages.tif#1"] = "nearly black (window: 0 to 255, as stored)"
    assert found.doubts == expected
    counts = check.run(found, "y")
    assert (counts["implausible"], counts["unreadable"]) == (len(NAMED) + 1, 1)
    assert audit.run(found, "y").counts["implausible"] == len(NAMED) + 1
    json.dumps(found.doubts)
