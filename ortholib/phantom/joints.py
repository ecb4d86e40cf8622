"""Three small MRI sets with a manifest each (hip, shoulder, ankle), in every file format that a user may bring.

Each manifest has a line a file: `path, group, split`, the labels and, but for the shoulder, `frame`: the plane of a
volume that shows the finding, empty for files of one plane. Which format a file has says nothing about its labels.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from PIL import Image

from ortholib.phantom import mri
from ortholib.phantom.dicom import write_dicom

LABELS = {"hip": {"labrum": 2}, "shoulder": {"supraspinatus": 3}, "ankle": {"atfl": 2, "cfl": 2}}  # how many values
FORMATS = {"png": ".png", "tiff": ".tif", "dicom": ".dcm", "nifti": ".nii.gz", "npy": ".npy"}
VOLUMES = ("nifti", "npy")
PARTS = ("train", "train", "train", "val", "test")  # of every five groups
SIZES = (96, 128, 160)
GAP = 4.0  # mm between planes


def plan(seed: int, joint: str, count: int) -> list[dict]:
    """One dictionary a file: `joint, path, group, split, frame, format, size, planes` and the labels.

    Two files a group. Within each split the values of the labels are as even as they can be, and so are the formats.
    """
    rng = np.random.default_rng([seed, 14, sorted(LABELS).index(joint)])
    values = list(product(*(range(n) for n in LABELS[joint].values())))
    splits = np.array([PARTS[i // 2 % len(PARTS)] for i in range(count)])
    order = {part: iter(rng.permutation(int((splits == part).sum()))) for part in PARTS}
    forms = {part: iter(rng.permutation(int((splits == part).sum()))) for part in PARTS}
    files = []
    for i, part in enumerate(splits):
        form = list(FORMATS)[next(forms[part]) % len(FORMATS)]
        planes = int(rng.integers(3, 6)) if form in VOLUMES and joint != "shoulder" else 1
        found = dict(zip(LABELS[joint], values[next(order[part]) % len(values)], strict=True))
        files.append({
            "joint": joint, "path": f"{joint}/{i:03d}{FORMATS[form]}", "group": f"{joint}-{i // 2:03d}",
            "split": str(part), "frame": planes // 2 if planes > 1 else np.nan, "format": form, "planes": planes,
            "size": int(rng.choice(SIZES)), "index": i, **found,
        })  # fmt: skip
    return files


def draw(seed: int, root: Path, file: dict) -> dict:
    """Draw one file of `plan` and write it below `root`. Returns the row of the truth."""
    rng = np.random.default_rng([seed, 15, sorted(LABELS).index(file["joint"]), file["index"]])
    values = render(file, rng)
    path, form = root / file["path"], file["format"]
    gain = rng.uniform(0.6, 0.9)
    match form:
        case "png" | "tiff":
            top = 4095 if form == "png" else 65535
            Image.fromarray(mri.levels(values[0], gain * top, top)).save(path)
        case "dicom":
            stored = mri.levels(values[0], gain * 4095, 4095)
            write_dicom(path, stored, f"joints {seed} {file['path']}", modality="MR", PatientID=file["group"])
        case "nifti":
            planes = mri.levels(values, gain * 1200, 2047).astype(np.int16)
            # the third axis counts planes, the second goes up the picture
            nibabel.save(nibabel.Nifti1Image(planes[:, ::-1].transpose(2, 1, 0), np.eye(4)), path)
        case "npy":
            np.save(path, mri.levels(values, gain * 255, 255))
    return {name: value for name, value in file.items() if name not in ("index", "size")}


def render(file: dict, rng: np.random.Generator) -> np.ndarray:
    """Planes (n, size, size) float32 of a joint with the findings of `file`, fluid about 1."""
    # the middle plane goes through the finding
    positions = tuple(GAP * (i - file["planes"] // 2) for i in range(file["planes"]))
    shift = tuple(float(mm) for mm in (*np.clip(rng.normal(0, 1.5, 2), -1.5, 1.5), rng.normal(0, 1.5)))
    stack = mri.Stack("coronal", positions, file["size"], 104.0, shift, 0.0, bool(rng.random() < 0.5))
    signal, points = np.zeros(stack.shape, np.float32), stack.points()
    mri.paint(signal, mri.ellipsoid(points, (0, 0, 0), (50, 200, 60)), mri.FAT)
    mri.paint(signal, mri.ellipsoid(points, (0, 0, 0), (50, 200, 60)) - rng.uniform(3, 8), mri.MUSCLE)
    SCENES[file["joint"]](signal, points, rng, *(file[label] for label in LABELS[file["joint"]]))
    return mri.acquire(signal, stack, rng, rng.uniform(0.02, 0.045))


def _hip(signal: np.ndarray, points: tuple, rng: np.random.Generator, labrum: int) -> None:
    """Head in its socket; the labrum is a dark wedge on the upper outer rim, torn by a bright line."""
    x, _, z = points
    mri.paint(signal, mri.ellipsoid(points, (0, 0, 0), (29, 60, 29)), mri.CARTILAGE)
    far = np.hypot(x, z)
    socket = np.minimum(np.minimum(38 - far, far - 26.5), -0.64 * x - 0.77 * z)
    neck = mri.capsule(points, (4, 0, 4), (36, 0, 34), 13, 14)[0]
    for depth in (socket, np.maximum(mri.ellipsoid(points, (0, 0, 0), (23.5, 60, 23.5)), neck)):
        mri.bone(signal, depth)
    gap, around = rng.uniform(0.22, 0.35), rng.uniform(0.4, 0.6)
    mri.band(signal, _deep(points), (21, 0, -19), (28, 0, -6), (4.2, 1.6), gap * labrum, around)


def _shoulder(signal: np.ndarray, points: tuple, rng: np.random.Generator, supraspinatus: int) -> None:
    """Head, socket and acromion; the tendon over the head is whole (0), torn on its under side (1) or through (2)."""
    points_deep = _deep(points)
    mri.paint(signal, mri.ellipsoid(points, (0, 0, 2), (27, 60, 27)), mri.CARTILAGE)
    shaft = mri.capsule(points, (4, 0, 14), (9, 0, 90), 15, 13)[0]
    for depth in (
        np.maximum(mri.ellipsoid(points, (0, 0, 2), (23, 60, 23)), shaft),
        mri.ellipsoid(points, (-36, 0, 4), (9, 60, 18)),
        mri.capsule(points, (-4, 0, -37), (26, 0, -34), 4.5, 4.5)[0],
    ):
        mri.bone(signal, depth)
    gap, around = rng.uniform(0.3, 0.45), rng.uniform(0.45, 0.6)
    start, end = np.array([-10.0, 0, -25.0]), np.array([20.0, 0, -13.0])
    mri.band(signal, points_deep, (-40, 0, -24), tuple(start), (5, 3.6), 0.0, 0.5)
    mri.band(signal, points_deep, tuple(start), tuple(end), (3.6, 3.2), gap * (supraspinatus == 2), around)
    if supraspinatus == 1:
        under = np.array([-0.6, 0, 1.8])
        ends = (tuple(start + (around + shift * gap / 2) * (end - start) + under) for shift in (-1, 1))
        mri.paint(signal, mri.capsule(points_deep, *ends, 1.7, 1.7)[0], mri.FLUID)


def _ankle(signal: np.ndarray, points: tuple, rng: np.random.Generator, atfl: int, cfl: int) -> None:
    """Tibia, fibula, talus and heel; both ligaments of the fibula drawn in one plane, each whole or torn."""
    mri.paint(signal, mri.ellipsoid(points, (4, 0, 6), (38, 60, 34)), mri.CAPSULE)
    for start, end, r0, r1 in (
        ((-6, 0, -80), (-6, 0, -24), 15, 18),
        ((30, 0, -80), (29, 0, 0), 6, 8),
        ((-14, 0, 6), (2, 0, 6), 13, 13),
        ((-8, 0, 40), (2, 0, 42), 15, 15),
    ):
        mri.bone(signal, mri.capsule(points, start, end, r0, r1)[0])
    for torn, start, end in ((atfl, (26, 0, 3), (11, 0, 10)), (cfl, (29, 0, 7), (15, 0, 36))):
        gap, around = rng.uniform(0.35, 0.6), rng.uniform(0.42, 0.58)
        mri.band(signal, _deep(points), start, end, (2.6, 2.6), gap * torn, around)


SCENES = {"hip": _hip, "shoulder": _shoulder, "ankle": _ankle}


def _deep(points: tuple) -> tuple:
    """Points of a body that reaches twice as far across the planes."""
    x, y, z = points
    return x, y / 2, z


def write_joints(root: Path, seed: int, count: int, run: Callable) -> pd.DataFrame:
    """Write `count` files a joint and `root/{hip,shoulder,ankle}.csv`; `run(function, tasks)` maps over the cores.

    Returns the truth, one row a file: `joint, path, group, split, frame` (NaN: a single plane), `format, planes` and
    the labels `labrum, supraspinatus, atfl, cfl`, NaN where they belong to another joint.
    """
    for joint in LABELS:
        (root / joint).mkdir(parents=True)
    files = [file for joint in LABELS for file in plan(seed, joint, count)]
    truth = pd.DataFrame(run(partial(draw, seed, root), files))
    for joint, rows in truth.groupby("joint"):
        columns = ["path", "group", "split", *([] if joint == "shoulder" else ["frame"]), *LABELS[joint]]
        table = rows[columns].astype(dict.fromkeys(LABELS[joint], int))
        if "frame" in table:
            table["frame"] = table["frame"].astype("Int64")
        table.to_csv(root / f"{joint}.csv", index=False)
    return truth
