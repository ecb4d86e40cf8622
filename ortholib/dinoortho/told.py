"""How the chapter tells it: tables and sentences in Markdown, and rows for the figures."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ortholib import beside, calibration, prose, spread, verdicts
from ortholib.dinoortho import plan
from ortholib.dinoortho.plan import FINETUNED, PROBED, SPLITS, TRANSFERRED
from ortholib.dinoortho.scores import AREAS, Made, fine_tuned, whole

PAPER = "Bagchi et al. (DINO-Ortho)"
NAMES = {"roc_auc": "ROC AUC", "average_precision": "PR AUC"}
WORDS = {"fracture": "FracAtlas, fracture", "abnormal": "MURA, abnormal", "oa": "kneeKL224, KL ≥ 2"}


def arms(parameters: Mapping) -> str:
    """Which arms there are, what they start from, and whether they are run here, as a Markdown table; below it, the way
    to run the others."""
    lacking, rows = plan.missing(parameters), []
    for arm in plan.ARMS:
        kind = "published" if arm in plan.PUBLISHED else "control"
        here = "**not run**, see below" if arm in lacking else "run"
        rows.append((arm, kind, plan.initial(arm, parameters), here))
    table = _table(("arm", "kind", "starts from", "here"), rows)
    ways = {way: [arm for arm in lacking if lacking[arm] == way] for way in lacking.values()}
    return "\n".join([table, "", *(f"- Not run: {'; '.join(names)}. {way}" for way, names in ways.items())])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table of cells that are text already."""
    head = list(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def differences(table: pd.DataFrame, question: str) -> str:
    """The differences about one question as a Markdown table, or that none was made."""
    rows = []
    for row in table[table["question"] == question].to_dict("records") if len(table) else []:
        span = prose.signed(f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})")
        arms = [f"{row[name]}: {row[f'value_{name}']:.3f}" for name in ("arm", "reference")]
        n = f"{row['n']:,} in {prose.count(row['n_groups'], 'group')}"
        rows.append((titled(row), *arms, span, f"{row['p_holm']:.3g}", prose.verdict(row), n))
    head = ("set, metric", "arm", "against", "difference (95 % interval)", "Holm p", "says", "n")
    return _table(head, rows) if rows else "*Not run: the arms that this asks for are not there.*"


def titled(row: Mapping) -> str:
    """ "FracAtlas, fracture, ROC AUC" of a row with task and metric."""
    return f"{WORDS[row['task']]}, {NAMES[row['metric']]}"


def forest(table: pd.DataFrame, questions: Iterable[str]) -> pd.DataFrame:
    """Rows of `figures.difference_plot` about some questions, each under its name."""
    kept = pd.concat([table[table["question"] == question] for question in questions]) if len(table) else table
    rows = kept.to_dict("records")
    labels = [_against(row) for row in rows]
    return kept.assign(label=labels, section=[f"{row['question'].capitalize()}: {titled(row)}" for row in rows])


CHANGES = {
    "contamination": "test images seen − unseen",
    "leak": f"{next(iter(SPLITS.values()))} − taken out",
}


def _against(row: Mapping) -> str:
    """What two arms have in common, and what was changed."""
    change = CHANGES.get(row["question"])
    if change is None:
        return f"{row['arm']} − {row['reference']}"
    parts = [part for part in row["arm"].split(", ") if not part.startswith(("test images", "copies"))]
    return f"{', '.join(parts)}: {change}"


def table_one(values: pd.DataFrame, at_half: pd.DataFrame) -> str:
    """Our half of the paper's table as Markdown: the four metrics of each fine-tuned arm, and calls at 0.5 beside."""
    head = ["set", "arm", "ROC AUC", "PR AUC", "threshold", "sensitivity", "specificity"]
    head += ["sensitivity at 0.5", "specificity at 0.5"]
    rows = []
    main = values[(values["use"] == FINETUNED) & (values["fraction"] == 1) & (values["split"] != "random")]
    for (task, arm), of_arm in main.groupby(["task", "arm"], sort=False):
        ours = of_arm.set_index("metric").loc
        halves = at_half[(at_half["task"] == task) & (at_half["arm"] == arm)].set_index("metric").loc
        cells = [_cell(ours[name]) for name in AREAS] + [f"{ours['sensitivity']['threshold']:.2f}"]
        cells += [_cell(of[name]) for of in (ours, halves) for name in ("sensitivity", "specificity")]
        rows.append((WORDS[task], arm, *cells))
    return _table(head, rows)


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


def published(judged: pd.DataFrame) -> str:
    """Published, ours, verdict as Markdown; where the rules give no verdict at all, why, and no table."""
    if judged["verdict"].eq(verdicts.NONE).all():
        return f"No verdict on {prose.count(judged['claim'].nunique(), 'number or claim', 'numbers and claims')}: " + (
            f"{judged['why'].iloc[0]}."
        )
    return f"{prose.verdicts(judged)}\n\n{beside.table(judged)}"


def calibrated(scored: pd.DataFrame, draws: int) -> str:
    """What temperature scaling does to the fine-tuned arms, as a Markdown table."""
    validation, lines = fine_tuned(scored, "val"), []
    for (task, arm), test in fine_tuned(scored).groupby(["task", "arm"], sort=False):
        known = validation[(validation["task"] == task) & (validation["arm"] == arm)]
        change = calibration.before_after(known.reset_index(drop=True), test.reset_index(drop=True), draws)
        rows = change.set_index(["metric", "scaling"]).loc
        step, worth = rows[("ece", "after - before")], rows[("nll", "after - before")]
        before, after = (f"{rows[('ece', name)]['value']:.3f}" for name in ("before", "after"))
        span = prose.signed(f"{step['value']:+.3f} ({step['low']:+.3f} to {step['high']:+.3f})")
        said = "no change shown" if worth["low"] <= 0 <= worth["high"] else "better" if worth["high"] < 0 else "worse"
        lines.append((WORDS[task], arm, f"{change['temperature'].iloc[0]:.2f}", before, after, span, said))
    return _table(("set", "arm", "T", "ECE before", "ECE after", "change (95 % interval)", "likelihood"), lines)


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


def seeds(scored: pd.DataFrame, draws: int) -> str:
    """What another training and what another test set would change, as a Markdown table of standard deviations."""
    lines = []
    for (task, arm), rows in fine_tuned(scored).groupby(["task", "arm"], sort=False):
        for row in spread.seed_spread(rows.reset_index(drop=True), AREAS, draws=draws).to_dict("records"):
            training = "not known" if np.isnan(row["seed_sd"]) else f"{row['seed_sd']:.3f}"
            deviations = (f"{row['value']:.3f}", training, f"{row['one_seed_sd']:.3f}")
            lines.append((WORDS[task], arm, NAMES[row["metric"]], *deviations, str(row["seeds"])))
    head = ("set", "arm", "metric", "value", "another training", "another test set", "trainings")
    return _table(head, lines)
