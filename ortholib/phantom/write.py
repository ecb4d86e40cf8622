"""Write the phantom data sets in the folder layouts of the real ones, with their truth beside them."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ortholib import locks, paths, progress
from ortholib.errors import OrthoError, UsageError
from ortholib.phantom import knee
from ortholib.phantom.files import whole
from ortholib.phantom.fracatlas import write_fracatlas
from ortholib.phantom.grazpedwri import write_grazpedwri
from ortholib.phantom.joints import write_joints
from ortholib.phantom.mrnet import write_mrnet
from ortholib.phantom.mura import write_mura
from ortholib.phantom.oai import write_oai

PARTS = {"train": 0.648, "val": 0.117, "test": 0.235}
NOTICE = """PHANTOM: every image in this folder was computed by ortholib.phantom (seed {seed}).
No patient was imaged, and no picture was derived from one. Numbers reached on these images prove that the programs
work; they say nothing about medicine. What was drawn is recorded in truth/.
"""


def write(out: Path, seed: int = 0, counts: dict[str, int] | None = None) -> dict:
    """Generate the sets of `counts` (default: all of `COUNTS`, and the stand-in weights) below `out`.

    One folder a set in the published layout, `joints/` with three manifests, `weights/`, `truth/` with what was drawn,
    and `PHANTOM.txt`. `out` appears whole or not at all: it is written under another name and renamed. Returns counts.
    Raises UsageError where `out` holds files already, lies in the user's data, or a count cannot hold its set.
    """
    with whole(out) as folder:
        (folder / "truth").mkdir()
        weights = _start_weights(folder, seed) if counts is None else None
        written = _write(folder, seed, counts or COUNTS)
        if weights is not None:
            written["weights"] = _finish_weights(folder, weights)
        (folder / "truth" / "counts.json").write_text(json.dumps(written, indent=1))
    return written


def _write(out: Path, seed: int, counts: dict[str, int]) -> dict:
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
    # fork: the workers only compute on arrays and write files, and it needs no importable main module
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    written: dict = {"seed": seed}
    with ProcessPoolExecutor(workers, mp_context=context) as pool:

        def run(function: Callable, tasks: list) -> list:
            made = pool.map(function, tasks, chunksize=8)
            return list(progress.bar(made, total=len(tasks), desc=f"phantom {name}", unit="image"))

        for name, count in counts.items():
            write_set, _, truth, summary = SETS[name]
            made = write_set(out / name, seed, count, run)
            tables = made if isinstance(made, tuple) else (made,)
            for table, kind in zip(tables, truth, strict=True):
                table.to_parquet(out / "truth" / f"{kind}.parquet", index=False)
            written[name] = summary(*tables)
    (out / "PHANTOM.txt").write_text(NOTICE.format(seed=seed))
    return written


def _start_weights(out: Path, seed: int) -> subprocess.Popen:
    """Beside the images, in a process of its own: it needs torch, which takes seconds to import and dislikes forks."""
    command = [sys.executable, "-m", "ortholib.phantom.weights", out, str(seed)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], text=True, **pipes)


def _finish_weights(out: Path, process: subprocess.Popen) -> dict:
    _, said = process.communicate()
    if process.returncode:
        raise OrthoError(f"the stand-in weights were not written: {said.strip().splitlines()[-1]}")
    made = json.loads((out / "truth" / "weights.json").read_text())
    return {
        "networks": sum("left_out" not in one for one in made.values()),
        "bytes": sum(one["bytes"] for one in made.values()),
        "left_out": [name for name, one in made.items() if "left_out" in one],
    }


def _count(images: pd.DataFrame) -> dict:
    return {"images": len(images)}


def _count_films(films: pd.DataFrame, boxes: pd.DataFrame) -> dict:
    defects = films.defect[films.defect != ""].value_counts().sort_index().to_dict()
    fractured = int((films.fracture_count > 0).sum())
    return {"images": len(films), "fractured": fractured, "boxes": len(boxes), "defects": defects}


def _count_knees(knees: pd.DataFrame) -> dict:
    grades = {str(k): int(n) for k, n in knees.kl.value_counts().sort_index().items()}
    parts = {part: int((knees.part == part).sum()) for part in PARTS}
    return {"images": len(knees), "patients": int(knees.patient.nunique()), "per_class": grades, "per_part": parts}


def write_knees(root: Path, seed: int, count: int, run: Callable) -> pd.DataFrame:
    """Write `root/{train,val,test}/{0..4}/<patient><L|R>.jpg`; returns the truth, one row an image.

    Patients are dealt to the parts by the shares of the real set, those of equal worst grade together, so that rare
    grades reach every part that can hold one.
    """
    if count < 2 or count % 2:
        raise UsageError(f"{count} knees: expected an even number of at least 2, both knees of each patient.")
    patients = [knee.draw_patient(np.random.default_rng([seed, 1, i])) for i in range(count // 2)]
    rng = np.random.default_rng([seed, 5])
    numbers = np.sort(rng.choice(1_000_000, len(patients), replace=False)) + 9_000_000
    worst = np.array([max(k.kl for k in pair.values()) for pair in patients])
    dealt = dict.fromkeys(PARTS, 0)
    part_of = {}
    for place, i in enumerate(sorted(rng.permutation(len(patients)), key=lambda i: -worst[i])):
        part_of[i] = max(PARTS, key=lambda part: PARTS[part] * (place + 1) - dealt[part])
        dealt[part_of[i]] += 1
    for part, grade in product(PARTS, "01234"):
        (root / part / grade).mkdir(parents=True)
    tasks = []
    for i, pair in enumerate(patients):
        for side, truth in pair.items():
            name = f"{numbers[i]}{side}"
            row = {"path": f"{part_of[i]}/{truth.kl}/{name}.jpg", "image_id": name, "patient": str(numbers[i])}
            tasks.append((len(tasks), truth, row | {"part": part_of[i]}))
    return pd.DataFrame(run(partial(draw_knee, seed, root), tasks))


def draw_knee(seed: int, root: Path, task: tuple[int, knee.Knee, dict]) -> dict:
    """Draw one knee and write its file below `root`; `task`: number, knee, row. Returns the row with the truth."""
    index, truth, row = task
    pixels = knee.render(truth, np.random.default_rng([seed, 2, index]))
    Image.fromarray(pixels).save(root / row["path"], "JPEG", quality=88)
    return row | truth.record()


# folder: writer, images (exams of MRNet, films of the OAI, images of each manifest of `joints`), names of the tables in
# truth/, and what is counted in them
SETS = {
    "FracAtlas": (write_fracatlas, 700, ("bones", "boxes"), _count_films),
    "kneeKL224": (write_knees, 900, ("knee",), _count_knees),
    "MURA-v1.1": (write_mura, 150, ("mura-v1.1",), _count),
    "GRAZPEDWRI-DX": (write_grazpedwri, 60, ("grazpedwri-dx",), _count),
    "MRNet-v1.0": (write_mrnet, 30, ("mrnet-v1.0",), _count),
    "OAI": (write_oai, 24, ("oai",), _count),
    "joints": (write_joints, 24, ("joints",), _count),
}
COUNTS = {name: count for name, (_, count, *_) in SETS.items()}


def key(seed: int = 0) -> str:
    """Name of a generated folder: the seed and a hash of the source text of the generator and of what it draws from."""
    source, here = hashlib.sha256(), Path(__file__).parent
    for file in sorted([*here.glob("*.py"), *here.with_name("encoders").glob("*.py")]):
        source.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return f"{seed}-{source.hexdigest()[:12]}"


def ensure(seed: int = 0) -> Path:
    """Folder of the phantom at its default size, generated if absent; safe for processes that ask at once.

    From then on it is what `ortholib.paths` gives for the edition phantom, here and in the processes started from here:
    its name is left in `$ORTHOLIB_PHANTOM`.
    """
    out = paths.project() / "data" / "phantom" / key(seed)
    if not out.is_dir():
        with locks.held(out):
            if not out.is_dir():  # another process may have made it while this one waited
                for stale in out.parent.glob(f"{out.name}.*.partial"):  # of a killed run; only the lock's holder writes
                    shutil.rmtree(stale)
                write(out, seed)
    os.environ["ORTHOLIB_PHANTOM"] = str(out)
    return out
