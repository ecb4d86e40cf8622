"""A pretrained backbone against random ones: arms by name, both sets, sentences that follow from the numbers."""

import numpy as np
import pandas as pd
import pytest

from ortholib import study
from ortholib.report import sentences
from ortholib.settings import Probe
from ortholib.study import fits, probing
from ortholib.study.arms import Made


def scored(dataset: str, start: str, head: str, seed: int, skill: float) -> pd.DataFrame:
    """Predictions of 120 test images of 60 groups that know the label so well, and as many on validation."""
    rng = np.random.default_rng([seed, round(10 * skill)])
    task, split = SETS[dataset]
    classes = 2 if task == "fracture" else 5
    y = np.tile(np.arange(120) % classes, 2)
    logits = rng.normal(size=(240, classes)) + skill * np.eye(classes)[y]
    proba = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    frame = pd.DataFrame({"unit": "image", "unit_id": [f"i{i}" for i in range(240)], "y_true": y})
    frame = frame.assign(group=[f"g{i // 2}" for i in range(240)], dataset=dataset, task=task, split=split, seed=seed)
    frame = frame.assign(part=np.repeat(["test", "val"], 120), backbone="resnet18", initial=start, head=head)
    return frame.assign(**{f"score_{k}": column for k, column in enumerate(proba.T)})


SETS = {"fracatlas": ("fracture", "clean"), "kneekl": ("kl", "official")}


def made(tmp_path, dino: float, random: float) -> list[Made]:
    found = []
    for dataset in SETS:
        for start, seed, skill in (("backbone", 0, dino), ("random", 0, random), ("random", 1, random)):
            folder = tmp_path / f"{dataset}-{start}-{seed}"
            folder.mkdir()
            rows = [scored(dataset, start, head, seed, skill) for head in ("linear", "kNN")]
            pd.concat(rows).to_parquet(folder / "predictions.parquet")
            arm = "DINO" if start == "backbone" else "random weights"
            found.append(Made(arm, Probe(32, "resnet18"), fits.Fit("k", folder, {})))
    return found


@pytest.mark.parametrize(
    ("dino", "random", "words"), [(2.5, 0.3, "higher"), (0.3, 2.5, "lower"), (1.0, 1.0, "no diff")]
)
def test_what_is_said_follows_from_the_numbers(tmp_path, dino, random, words):
    predictions = study.predictions(made(tmp_path, dino, random))
    assert set(predictions["arm"]) == {f"{a}, {b}" for a in ("DINO", "random weights") for b in ("linear", "kNN")}
    values, differences = probing.evaluate(predictions, [("DINO", "random weights")], draws=400)
    assert len(values) == 2 * 4 * 2 and set(values["part"]) == {"test"}
    assert values.set_index("arm").loc["random weights, kNN", "seeds"].eq(2).all()
    assert set(values["backbone"]) == {"resnet18"} and set(values["initial"]) == {"random", "backbone"}
    assert len(differences) == 8 and (differences["reference"].str.startswith("random weights")).all()
    lines = sentences.differences(differences, probing.NAMES).splitlines()
    assert len(lines) == 8 and all(line.startswith("- ") for line in lines)
    assert sum(words in line for line in lines) >= (8 if words != "no diff" else 6)
    if words == "no diff":
        assert all("could have shown" in line for line in lines if words in line)
