"""What a recipe's number stands for: `tests/golden/<recipe>.json`, the numbers that its trainer gives.

Exact: defaults, image order, augmentation draws, schedules, parameter groups, the chosen epoch. Within 1e-6: a curve of
20 steps in float64 on one thread (float32 differs between processors), features and predictions.
Where they differ, undo the change, or raise the number of the recipe and write a new file:
`PYTHONPATH=tests:tests/dino python tests/test_recipes.py` writes those that are missing. An existing one is never
rewritten: records name its hash.
"""

import hashlib
import json
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import madeup
import numpy as np
import pytest
import small
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ortholib.classify import finetune, learn, probe, transfer
from ortholib.classify.augment import random_draws
from ortholib.data import ids
from ortholib.dino import pretrain
from ortholib.dino.augment import TRIES, draw
from ortholib.encoders import embed, load
from ortholib.settings import LEARNERS, Embed, Finetune, Learn, Pretrain, Probe, Transfer, by_size

FOLDER = Path(__file__).parents[1] / "golden"
STEPS = 20


def digest(*arrays) -> str:
    """Hash of arrays of whole numbers or of float32 that no processor rounds differently."""
    found = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        found.update(f"{array.dtype.newbyteorder('<').str} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]


def defaults(settings: type) -> dict:
    return {field.name: field.default for field in fields(settings) if field.default is not MISSING}


@contextmanager
def float64():
    """All that torch computes in float32 is computed in float64, on one thread, whatever the processor has."""
    threads = torch.get_num_threads()
    from_numpy = torch.from_numpy

    def widened(array):
        return from_numpy(array.astype(np.float64) if array.dtype == np.float32 else array)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(torch, "from_numpy", widened)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        for module in (finetune, probe, pretrain, transfer):
            patch.setattr(module.devices, "precision", lambda device: torch.float64)
            patch.setattr(module.devices, "pick", lambda: torch.device("cpu"))
            patch.setattr(module.devices, "cannot_compile", lambda: "not here")
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)
        try:
            yield patch
        finally:
            torch.set_default_dtype(torch.float)
            torch.set_num_threads(threads)


@contextmanager
def optimized():
    """Learning rate and weight decay of each group at each step, and the shapes in each group."""
    rates, shapes = [], []

    def seen(optimizer, *_):
        rates.append([[group["lr"], group["weight_decay"]] for group in optimizer.param_groups])
        shapes[:] = [[list(p.shape) for p in group["params"]] for group in optimizer.param_groups]

    handle = register_optimizer_step_pre_hook(seen)
    try:
        yield rates, shapes
    finally:
        handle.remove()


def supervised() -> tuple[dict, dict]:
    """Exact and near numbers of `finetune`: 10 epochs of 2 steps."""
    asked = replace(madeup.SETTINGS, epochs=10, seed=3, rotation=5.0, flip=0.5)
    data = madeup.labelled()
    y = np.where(np.random.default_rng(7).random(48) < 0.3, 1 - data.y, data.y)  # the best epoch is not the first
    order, losses = [], []
    with float64() as patch, optimized() as (rates, shapes), TemporaryDirectory() as folder:
        serve, cross_entropy = finetune.Batches.__call__, finetune.F.cross_entropy

        def served(self, index):
            order.append(np.asarray(index, np.int64))
            return serve(self, index)

        def loss(*inputs, **options):
            found = cross_entropy(*inputs, **options)
            losses.append(float(found.detach()))
            return found

        patch.setattr(finetune.Batches, "__call__", served)
        patch.setattr(finetune.F, "cross_entropy", loss)
        record = finetune.train(replace(data, y=y), asked, Path(folder), None)
    sides = [finetune.training_side(Finetune(224, 18, start=0.5), epoch) for epoch in range(18)]
    exact = {
        "order": digest(*order),
        "draws": digest(*[random_draws(3, step, 16) for step in range(STEPS)]),
        "groups": digest(*[np.array(shape) for group in shapes for shape in [[len(group)], *group]]),
        "sides": sides,
        "chosen epoch": record["best_epoch"],
    }
    return exact, {"curve": losses, "rates": rates}


def selfsupervised() -> tuple[dict, dict]:
    """Exact and near numbers of `pretrain`: 5 epochs of 4 steps."""
    asked = replace(small.SETTINGS, epochs=5, seed=3, learning_rate=0.05, optimizer="adamw", final_weight_decay=0.04)
    asked = replace(asked, teacher_temperature=0.04, rotation=3.0, checkpoint_minutes=60.0)
    images, curve = small.shapes(), []
    with float64() as patch, optimized() as (rates, shapes), TemporaryDirectory() as folder:
        step = pretrain.step

        def moved(*inputs, **options):
            found = step(*inputs, **options)
            told = [options[name] for name in ("momentum", "teacher_temperature", "freeze_last")]
            curve.append([float(found["loss"]), float(found["entropy"]), *map(float, told)])
            return found

        patch.setattr(pretrain, "step", moved)
        pretrain.train(images, asked, Path(folder), None)
    drawn = [draw(pretrain.recipe(asked), 16, 3, step) for step in range(STEPS)]
    drawn = np.stack(drawn)
    ratio = drawn[:, TRIES : 2 * TRIES]  # an exponential, which processors round differently
    exact = {
        "order": digest(*[images.order(16, 3, epoch) for epoch in range(5)]),
        "draws": digest(np.delete(drawn, np.s_[TRIES : 2 * TRIES], axis=1)),
        "groups": digest(*[np.array(shape) for group in shapes for shape in [[len(group)], *group]]),
        "by size": [list(by_size(Pretrain(("s:all",), 32, 1), n)) for n in (7_000, 30_000, 1_200_000)],
    }
    return exact, {"curve": curve, "rates": rates, "ratio": ratio.reshape(STEPS, -1).mean(1).tolist()}


