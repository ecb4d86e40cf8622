"""The MRNet phantom: knee MRI exams of three planes in the layout of MRNet-v1.0, with what is torn and where."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ortholib.phantom.files import check_count
from ortholib.phantom.mri import AXES, draw_knee, knee_stack, render_knee

FEWEST = 12
VALID = 1 / 3  # share of the exams; more than in the release, or its labels would be too few to score
SLICES = {"axial": (4, 6), "coronal": (5, 8), "sagittal": (7, 9)}  # fewest and most; every lesion is on some slice
LABELS = ("abnormal", "acl", "meniscus")
# what each ten exams show: (ligament, meniscus, effusion), None: effusion by chance
FINDINGS = (
    (True, False, None), (False, False, False), (False, True, None), (False, False, False), (True, True, None),
    (False, False, False), (False, False, True), (True, False, None), (False, False, False), (False, True, None),
)  # fmt: skip


def plan(seed: int, count: int) -> list[dict]:
    """One dictionary an exam: `exam`, `part` (train, valid), `knee`, `slices_<plane>`, and its three labels.

    Both parts hold the findings in equal shares. Raises UsageError below `FEWEST` exams.
    """
    check_count(count, FEWEST, "MRNet", "exams")
    rng = np.random.default_rng([seed, 11])
    valid = round(VALID * count)
    exams = []
    for part, n in (("train", count - valid), ("valid", valid)):
        for turn in rng.permutation(n):
            acl, meniscus, effusion = FINDINGS[turn % len(FINDINGS)]
            own = np.random.default_rng([seed, 12, len(exams)])
            effusion = bool(own.random() < 0.5) if effusion is None else effusion
            exam = {"exam": f"{len(exams):04d}", "part": part, "index": len(exams)}
            exam |= {f"slices_{plane}": int(own.integers(low, high + 1)) for plane, (low, high) in SLICES.items()}
            exam |= {"abnormal": int(acl or meniscus or effusion), "acl": int(acl), "meniscus": int(meniscus)}
            exams.append(exam | {"knee": draw_knee(own, acl=acl, meniscus=meniscus, effusion=effusion)})
    return exams


def draw(seed: int, root: Path, exam: dict) -> dict:
    """Draw one exam of `plan` and write its three files below `root`. Returns the row of the truth."""
    row, knee = dict(exam), exam["knee"]
    rng = np.random.default_rng([seed, 13, row.pop("index")])
    del row["knee"]
    for plane in AXES:
        stack = knee_stack(knee, plane, row[f"slices_{plane}"])
        np.save(root / row["part"] / plane / f"{row['exam']}.npy", render_knee(knee, stack, rng))
        if plane == "sagittal":
            for name, point in (("acl", knee.acl_middle), ("horn", knee.horn)):
                row |= dict(zip((f"{name}_slice", f"{name}_row", f"{name}_column"), stack.place(point), strict=True))
    return row | knee.record()


def write_mrnet(root: Path, seed: int, count: int, run: Callable) -> pd.DataFrame:
    """Write `count` exams below `root`; `run(function, tasks)` maps over the cores.

    Returns the truth, one row an exam: `exam, part, slices_<plane>`, the labels `abnormal, acl, meniscus`, the knee,
    and where in its sagittal file the ligament and the posterior horn are (`acl_slice, acl_row, acl_column, horn_...`).
    """
    exams = plan(seed, count)
    for part in ("train", "valid"):
        for plane in AXES:
            (root / part / plane).mkdir(parents=True)
    truth = pd.DataFrame(run(partial(draw, seed, root), exams))
    for part, rows in truth.groupby("part"):
        for label in LABELS:
            rows[["exam", label]].to_csv(root / f"{part}-{label}.csv", header=False, index=False)
    return truth
