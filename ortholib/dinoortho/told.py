"""How the chapter tells it: tables and sentences in Markdown, and rows for the figures."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from ortholib import beside, calibration, prose, verdicts
from ortholib.dinoortho import plan
from ortholib.dinoortho.plan import FINETUNED, PROBED, SPLITS, TRANSFERRED
from ortholib.dinoortho.scores import AREAS, Made, fine_tuned, whole

PAPER = "Bagchi et al. (DINO-Ortho)"
NAMES = {"roc_auc": "ROC AUC", "average_precision": "PR AUC"}
WORDS = {"fracture": "FracAtlas, fracture", "abnormal": "MURA, abnormal", "oa": "kneeKL224, KL ≥ 2"}


def arms(parameters: Mapping) -> str:
    """Which arms there are, what they start from, and whether they are run here, as a Markdown table."""
    lacking, rows = plan.missing(parameters), []
    for arm in plan.ARMS:
        kind = "published" if arm in plan.PUBLISHED else "control"
        here = f"**not run**: {lacking[arm]}" if arm in lacking else "run"
        rows.append((arm, kind, plan.initial(arm, parameters), here))
    return pd.DataFrame(rows, columns=["arm", "kind", "starts from", "here"]).to_markdown(index=False)


def differences(table: pd.DataFrame, question: str) -> str:
    """The differences about one question as Markdown bullets, or that none was made."""
    rows = table[table["question"] == question] if len(table) else table
    lines = [f"- {titled(row)}, {row['arm']}: {prose.difference(row)}" for row in rows.to_dict("records")]
    return "\n".join(lines) or "*Not run: the arms that this asks for are not there.*"


def titled(row: Mapping) -> str:
    """ "FracAtlas, fracture, ROC AUC" of a row with task and metric."""
    return f"{WORDS[row['task']]}, {NAMES[row['metric']]}"


def forest(table: pd.DataFrame, question: str) -> pd.DataFrame:
    """Rows of `figures.difference_plot` about one question."""
    rows = table[table["question"] == question]
    labels = [_against(row) for row in rows.to_dict("records")]
    return rows.assign(label=labels, section=[titled(row) for row in rows.to_dict("records")])


def _against(row: Mapping) -> str:
    """ "A − B", what both have in common written once."""
    arm, reference = row["arm"].split(", "), row["reference"].split(", ")
    if arm[0] == reference[0]:
        changed = [part for part in arm[1:] if part not in reference] or ["as above"]
        kept = [part for part in arm[1:] if part in reference]
        other = [part for part in reference[1:] if part not in arm]
        return f"{', '.join(kept) or 'fine-tuned'}: {', '.join(changed)}" + (f" − {', '.join(other)}" if other else "")
    return f"{row['arm']} − {row['reference']}"


def table_one(values: pd.DataFrame, at_half: pd.DataFrame) -> str:
    """Our half of the paper's table as Markdown: the four metrics of each fine-tuned arm, and calls at 0.5 beside."""
    head = (
        "set",
        "arm",
        "ROC AUC",
        "PR AUC",
        "threshold",
        "sensitivity",
        "specificity",
        "sensitivity at 0.5",
        "specificity",
    )
    lines = [f"| {' | '.join(head)} |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    main = values[(values["use"] == FINETUNED) & (values["fraction"] == 1) & (values["split"] != "random")]
    for (task, arm), rows in main.groupby(["task", "arm"], sort=False):
        ours = rows.set_index("metric").loc
        halves = at_half[(at_half["task"] == task) & (at_half["arm"] == arm)].set_index("metric").loc
        cells = [_cell(ours[name]) for name in AREAS] + [f"{ours['sensitivity']['threshold']:.2f}"]
        cells += [_cell(of[name]) for of in (ours, halves) for name in ("sensitivity", "specificity")]
        lines.append(f"| {WORDS[task]} | {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: pd.Series) -> str:
    if np.isnan(row["value"]):
        return "not computable"
    return f"{row['value']:.3f}" + ("" if np.isnan(row["low"]) else f" ({row['low']:.3f} to {row['high']:.3f})")


def bars(values: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Rows of `figures.interval_plot`: some arms' values by set and metric."""
    rows = values[values["metric"].isin(list(metrics))].copy()
    rows["section"] = [titled(row) for row in rows.to_dict("records")]
    order = rows.groupby(["task", "metric"], sort=False).ngroup()
    return rows.assign(label=rows["arm"], kind="ours", order=order).sort_values("order", kind="stable")


def efficiency(values: pd.DataFrame, made: Made, task: str) -> pd.DataFrame:
    """Rows of `figures.label_efficiency` of one task: what each arm reaches by share of the labels, ROC AUC."""
    images = {}
    for one, fit in made:
        if one.settings.task == task and one.settings.split not in SPLITS:
            if one.use == PROBED:
                images |= {(PROBED, float(share)): n for share, n in fit.record["labels"].items()}
            elif one.use == FINETUNED:
                images[FINETUNED, one.settings.fraction] = fit.record["counts"]["train"]
    rows = values[(values["task"] == task) & (values["metric"] == "roc_auc") & (values["split"] != "random")]
    rows = rows[(rows["use"] != TRANSFERRED) & (rows["head"] != "kNN")]
    if not (rows["fraction"].lt(1) & rows["use"].eq(FINETUNED)).any():
        rows = rows[rows["use"] == PROBED]  # one point is no curve
    keys = zip(rows["use"], rows["fraction"], strict=True)
    return rows.assign(arm=rows["base"] + ", " + rows["use"], n_train=[images[key] for key in keys])


def history(made: Made) -> pd.DataFrame:
    """Epochs of the fine-tuned arms as `figures.training_curves` draws them."""
    frames = []
    for one, fit in whole(made):
        known = fit.predictions.query("part == 'val'")["y_true"]
        facts = {"set": WORDS[one.settings.task], "arm": one.arm, "seed": one.settings.seed}
        frames.append(fit.history.assign(**facts, majority=max(known.mean(), 1 - known.mean())))
    return pd.concat(frames, ignore_index=True)


def judged(values: pd.DataFrame, table: pd.DataFrame, edition: str) -> pd.DataFrame:
    """The verdicts on the paper's numbers and claims (`beside.claims`) by the fine-tuned arms."""
    main = values[values["arm"].isin(plan.ARMS) & (values["split"] != "random")].assign(edition=edition)
    between = None
    if len(table):
        claims = table[table["arm"].isin(plan.ARMS) & table["reference"].isin(plan.ARMS)].assign(edition=edition)
        between = verdicts.with_networks(claims, main)
    found = pd.concat([beside.claims(task, main, between) for task in ("abnormal", "fracture")], ignore_index=True)
    return found[found["paper"] == PAPER].reset_index(drop=True)


def calibrated(scored: pd.DataFrame, draws: int) -> str:
    """What temperature scaling does to each fine-tuned arm, as Markdown bullets."""
    validation, lines = fine_tuned(scored, "val"), []
    for (task, arm), test in fine_tuned(scored).groupby(["task", "arm"], sort=False):
        known = validation[(validation["task"] == task) & (validation["arm"] == arm)]
        change = calibration.before_after(known.reset_index(drop=True), test.reset_index(drop=True), draws)
        lines.append(f"- {WORDS[task]}, {arm}: {prose.recalibration(change)}")
    return "\n".join(lines)


def subgroup_bars(groups: pd.DataFrame) -> pd.DataFrame:
    """Rows of `figures.interval_plot`: the subgroups that have a value."""
    rows = groups[groups["value"].notna()]
    sections = [
        f"{WORDS[row.task]}: {row.trait} {row.subgroup} ({row.n_pos} of {row.n_pos + row.n_neg} positive)"
        for row in rows.itertuples()
    ]
    return rows.drop(columns="n").assign(label=rows["arm"], kind="ours", section=sections)


def left_out(groups: pd.DataFrame) -> str:
    """Which subgroups have no value, and why."""
    rows = groups[groups["value"].isna()].drop_duplicates(["dataset", "trait", "subgroup"])
    said = [f"{WORDS[row.task]}, {row.trait} {row.subgroup} ({row.reason})" for row in rows.itertuples()]
    return f"Without a value: {'; '.join(said) or 'none'}."


def kappa(table: pd.DataFrame) -> str:
    """MURA's official metric of each arm as Markdown, or nothing."""
    if table.empty:
        return ""
    lines = [f"- {row['arm']}: {prose.interval(row)}" for _, row in table.iterrows()]
    n = f"{int(table['n'].iloc[0]):,} studies of {int(table['n_groups'].iloc[0]):,} patients"
    return f"**Cohen's κ of MURA's studies**, mean of the images above 0.5 ({n}):\n\n" + "\n".join(lines)


def by_arm(scored: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and test rows of each fine-tuned arm."""
    for (task, arm), rows in fine_tuned(scored).groupby(["task", "arm"], sort=False):
        yield f"{WORDS[task]}, {arm}", rows.reset_index(drop=True)