def probed() -> tuple[dict, dict]:
    """Exact and near numbers of `probe`: features of a random network, and heads on made-up features."""
    data = madeup.labelled()
    asked = Probe(32, "resnet10t", seed=3, dataset="blobs", fractions=(0.5, 1.0))
    data = replace(data, fraction=np.where(np.arange(48) % 4 < 2, 0.5, 1.0))
    made_up = np.random.default_rng(5).normal(size=(48, 12)) + data.y[:, None] * np.linspace(0, 1, 12)
    with float64() as patch, TemporaryDirectory() as folder:
        features = probe.embed(data, asked, None)
        patch.setattr(probe, "embed", lambda *_: made_up)
        record = probe.train(data, asked, Path(folder), None)
        predictions = probe.pd.read_parquet(Path(folder) / "predictions.parquet")
        tried = probe.pd.read_parquet(Path(folder) / "history.parquet")
    exact = {
        "chosen": record["chosen"],
        "tried": tried["value"].tolist(),
        "fractions": predictions["fraction"].tolist(),
        "heads": predictions["head"].tolist(),
    }
    near = {"features": features[:, :8].tolist(), "scores": predictions["score_1"].tolist()}
    return exact, near | {"val_metric": tried["val_metric"].tolist()}


def transferred() -> tuple[dict, dict]:
    """Near numbers of `transfer`: the scores of a network with random weights."""
    with float64(), TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        transfer_network = load.build("resnet10t", None, 3, 2)
        finetune.save_file(transfer_network.state_dict(), file)
        transfer.train(madeup.labelled(), Transfer(madeup.SETTINGS, dataset="blobs"), Path(folder), file)
        predictions = probe.pd.read_parquet(Path(folder) / "predictions.parquet")
    return {"part": predictions["part"].tolist()}, {"scores": predictions["score_1"].tolist()}


def embedded() -> tuple[dict, dict]:
    """Near numbers of `embed`: features of a random network, its batch norms those of the training images."""
    asked = Embed(32, "random", "resnet10t", seed=3, dataset="blobs", task="disc", split="official")
    with float64(), TemporaryDirectory() as folder:
        embed.train(madeup.labelled(), asked, Path(folder), None)
        features = np.load(Path(folder) / "features.npy")
    return {}, {"features": features[:, :8].tolist()}


def learned() -> tuple[dict, dict]:
    """Exact and near numbers of `learn` on made-up features. Trees round differently between processors: of XGBoost
    only the settings that are tried."""
    data = madeup.labelled()
    made_up = np.random.default_rng(5).normal(size=(48, 12)) + data.y[:, None] * np.linspace(0, 1, 12)
    exact, near = {}, {}
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "features.npy", made_up)
        named = ids.hashed(data.unit_id, "blobs")
        probe.pd.DataFrame({"unit_id": named}).to_parquet(Path(folder) / "images.parquet")
        for learner in LEARNERS:
            asked = Learn(Embed(32, "random", "resnet10t"), learner, seed=3, dataset="blobs")
            record = learn.train(data, asked, Path(folder), Path(folder) / "features.npy")
            tried = probe.pd.read_parquet(Path(folder) / "history.parquet")
            exact[learner] = tried.drop(columns=["val_metric", "trees"], errors="ignore").to_dict("list")
            if learner != "XGBoost":
                predictions = probe.pd.read_parquet(Path(folder) / "predictions.parquet")
                near[learner] = {"scores": predictions["score_1"].tolist(), "val_metric": record["val_metric"]}
    return exact, near


RECIPES = {
    "embed/1": (Embed, embedded),
    "learn/1": (Learn, learned),
    "finetune/1": (Finetune, supervised),
    "pretrain/1": (Pretrain, selfsupervised),
    "probe/1": (Probe, probed),
    "transfer/1": (Transfer, transferred),
}


def numbers(recipe: str) -> dict:
    settings, measure = RECIPES[recipe]
    exact, near = measure()
    found = {"recipe": recipe, "defaults": defaults(settings), "exact": exact, "near": near}
    return json.loads(json.dumps(found))


def same(found, kept, where: str) -> None:
    if isinstance(kept, dict):
        assert found.keys() == kept.keys(), where
        for name in kept:
            same(found[name], kept[name], f"{where}: {name}")
    else:
        np.testing.assert_allclose(found, kept, rtol=1e-6, atol=1e-12, err_msg=where)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_the_numbers_that_were_kept(recipe):
    kept = json.loads((FOLDER / f"{recipe}.json").read_text())
    found = numbers(recipe)
    way = f"{recipe} no longer gives these: undo the change, or raise the recipe's number and write a new golden file"
    assert kept["defaults"].items() <= found["defaults"].items(), way  # a newer setting changes nothing by default
    assert found["exact"] == kept["exact"], way
    same(found["near"], kept["near"], way)
    if "curve" in kept["near"]:
        curve = np.array(kept["near"]["curve"]).reshape(STEPS, -1)[:, 0]
        assert curve.std() > 1e-3  # a curve, not a constant


def write() -> None:
    for recipe in RECIPES:
        file = FOLDER / f"{recipe}.json"
        if file.is_file():
            print(f"{file} is there and stays")
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(numbers(recipe), indent=1) + "\n")
        print(f"{file} written")


if __name__ == "__main__":
    write()
