"""Chapter 20, DINO-Ortho, in numbers: values, differences and subgroups of the arms that its notebook declares."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ortholib.data import datasets, ids, split, tasks
from ortholib.metrics import compare, curves, evaluation, exams, ranks, speed
from ortholib.metrics.scores import youden_threshold
from ortholib.metrics.thresholds import decision_curve, threshold_at_specificity
from ortholib.study.arms import FINETUNED, FROZEN, TRANSFERRED, Made, named, parts, shares, trained_elsewhere

AREAS = ["roc_auc", "average_precision"]
ABOUT = ["dataset", "task", "split", "part"]
FACTS = ["backbone", "initial", "base", "use", "fraction", "head"]  # of an arm
SPECIFICITY = 0.9  # at which sensitivity is also told; its threshold comes from validation
WORDS = {"fracture": "FracAtlas, fracture", "abnormal": "MURA, abnormal", "oa": "kneeKL224, KL ≥ 2"}
SPLITS = {"random": "copies left in training", "random without copies": "copies taken out of training"}


def labelled(scored: pd.DataFrame) -> pd.DataFrame:
    """The predictions of a chapter (`study.predictions`) with thresholds and the leak told apart.

    Both splits of `SPLITS` have the same test images: they become the one split `random`, and the column copies and the
    arm say which: "DINO-Ortho + SL, frozen, linear, copies left in training". New columns threshold and
    specificity_threshold, of each arm and seed, chosen on validation (NaN for a transfer). Of kNN probes those with all
    labels are kept.
    """
    scored = scored[(scored["head"] != "kNN") | (scored["fraction"] == 1)]
    copies = scored["split"].map(SPLITS).fillna("")
    frozen = scored["use"].where(scored["use"] == FROZEN, "")
    names = named(scored["base"], frozen, scored["head"], shares(scored), trained_elsewhere(scored), copies)
    scored = scored.assign(arm=names, copies=copies, split=scored["split"].where(copies == "", "random"))
    frames = [
        rows.assign(**_thresholds(rows, use))
        for (use, *_), rows in scored.groupby(["use", *ABOUT[:3], "arm", "seed"], sort=False)
    ]
    return pd.concat(frames).sort_index().reset_index(drop=True)


def _thresholds(rows: pd.DataFrame, use: str) -> dict[str, float]:
    if use == TRANSFERRED:
        return {"threshold": np.nan, "specificity_threshold": np.nan}
    known = rows[rows["part"] == "val"]
    truth, score = known["y_true"].to_numpy(), known["score_1"].to_numpy()
    youden = youden_threshold(truth, score)
    return {
        "threshold": youden,
        "specificity_threshold": threshold_at_specificity(truth, score, SPECIFICITY),
    }


def fine_tuned(scored: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """Rows of the arms fine-tuned with all labels on the chapter's own splits: what the paper's table is about."""
    return scored[main_rows(scored) & (scored["part"] == part)].reset_index(drop=True)


def main_rows(table: pd.DataFrame) -> pd.Series:
    """Which rows of predictions or values are of arms fine-tuned with all labels on the chapter's own splits."""
    return (table["use"] == FINETUNED) & (table["fraction"] == 1) & (table["split"] != "random")


