"""The store: every square is its file, and neither a kill, a full disk nor a second process changes a byte of it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ortholib.data import pixels
from ortholib.data.files import Plane, inspect
from ortholib.errors import OrthoError, UsageError

SIZE = 32


@pytest.fixture(scope="module")
def files(phantom) -> dict[str, Plane]:
    """40 knees and 77 readable films of two shapes."""
    found = {path.stem: path for path in phantom.rglob("*.jpg")}
    return {name: Plane(path) for name, path in found.items() if not inspect(path)[2]}


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory) -> pixels.PixelStore:
    """The store of `files`, packed without any incident."""
    return pixels.pack(files, "set", SIZE, tmp_path_factory.mktemp("stores"))


def assert_same(store: pixels.PixelStore, whole: pixels.PixelStore) -> None:
    assert store.hash == whole.hash and store.failed == whole.failed
    assert store.image_ids.tolist() == whole.image_ids.tolist()
    for name in ("pixels.u8", "store.json"):
        assert (store.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert sorted(p.name for p in store.folder.iterdir()) == ["pixels.u8", "store.json"]
    assert not store.folder.with_name(store.folder.name + ".partial").exists()


def test_every_square_is_its_file(files, whole):
    assert whole.pixels.shape == (len(files), SIZE, SIZE) and whole.pixels.dtype == np.uint8
    assert whole.image_ids.tolist() == sorted(files) and not whole.failed
    for row in np.random.default_rng(0).permutation(len(files))[:40]:
        canvas, box = pixels.square(files[whole.image_ids[row]], SIZE)
        assert np.array_equal(whole.pixels[row], canvas) and tuple(whole.valid[row]) == box
    assert not whole.pixels.flags.writeable


def test_order_of_the_files_does_not_matter_and_packing_again_opens(files, whole, monkeypatch):
    monkeypatch.setattr(pixels, "_one", None)  # would raise if anything was decoded
    again = pixels.pack(dict(reversed(files.items())), "set", SIZE, whole.folder.parent)
    assert_same(again, whole)


def test_rows(whole):
    asked = np.random.default_rng(1).permutation(whole.image_ids)
    assert (whole.image_ids[whole.rows(asked)] == asked).all()
    assert (whole.rows(list(asked.astype(object))) == whole.rows(asked)).all()
    assert whole.rows([]).tolist() == []
    for wrong in ("", "IMG0000000x", "zzz"):
        with pytest.raises(OrthoError, match=f"holds no image '{wrong}'"):
            whole.rows([asked[0], wrong])


def test_another_content_size_or_time_is_another_store(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (20, 10), 50).save(path)
    first = pixels.pack({"a": Plane(path)}, "set", 8, tmp_path / "stores")
    assert pixels.pack({"a": Plane(path)}, "set", 16, tmp_path / "stores").folder != first.folder
    Image.new("L", (20, 10), 60).save(path)
    os.utime(path, ns=(1, 1))
    second = pixels.pack({"a": Plane(path)}, "set", 8, tmp_path / "stores")
    assert second.folder != first.folder and second.hash != first.hash
    os.utime(path, ns=(2, 2))
    third = pixels.pack({"a": Plane(path)}, "set", 8, tmp_path / "stores")
    assert third.folder != second.folder and third.hash == second.hash  # the hash is of the content alone


def test_undecodable_file_is_named_and_black_and_the_rest_is_kept(files, whole, tmp_path):
    bad = tmp_path / "b.jpg"
    bad.write_bytes(next(iter(files.values())).path.read_bytes()[:700])
    odd = {"IMG0000010b": Plane(bad), "0": Plane(tmp_path.parent)}
    store = pixels.pack(files | odd, "set", SIZE, tmp_path / "stores")
    assert store.failed["IMG0000010b"] == "truncated" and set(store.failed) == {"IMG0000010b", "0"}
    rows = store.rows(sorted(store.failed))
    assert not store.pixels[rows].any() and not store.valid[rows].any()
    assert np.array_equal(store.pixels[store.rows(whole.image_ids)], whole.pixels)


@pytest.mark.parametrize("size", [7, 0, -8])
def test_size_too_small(files, tmp_path, size):
    with pytest.raises(UsageError, match=f"size {size} is too small"):
        pixels.pack(files, "set", size, tmp_path)


def test_nothing_to_pack(tmp_path):
    with pytest.raises(OrthoError, match=r"fracatlas: nothing to pack.*data check fracatlas"):
        pixels.pack({}, "fracatlas", SIZE, tmp_path)


def test_file_that_went_away(tmp_path):
    with pytest.raises(OrthoError, match=r"gone\.jpg: No such file"):
        pixels.pack({"gone": Plane(tmp_path / "gone.jpg")}, "set", SIZE, tmp_path)


@pytest.mark.parametrize("damage", ["short", "no pixels", "no index", "cut index", "other index"])
def test_damaged_store_is_refused(tmp_path, damage):
    path = tmp_path / "a.png"
    Image.new("L", (20, 10), 50).save(path)
    folder = pixels.pack({"a": Plane(path)}, "set", 8, tmp_path / "stores").folder
    file, index = folder / "pixels.u8", folder / "store.json"
    if damage == "short":
        file.write_bytes(bytes(63))
    elif damage == "no pixels":
        file.unlink()
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text(index.read_text()[:30] if damage == "cut index" else "[1, 2]")
    with pytest.raises(OrthoError, match=f"{folder.name}.*delete"):
        pixels.load(folder)


class Counted:
    """Stands in for `pixels._one`; counts what is decoded."""

    def __init__(self, monkeypatch):
        self.n, self.one = 0, pixels._one
        monkeypatch.setattr(pixels, "_one", self)

    def __call__(self, path, size):
        self.n += 1
        return self.one(path, size)


def test_disk_known_to_be_too_small(files, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pixels.shutil, "disk_usage", lambda path: SimpleNamespace(free=9))
        patch.setattr(pixels, "_one", None)
        with pytest.raises(OrthoError, match=r"needs 0\.3 GiB .* 0\.0 GiB free.*ORTHOLIB_RUNS"):
            pixels.pack(files, "set", SIZE, tmp_path)
    assert_same(pixels.pack(files, "set", SIZE, tmp_path), whole)


@pytest.mark.parametrize("full", ["pixels.u8", "index.jsonl"])
@pytest.mark.parametrize("room", [0, 37.5])
def test_disk_fills_up_while_packing(files, whole, tmp_path, monkeypatch, full, room):
    """The disk takes `room` squares (or log lines), the last one cut; afterwards only the rest is decoded."""
    real = open
    per_image = SIZE * SIZE if full == "pixels.u8" else 20

    class Full:
        def __init__(self, file):
            self.file, self.left = file, int(room * per_image)

        def write(self, data):
            self.file.write(data[: self.left])
            if len(data) > self.left:
                self.file.flush()
                raise OSError(errno.ENOSPC, "No space left on device")
            self.left -= len(data)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

    def opened(path, mode="r"):
        file = real(path, mode)
        return Full(file) if Path(path).name == full and mode != "rb" else file

    with monkeypatch.context() as patch:
        patch.setattr(pixels, "open", opened, raising=False)
        for _ in range(2):  # a second try on the full disk loses nothing either
            with pytest.raises(OrthoError, match=r"\.partial: writing stopped \(No space left on device\)"):
                pixels.pack(files, "set", SIZE, tmp_path)
    counted = Counted(monkeypatch)
    assert_same(pixels.pack(files, "set", SIZE, tmp_path), whole)
    done = len(files) - counted.n
    assert done == 0 if room == 0 else done > 40  # two tries of 37 squares or of some 25 lines


def test_last_write_fails(files, whole, tmp_path, monkeypatch):
    def fail(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fail)
        with pytest.raises(OrthoError, match="No space left"):
            pixels.pack(files, "set", SIZE, tmp_path)
    counted = Counted(monkeypatch)
    assert_same(pixels.pack(files, "set", SIZE, tmp_path), whole)
    assert counted.n == 0


def test_folder_that_cannot_be_written(files, tmp_path):
    (tmp_path / "stores").write_text("a file where the folder should be")
    with pytest.raises(OrthoError, match="writing stopped"):
        pixels.pack(files, "set", SIZE, tmp_path / "stores")


SLOW = """
import json, sys, time
from pathlib import Path
from types import SimpleNamespace
from ortholib.data import pixels
from ortholib.data.files import Plane
one = pixels._one
def slow(plane, size):
    time.sleep(0.03)
    with open(sys.argv[3], "a") as log:
        log.write("x")
    return one(plane, size)
