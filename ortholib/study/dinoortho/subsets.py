"""In which images: the parts of the splits, body parts, sides, hardware and studies, and the arms ranked over them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ortholib.data import datasets, ids, split, tasks
from ortholib.metrics import evaluation, exams, ranks
from ortholib.study.dinoortho import plan
from ortholib.study.dinoortho.plan import WORDS
from ortholib.study.dinoortho.scores import fine_tuned


def parts(parameters: Mapping) -> pd.DataFrame:
    """The sets of the chapter and their splits: a row a part, with images, positives and groups."""
    rows, asked = [], plan.sets(parameters)
    asked += [(*parameters["leak_set"].split(":"), name) for name in plan.SPLITS]
    for name, task, how in asked:
        label = tasks.TASKS[task].label
        found = datasets.load(name, parameters["edition"])
        made = split.make(found, how, label)
        images = made.images.assign(y=made.images["image_id"].map(found.label(label)))
        for part, here in images.groupby("part", sort=False):
            counts = (len(here), int(here["y"].sum()), here["group"].nunique())
            rows.append((WORDS[task], how, part, *counts, made.cut_groups))
    columns = ["set", "split", "part", "images", "positive", "groups", "groups in several parts"]
    table = pd.DataFrame(rows, columns=columns)
    order = table["part"].map({"train": 0, "val": 1, "test": 2})
    return table.assign(order=order).sort_values(["set", "split", "order"], kind="stable").drop(columns="order")


def versions(parameters: Mapping) -> list[str]:
    """The releases that were read, for the record."""
    return [f"{name}: {datasets.load(name, parameters['edition']).version}" for name, _, _ in plan.sets(parameters)]


def traits(dataset: str, edition: str) -> pd.DataFrame:
    """unit_id (hashed), study, body part, and hardware or side where the set tells it, of each image of a set."""
    found = datasets.load(dataset, edition)
    table = pd.DataFrame({"unit_id": ids.hashed(found.images["image_id"], dataset)})
    table["study"] = found.images["exam"].to_numpy()
    table["body part"] = found.images["body_part"].to_numpy()
    if set(found.images["plane"]) >= {"L", "R"}:
        table["side"] = found.images["plane"].map({"L": "left", "R": "right"}).to_numpy()
    if "hardware" in set(found.labels["label"]):
        metal = found.images["image_id"].map(found.label("hardware")).eq(1)
        table["hardware"] = np.where(metal, "with hardware", "without hardware")
    return table


def subgroups(scored: pd.DataFrame, edition: str, draws: int) -> pd.DataFrame:
    """ROC AUC of each fine-tuned arm in each subgroup of test: trait, subgroup, n_pos, n_neg beside the columns of
    `evaluate`. Those with too few of a class (`ranks.MIN_UNITS`) have no value, and the reason."""
    rows = []
    for dataset, of_set in fine_tuned(scored).groupby("dataset", sort=False):
        known = traits(dataset, edition)
        joined = of_set.merge(known, on="unit_id", validate="many_to_one")
        for trait in [name for name in known if name not in ("unit_id", "study") and known[name].nunique() > 1]:
            for block in ranks.blocks(joined, trait).to_dict("records"):
                here = joined[joined[trait] == block["block"]]
                facts = {"dataset": dataset, "task": of_set["task"].iloc[0], "trait": trait, "subgroup": block["block"]}
                facts |= {"n_pos": block["n_pos"], "n_neg": block["n_neg"]}
                for arm, of_arm in here.groupby("arm", sort=False):
                    if block["used"]:
                        made = evaluation.evaluate(of_arm, names=["roc_auc"], draws=draws).iloc[0].to_dict()
                    else:
                        made = {"metric": "roc_auc", "value": np.nan, "low": np.nan, "high": np.nan}
                        made |= {"n": of_arm["unit_id"].nunique(), "reason": block["reason"]}
                    rows.append(facts | {"arm": arm} | made)
    return pd.DataFrame(rows)


def blocks(scored: pd.DataFrame, edition: str) -> pd.DataFrame:
    """Rows on test of the arms fine-tuned on every set, with the column block: set and body part, over which arms are
    ranked."""
    rows, frames = fine_tuned(scored), []
    sets_of = rows.groupby("arm")["dataset"].nunique()
    everywhere = sets_of.index[sets_of == rows["dataset"].nunique()]
    for dataset, of_set in rows[rows["arm"].isin(everywhere)].groupby("dataset", sort=False):
        joined = of_set.merge(traits(dataset, edition), on="unit_id", validate="many_to_one")
        name = WORDS[of_set["task"].iloc[0]].split(",")[0]
        frames.append(joined.assign(block=name + ", " + joined["body part"].replace("", "all")))
    return pd.concat(frames, ignore_index=True)


def study_kappa(scored: pd.DataFrame, edition: str, draws: int) -> pd.DataFrame:
    """MURA's official metric of each fine-tuned arm, a row each; empty where the sets have no studies of several
    images."""
    rows = []
    for (dataset, arm), of_arm in fine_tuned(scored).groupby(["dataset", "arm"], sort=False):
        known = traits(dataset, edition).set_index("unit_id")["study"]
        if not known[of_arm["unit_id"]].duplicated().any() or dataset != "mura":
            continue
        images = of_arm.drop(columns=["base", "use", "head", "backbone", "initial", "fraction"])
        rows.append(exams.mura_kappa(images, known, draws).assign(arm=arm, dataset=dataset))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