def values(scored: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Metrics of every arm on test with intervals: of trainings and probes with all labels every one, else `AREAS`."""
    rows = []
    for about, of_arm in scored[scored["part"] == "test"].groupby([*ABOUT, "arm"], sort=False):
        facts = dict(zip([*ABOUT, "arm"], about, strict=True)) | of_arm.iloc[0][FACTS].to_dict()
        if facts["use"] == TRANSFERRED or facts["fraction"] < 1:
            made = evaluation.evaluate(of_arm, names=AREAS, draws=draws)
        else:
            chosen = of_arm.groupby("seed")[["threshold", "specificity_threshold"]].first().to_dict()
            made = evaluation.evaluate(of_arm, draws=draws, **chosen)
        rows.append(made.assign(**facts))
    return pd.concat(rows, ignore_index=True)


def half(scored: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Sensitivity and specificity of the fine-tuned arms when 0.5 is the threshold, with intervals."""
    rows = []
    for about, of_arm in fine_tuned(scored).groupby([*ABOUT, "arm"], sort=False):
        made = evaluation.evaluate(of_arm, names=["sensitivity", "specificity"], draws=draws, threshold=0.5)
        rows.append(made.assign(**dict(zip([*ABOUT, "arm"], about, strict=True))))
    return pd.concat(rows, ignore_index=True)


def differences(scored: pd.DataFrame, asked: Iterable[tuple[str, str, str]], draws: int) -> pd.DataFrame:
    """Differences of `AREAS`, Holm-corrected over all of a set and split, with the column question.

    asked: (arm, reference, question), as the arms were declared, fine-tuned and frozen with a linear head. On the split
    `random` the question is `leak`: copies left in training against copies taken out, of every arm that is there. The
    column base names the reference without that.
    """
    tables = []
    for about, rows in scored[scored["part"] == "test"].groupby(ABOUT, sort=False):
        pairs = _pairs(rows, asked)
        if not pairs:
            continue
        compared = {arm for pair in pairs for arm in pair}
        made = compare.compare(rows[rows["arm"].isin(compared)], AREAS, pairs=list(pairs), draws=draws)
        told = pd.DataFrame([pairs[pair] for pair in zip(made["arm"], made["reference"], strict=True)], made.index)
        tables.append(made.join(told).assign(**dict(zip(ABOUT, about, strict=True))))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _pairs(rows: pd.DataFrame, asked: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    """(arm, reference) -> question and what both have in common, of the arms that are there with all labels."""
    rows = rows[(rows["fraction"] == 1) & (rows["use"] != TRANSFERRED)]
    facts = rows[["base", "use", "head", "copies", "arm"]].drop_duplicates()
    there = {(one.base, one.use, one.head, one.copies): one.arm for one in facts.itertuples()}
    ways = ((FINETUNED, ""), (FROZEN, "linear"))
    wanted = [((a, *way, ""), (b, *way, ""), why) for way in ways for a, b, why in asked]
    left, taken = SPLITS.values()
    wanted += [(one, (*one[:3], taken), "leak") for one in there if one[3] == left]
    found = {}
    for a, b, why in wanted:
        if a in there and b in there:
            words = (b[0], "" if b[1] == FINETUNED else b[1], b[2])
            found[there[a], there[b]] = {"question": why, "base": ", ".join(filter(None, words))}
    return found


def bands(scored: pd.DataFrame, task: str, arms: Iterable[str], draws: int) -> pd.DataFrame:
    """ROC and precision-recall curves of some fine-tuned arms, as `figures.roc_pr` draws them."""
    rows = fine_tuned(scored)
    of_arms = rows[(rows["task"] == task) & rows["arm"].isin(list(arms))].groupby("arm", sort=False)
    return pd.concat([curves.curve_bands(one, draws).assign(arm=arm) for arm, one in of_arms], ignore_index=True)


def decision(scored: pd.DataFrame, task: str, arms: Iterable[str], draws: int) -> pd.DataFrame:
    """Net benefit of the first training of some arms, as `figures.decision_curves` draws it."""
    rows = fine_tuned(scored)
    rows = rows[(rows["task"] == task) & (rows["seed"] == 0) & rows["arm"].isin(list(arms))].sort_values("unit_id")
    each = {arm: of_arm["score_1"].to_numpy() for arm, of_arm in rows.groupby("arm", sort=False)}
    first = rows[rows["arm"] == rows["arm"].iloc[0]]
    return decision_curve(first["y_true"].to_numpy(), each, first["group"], draws=draws)


def courses(made: Iterable[Made]) -> dict[str, list[speed.Course]]:
    """Task -> the validation scores of its trainings after each epoch, for `speed`."""
    found = {}
    for arm, asked, fit in made:
        course = speed.Course(arm, asked.seed, fit.courses, fit.history["seconds"].to_numpy())
        found.setdefault(asked.task, []).append(course)
    return found


def splits(sets: Iterable[str], edition: str) -> pd.DataFrame:
    """The sets of the chapter and their splits: a row a part, with images, positives and groups."""
    rows = []
    for name, task, how in map(parts, sets):
        label = tasks.TASKS[task].label
        found = datasets.load(name, edition)
        made = split.make(found, how, label)
        images = made.images.assign(y=made.images["image_id"].map(found.label(label)))
        for part, here in images.groupby("part", sort=False):
            counts = (len(here), int(here["y"].sum()), here["group"].nunique())
            rows.append((WORDS[task], how, part, *counts, made.cut_groups))
    columns = ["set", "split", "part", "images", "positive", "groups", "groups in several parts"]
    table = pd.DataFrame(rows, columns=columns)
    order = table["part"].map({"train": 0, "val": 1, "test": 2})
    return table.assign(order=order).sort_values(["set", "split", "order"], kind="stable").drop(columns="order")


def versions(sets: Iterable[str], edition: str) -> list[str]:
    """The releases that were read, for the record."""
    names = dict.fromkeys(parts(entry)[0] for entry in sets)
    return [f"{name}: {datasets.load(name, edition).version}" for name in names]


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
        images = of_arm.drop(columns=FACTS)
        rows.append(exams.mura_kappa(images, known, draws).assign(arm=arm, dataset=dataset))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