pixels._one = slow
files = {name: Plane(Path(path)) for name, path in json.loads(Path(sys.argv[1]).read_text()).items()}
print(pixels.pack(files, "set", int(sys.argv[4]), Path(sys.argv[2])).hash)
"""


def start(files: dict[str, Plane], folder: Path, log: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    listed = folder / "files.json"
    listed.write_text(json.dumps({name: str(plane.path) for name, plane in files.items()}))
    command = [sys.executable, "-c", SLOW, str(listed), str(folder), str(folder / log), str(SIZE)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def squares(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.partial/pixels.u8")) // SIZE**2


def wait_for(condition, process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_stopped_packing_goes_on_where_it_was(files, whole, tmp_path, monkeypatch, blow):
    process = start(files, tmp_path / "stores", "log")
    wait_for(lambda: squares(tmp_path / "stores") >= 20, process)
    process.send_signal(blow)
    process.communicate()
    assert process.returncode != 0
    done = squares(tmp_path / "stores")
    assert 20 <= done < len(files)
    counted = Counted(monkeypatch)
    assert_same(pixels.pack(files, "set", SIZE, tmp_path / "stores"), whole)
    assert len(files) - done <= counted.n <= len(files) - done + 1


@pytest.mark.parametrize("cut", [1, 5, 700, 1500])
def test_cut_anywhere(files, whole, tmp_path, cut):
    """Whatever the last bytes on the disk were: log ahead of the pixels, pixels ahead of the log, half a line."""
    target = whole.folder.name
    for log_bytes in (0, cut, 10**6):
        partial = tmp_path / f"{log_bytes}" / f"{target}.partial"
        partial.mkdir(parents=True)
        lines = "".join(json.dumps([box, ""]) + "\n" for box in whole.valid.tolist())
        (partial / "index.jsonl").write_text(lines[:log_bytes])
        (partial / "pixels.u8").write_bytes(whole.pixels.tobytes()[: cut * 40])
        assert_same(pixels.pack(files, "set", SIZE, tmp_path / f"{log_bytes}"), whole)


def test_two_processes_at_once_pack_it_once(files, whole, tmp_path):
    some = dict(sorted(files.items())[:40])
    both = [start(some, tmp_path / "stores", log) for log in ("first", "second")]
    printed = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert printed[0][0] == printed[1][0] != ""
    decoded = [len(f.read_text()) if (f := tmp_path / "stores" / log).is_file() else 0 for log in ("first", "second")]
    assert sorted(decoded) == [0, 40]
    store = pixels.load(next(p for p in (tmp_path / "stores").iterdir() if p.is_dir()))
    assert np.array_equal(store.pixels, whole.pixels[whole.rows(store.image_ids)])
