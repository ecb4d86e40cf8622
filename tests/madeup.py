"""A made-up project for tests of the run machinery: its folders, notebooks, a tiny labelled set, an executed run."""

import json
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import torch
from PIL import Image

from ortholib import machine
from ortholib.data import ids, tasks
from ortholib.data.labelled import Labelled
from ortholib.metrics import evaluation
from ortholib.phantom.write import key
from ortholib.settings import Finetune
from ortholib.study import fits

PARAMETERS = """edition: str = "phantom"  # phantom, real or paper
epochs: int = 3  # at most
rate: float = 1e-3  # of the optimizer
mirror: bool = False  # left to right
backbone: str = "resnet10t"  # any timm network
"""
SETTINGS = Finetune(32, 3, dataset="blobs", task="disc", split="official", backbone="resnet10t", batch=16, ema=0.5)
CHAPTER = "00-data"  # under the name of a real one, so that other processes know it too


def project(root: Path, monkeypatch) -> Path:
    """An empty project under `root`, its phantom an empty folder, and the environment that points at it."""
    for name in ("notebooks", "bench", *(f"params/{edition}" for edition in ("phantom", "real", "paper"))):
        (root / name).mkdir(parents=True)
    monkeypatch.setenv("ORTHOLIB_HOME", str(root))
    monkeypatch.setenv("ORTHOLIB_RUNS", str(root / "runs"))
    phantom = root / "data" / "phantom" / key()
    phantom.mkdir(parents=True)
    monkeypatch.setenv("ORTHOLIB_PHANTOM", str(phantom))
    for name in ("ORTHOLIB_DATA", "ORTHOLIB_RUN", "ORTHOLIB_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    return root


def notebook(root: Path, *sources: str, chapter: str = CHAPTER, parameters: str = PARAMETERS) -> Path:
    """Write a notebook of a title, a parameters cell and code cells `c0`, `c1`, ..., with empty parameter files."""
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell("# Made up", id="title")]
    cells.append(v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}))
    cells += [v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path = root / "notebooks" / f"{chapter}.ipynb"
    nbformat.write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    for edition in ("phantom", "real", "paper"):
        (root / "params" / edition / f"{chapter}.yaml").write_text("")
    return path


def labelled(identity: str = "v1") -> Labelled:
    """48 noise squares of 32 px; those of class 1 are brighter."""
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    pixels = np.clip(rng.normal(90, 20, (48, 32, 32)) + 40 * y[:, None, None], 0, 255).astype(np.uint8)
    ids = np.array([f"i{i:03d}" for i in range(48)])
    part = np.array(["train"] * 32 + ["val"] * 8 + ["test"] * 8)
    no = np.zeros(48, bool)
    version = {"version": identity}
    return Labelled(pixels, np.arange(48), y, part, np.ones(48), no, ids, ids, ["no", "yes"], "binary", version)


def predictions(seed: int = 0) -> pd.DataFrame:
    """Hashed predictions of 60 test images of 30 patients."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 60)
    score = 1 / (1 + np.exp(-rng.normal(y)))
    frame = pd.DataFrame({"unit": "image", "unit_id": [f"i{i}" for i in range(60)], "y_true": y})
    frame = frame.assign(group=[f"p{i // 2}" for i in range(60)], dataset="blobs", task="disc", split="official")
    frame = frame.assign(part="test", arm="resnet10t, random", seed=0, score_0=1 - score, score_1=score)
    return frame.assign(**{name: ids.hashed(frame[name], "fracatlas") for name in ("unit_id", "group")})


def finished(root: Path, edition: str = "real", chapter: str = "30-knee-oa") -> Path:
    """A finished run as `ortholib run` leaves it: one figure of numbers, one gallery, paths of this machine in it."""
    folder = root / "runs" / edition / chapter
    (folder / "figures").mkdir(parents=True)
    v4 = nbformat.v4
    plot = v4.new_code_cell(
        'run.figure(plot, "headline", alt)',
        id="plot",
        outputs=[
            v4.new_output("display_data", {"text/html": "<figure>a plot</figure>"}),
            v4.new_output("stream", name="stderr", text=f"{root}/data/x.py:3: UserWarning: 1/3 of 2/3\n"),
        ],
    )
    gallery = v4.new_code_cell(
        'run.figure(grid, "knees", alt)',
        id="gallery",
        metadata={"tags": ["hide-input", "radiographs"]},
        outputs=[v4.new_output("display_data", {"text/html": "<figure>a knee</figure>"})],
    )
    places = {"input_path": str(root / "notebooks" / "x.ipynb"), "output_path": str(folder / "notebook.ipynb")}
    cells = [v4.new_markdown_cell("# Made up", id="title"), plot, gallery]
    nbformat.write(v4.new_notebook(cells=cells, metadata={"papermill": places}), folder / "notebook.ipynb")
    for name in ("headline", "knees"):
        (folder / "figures" / f"{name}.png").write_bytes(b"picture of " + name.encode())
        (folder / "figures" / f"{name}.json").write_text(json.dumps({"alt": name}))
    (folder / "run.log").write_text(str(root))
    record = {"notebook": chapter, "edition": edition, "status": "done"}
    (folder / "run.json").write_text(json.dumps(record | {"parameters": {"weights": str(root / "w.safetensors")}}))
    scored = predictions()
    about = {"paper": "A paper", **scored.iloc[0][["arm", "dataset", "split", "part", "task"]].to_dict()}
    scored.to_parquet(folder / "predictions.parquet")
    evaluation.evaluate(scored, draws=50, threshold=0.5).assign(**about).to_parquet(folder / "metrics.parquet")
    return folder


def knees(folder: Path, task: str = "kl") -> Labelled:
    """80 knees of 40 patients as `9000000L.png` … in `folder`, the brighter the higher their class, and the same as a
    trainer gets them: in squares of 32 px, left ones mirrored."""
    asked, rng = tasks.TASKS[task], np.random.default_rng(0)
    y = np.arange(80) % 5 if task == "kl" else np.arange(80) % 2
    pixels = np.clip(rng.normal(60, 15, (80, 32, 32)) + 30 * y[:, None, None], 0, 255).astype(np.uint8)
    pixels[:, :, :8] //= 2  # a side that is not the other
    names = np.array([f"{9000000 + i // 2}{'RL'[i % 2]}" for i in range(80)])
    folder.mkdir(parents=True)
    for name, one in zip(names, pixels, strict=True):
        Image.fromarray(one).save(folder / f"{name}.png")
    part, group = np.repeat(["train", "val", "test"], [40, 20, 20]), np.array([name[:7] for name in names])
    left = np.array([name.endswith("L") for name in names])
    arrays = (pixels, np.arange(80), y, part, np.ones(80), left, names, group)
    return Labelled(*arrays, asked.classes, asked.kind, {"version": "made up", "pixels": "1"})


def knee_fit(data: Labelled, monkeypatch, edition: str = "real", **more) -> fits.Fit:
    """A training on `knees`, computed in float32 whatever the machine has."""
    task = "kl" if data.kind == "ordinal" else "oa"
    monkeypatch.setattr(tasks, "prepare", lambda *_: data)
    monkeypatch.setattr(machine, "precision", lambda _: torch.float32)
    about = {"dataset": "kneekl", "task": task, "split": "official", "epochs": 2, "learning_rate": 3e-3} | more
    return fits.ensure(replace(SETTINGS, **about), edition)
