"""Volumes: `.npy` and NIfTI by plane; one scale for all planes; no pickle, no bomb."""

import gzip

import nibabel
import numpy as np
import pytest

from ortholib.data import files, volume

BYTES = np.random.default_rng(0).integers(0, 256, (5, 20, 30), np.uint8)


def saved(path, array, **options):
    np.save(path, array, **options)
    return path


def test_bytes_are_taken_as_they_are(tmp_path):
    path = saved(tmp_path / "0007.npy", BYTES)
    assert files.inspect(path) == (30, 20, "") and files.frames(path) == 5
    assert all(np.array_equal(files.read(path, frame=k), BYTES[k]) for k in range(5))
    assert files.read(path, 15, frame=4).shape == (10, 15)
    assert np.array_equal(files.read(saved(tmp_path / "flat.npy", BYTES[0])), BYTES[0])
    with pytest.raises(ValueError, match="frame 5 of a file that holds 5"):
        files.read(path, frame=5)


def test_planes_share_one_scale(tmp_path):
    deep = np.stack([np.full((4, 4), 4095, np.uint16), np.full((4, 4), 2047, np.uint16)])
    path = saved(tmp_path / "a.npy", deep)
    assert files.read(path).min() == 255 and files.read(path, frame=1).max() == 127
    floats = np.stack([np.full((4, 4), -1.0), np.full((4, 4), 1.0), np.zeros((4, 4))])
    path = saved(tmp_path / "b.npy", floats)
    assert [int(files.read(path, frame=k)[0, 0]) for k in range(3)] == [0, 255, 128]
    assert files.read(saved(tmp_path / "c.npy", np.eye(4, dtype=bool))).max() == 255
    path.unlink()
    saved(path, floats * 0)  # the same name, other values: the one in memory is not used
    assert not files.read(path).any()


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_nifti_planes(tmp_path, suffix, dtype):
    data = BYTES.transpose(2, 1, 0).astype(dtype) * (1 if dtype == np.uint8 else 8)  # x, y, z
    path = tmp_path / f"a.{suffix}"
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    assert files.inspect(path) == (30, 20, "") and files.frames(path) == 5
    low, high = (0, 2047) if dtype == np.int16 else (data.min(), data.max())
    for k in range(5):
        plane = np.rot90(data[:, :, k]).astype(float)
        truth = plane if dtype == np.uint8 else np.floor((plane - low) * (255 / (high - low)) + 0.5)
        assert np.array_equal(files.read(path, frame=k), truth)


def test_nifti_with_slope_and_time(tmp_path):
    data = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    image = nibabel.Nifti1Image(data, np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "a.nii")
    assert files.frames(tmp_path / "a.nii") == 20
    values = np.rot90(data[:, :, 2, 1])
    shown = files.read(tmp_path / "a.nii", frame=4 + 2)
    assert (np.argsort(shown.ravel(), kind="stable") == np.argsort(values.ravel(), kind="stable")).all()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2, 2, 2), np.uint8), "shape (2, 2, 2, 2), expected (frames, height, width)"),
        (np.zeros(7, np.uint8), "expected (frames, height, width)"),
        (np.zeros((0, 4, 4), np.uint8), "shape (0, 4, 4)"),
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.array([[1.0, np.inf]]), "not finite"),
        (np.ones((3, 3), complex), "complex128, expected numbers"),
        (np.array([["a", "b"]]), "expected numbers"),
    ],
)
def test_arrays_that_are_no_volume(tmp_path, array, words):
    width, height, reason = files.inspect(saved(tmp_path / "a.npy", array))
    assert (width, height) == (0, 0) and words in reason


class Bomb:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self):
        return (open, ("unpickled", "w"))


def test_pickles_are_never_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.empty((1, 2), object)
    objects[:] = Bomb()
    path = saved(tmp_path / "a.npy", objects, allow_pickle=True)
    assert files.inspect(path) == (0, 0, "an array of Python objects, which is never read")
    assert not (tmp_path / "unpickled").exists()


def test_damaged_files(tmp_path):
    whole = saved(tmp_path / "a.npy", BYTES).read_bytes()
    for cut in (5, 60, len(whole) - 1):
        (tmp_path / "b.npy").write_bytes(whole[:cut])
        assert files.inspect(tmp_path / "b.npy")[:2] == (0, 0)
    assert files.inspect(tmp_path / "b.npy")[2] == "truncated"
    (tmp_path / "c.npy").write_bytes(b"")
    assert files.inspect(tmp_path / "c.npy") == (0, 0, "empty file (0 bytes)")
    nibabel.save(nibabel.Nifti1Image(BYTES, np.eye(4)), tmp_path / "a.nii.gz")
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert files.inspect(tmp_path / "b.nii.gz")[:2] == (0, 0)
    assert files.inspect(tmp_path / "absent.nii") == (0, 0, "missing file")


def test_bombs_are_refused_by_their_header(tmp_path, monkeypatch):
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 100))
    header.set_data_dtype(np.int16)
    for name, opener in (("a.nii", open), ("a.nii.gz", gzip.open)):
        with opener(tmp_path / name, "wb") as file:
            file.write(header.binaryblock + b"\0" * 100)
        assert "voxels accepted" in files.inspect(tmp_path / name)[2]
    monkeypatch.setattr(volume, "MAX_BYTES", 1000)
    nibabel.save(nibabel.Nifti1Image(BYTES, np.eye(4)), tmp_path / "b.nii.gz")
    assert "MiB accepted of one volume" in files.inspect(tmp_path / "b.nii.gz")[2]


def test_pages_of_a_tiff(tmp_path):
    from PIL import Image

    pages = [Image.fromarray(plane) for plane in BYTES]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert files.frames(tmp_path / "a.tif") == 5
    assert all(np.array_equal(files.read(tmp_path / "a.tif", frame=k), BYTES[k]) for k in range(5))
