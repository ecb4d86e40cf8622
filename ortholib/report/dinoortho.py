"""Chapter 20, DINO-Ortho, in words: tables and sentences in Markdown, and rows for the figures."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ortholib import paths, settings, wording
from ortholib.metrics import calibration, compare, ranks, speed
from ortholib.metrics.seeds import seed_spread
from ortholib.report import figures, sentences, tables
from ortholib.report.claims import claims as judged_claims
from ortholib.report.claims import table as claims_table
from ortholib.settings import Finetune, Probe
from ortholib.study import verdicts
from ortholib.study.arms import FINETUNED, FROZEN, TRANSFERRED, Made
from ortholib.study.dinoortho import AREAS, WORDS, fine_tuned, main_rows
from ortholib.study.dinoortho import courses as courses_of

PAPER = "Bagchi et al. (DINO-Ortho)"
NAMES = {"roc_auc": "ROC AUC", "average_precision": "PR AUC"}


def arms(declared: Mapping[str, Finetune], lacking: Mapping[str, str], published: Iterable[str]) -> str:
    """Which arms there are, what they start from, and whether they are run here, as a Markdown table; below it, the way
    to run the others. lacking: arm -> way, as of `study.available`."""
    published = set(published)
    rows = [
        (
            arm,
            "published" if arm in published else "control",
            settings.named(asked.initial),
            "**not run**, see below" if arm in lacking else "run",
        )
        for arm, asked in declared.items()
    ]
    table = tables.markdown(rows, ("arm", "kind", "starts from", "here"))
    ways = {way: [arm for arm in lacking if lacking[arm] == way] for way in lacking.values()}
    return "\n".join([table, "", *(f"- Not run: {'; '.join(names)}. {way}" for way, names in ways.items())])


def differences(table: pd.DataFrame, question: str) -> str:
    """The differences about one question as a Markdown table, or that none was made."""
    rows = []
    for row in table[table["question"] == question].to_dict("records") if len(table) else []:
        span = wording.signed(f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})")
        arms = [f"{row[name]}: {row[f'value_{name}']:.3f}" for name in ("arm", "reference")]
        n = f"{row['n']:,} in {wording.count(row['n_groups'], 'group')}"
        rows.append((titled(row), *arms, span, f"{row['p_holm']:.3g}", sentences.verdict(row), n))
    head = ("set, metric", "arm", "against", "difference (95 % interval)", "Holm p", "says", "n")
    return tables.markdown(rows, head) if rows else "*Not run: the arms that this asks for are not there.*"


def titled(row: Mapping) -> str:
    """ "FracAtlas, fracture, ROC AUC" of a row with task and metric."""
    return f"{WORDS[row['task']]}, {NAMES[row['metric']]}"


def forest(table: pd.DataFrame, questions: Iterable[str]) -> pd.DataFrame:
    """Rows of `figures.difference_plot` about some questions, each under its name."""
    kept = pd.concat([table[table["question"] == question] for question in questions]) if len(table) else table
    rows = kept.to_dict("records")
    labels = []
    for row in rows:
        change = CHANGES.get(row["question"])
        labels.append(f"{row['base']}: {change}" if change else f"{row['arm']} − {row['reference']}")
    return kept.assign(label=labels, section=[f"{row['question'].capitalize()}: {titled(row)}" for row in rows])


def compared(values: pd.DataFrame, table: pd.DataFrame, edition: str) -> str:
    """What the fine-tuned arms say of the paper's claims, and its numbers and claims with verdicts, as Markdown."""
    parts = [
        "Pairs are corrected together with the controls of the same set (Holm).",
        f"**What the paper claims**\n\n{differences(table, 'claim')}",
        f"**Radiographs alone, against random weights**\n\n{differences(table, 'pretraining')}",
        f"### Published, ours, verdict\n\n{published(judged(values, table, edition))}",
    ]
    return "\n\n".join(parts)


def controls(table: pd.DataFrame) -> str:
    """What the controls say, as Markdown."""
    return "\n\n".join(f"**{one.capitalize()}**\n\n{differences(table, one)}" for one in ("contamination", "leak"))


def training_speed(made: Iterable[Made], reference: str, draws: int, edition: str) -> tuple[pd.DataFrame, str]:
    """How soon each arm gets as far as the reference ends: rows of `speed.table` with task and said, and Markdown.

    Trainings that were recorded before their scores after each epoch were kept cannot be asked again: then both are as
    recorded, and say so.
    """
    made = list(made)
    if all((one.fit.folder / "courses.parquet").is_file() for one in made):
        tables, note = [], ""
        for task, courses in courses_of(made).items():
            found, gaps = speed.table(courses, reference, draws), speed.differences(courses, reference, draws)
            tables.append(found.assign(task=task, said=sentences.training_speed(found, gaps)))
        table = pd.concat(tables, ignore_index=True)
    else:
        run = paths.project() / "results" / edition / "20-dino-ortho"
        table = pd.read_parquet(run / "speed.parquet")
        note = "*As recorded when these networks were trained: their scores after each epoch were not kept.*\n\n"
    said = [f"**{WORDS[row.task]}**\n\n{row.said}" for row in table.drop_duplicates("task").itertuples()]
    return table, note + "\n\n".join(said)


def targets(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `figures.training_curves`: where the reference of `training_speed` ends on each set."""
    rows = table.drop_duplicates("task")
    return pd.DataFrame({"set": rows["task"].map(WORDS), "value": rows["target"], "arm": rows["reference"]})


CHANGES = {"contamination": "test images seen − unseen", "leak": "copies left in training − taken out"}


def table_one(values: pd.DataFrame, at_half: pd.DataFrame) -> str:
    """Our half of the paper's table as Markdown: the four metrics of each fine-tuned arm, and calls at 0.5 beside."""
    head = ["set", "arm", "ROC AUC", "PR AUC", "threshold", "sensitivity", "specificity"]
    head += ["sensitivity at 0.5", "specificity at 0.5"]
    rows = []
    for (task, arm), of_arm in values[main_rows(values)].groupby(["task", "arm"], sort=False):
        ours = of_arm.set_index("metric").loc
        halves = at_half[(at_half["task"] == task) & (at_half["arm"] == arm)].set_index("metric").loc
        cells = [_cell(ours[name]) for name in AREAS] + [f"{ours['sensitivity']['threshold']:.2f}"]
        cells += [_cell(of[name]) for of in (ours, halves) for name in ("sensitivity", "specificity")]
        rows.append((WORDS[task], arm, *cells))
    return tables.markdown(rows, head)


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


def efficiency(values: pd.DataFrame, made: Iterable[Made], task: str) -> pd.DataFrame:
    """Rows of `figures.label_efficiency` of one task: what each arm reaches by share of the labels, ROC AUC."""
    images = {}
    for _, asked, fit in made:
        if asked.task == task and isinstance(asked, Probe):
            images |= {(FROZEN, float(share)): n for share, n in fit.record["labels"].items()}
        elif asked.task == task and isinstance(asked, Finetune):
            images[FINETUNED, asked.fraction] = fit.record["counts"]["train"]
    rows = values[(values["task"] == task) & (values["metric"] == "roc_auc") & (values["split"] != "random")]
    rows = rows[(rows["use"] != TRANSFERRED) & (rows["head"] != "kNN")]
    if not (rows["fraction"].lt(1) & rows["use"].eq(FINETUNED)).any():
        rows = rows[rows["use"] == FROZEN]  # one point is no curve
    keys = zip(rows["use"], rows["fraction"], strict=True)
    return rows.assign(arm=rows["base"] + ", " + rows["use"], n_train=[images[key] for key in keys])


def history(made: Iterable[Made]) -> pd.DataFrame:
    """Epochs of trainings as `figures.training_curves` draws them."""
    frames = []
    for arm, asked, fit in made:
        known = fit.predictions.query("part == 'val'")["y_true"]
        facts = {"set": WORDS[asked.task], "arm": arm, "seed": asked.seed}
        frames.append(fit.history.assign(**facts, majority=max(known.mean(), 1 - known.mean())))
    return pd.concat(frames, ignore_index=True)


def judged(values: pd.DataFrame, table: pd.DataFrame, edition: str) -> pd.DataFrame:
    """The verdicts on the paper's numbers and claims (`claims.claims`) by the fine-tuned arms."""
    main = values[main_rows(values)].assign(edition=edition)
    between = None
    if len(table):
        known = set(main["arm"])
        claims = table[table["arm"].isin(known) & table["reference"].isin(known)].assign(edition=edition)
        between = verdicts.with_networks(claims, main)
    found = pd.concat([judged_claims(task, main, between) for task in ("abnormal", "fracture")], ignore_index=True)
    return found[found["paper"] == PAPER].reset_index(drop=True)


def published(judged: pd.DataFrame) -> str:
    """Published, ours, verdict as Markdown; where the rules give no verdict at all, why, and no table."""
    if judged["verdict"].eq(verdicts.NONE).all():
        n = wording.count(judged["claim"].nunique(), "number or claim", "numbers and claims")
        return f"No verdict on {n}: {judged['why'].iloc[0]}."
    return f"{sentences.verdicts(judged)}\n\n{claims_table(judged)}"


def calibrated(scored: pd.DataFrame, draws: int) -> str:
    """What temperature scaling does to the fine-tuned arms, as a Markdown table."""
    validation, lines = fine_tuned(scored, "val"), []
    for (task, arm), test in fine_tuned(scored).groupby(["task", "arm"], sort=False):
        known = validation[(validation["task"] == task) & (validation["arm"] == arm)]
        change = calibration.before_after(known.reset_index(drop=True), test.reset_index(drop=True), draws)
        rows = change.set_index(["metric", "scaling"]).loc
        step, worth = rows[("ece", "after - before")], rows[("nll", "after - before")]
        before, after = (f"{rows[('ece', name)]['value']:.3f}" for name in ("before", "after"))
        span = wording.signed(f"{step['value']:+.3f} ({step['low']:+.3f} to {step['high']:+.3f})")
        said = "no change shown" if worth["low"] <= 0 <= worth["high"] else "better" if worth["high"] < 0 else "worse"
        lines.append((WORDS[task], arm, f"{change['temperature'].iloc[0]:.2f}", before, after, span, said))
    head = ("set", "arm", "T", "ECE before", "ECE after", "change (95 % interval)", "likelihood")
    return tables.markdown(lines, head)


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
    lines = [f"- {row['arm']}: {sentences.interval(row)}" for _, row in table.iterrows()]
    n = f"{int(table['n'].iloc[0]):,} studies of {int(table['n_groups'].iloc[0]):,} patients"
    return f"**Cohen's κ of MURA's studies**, mean of the images above 0.5 ({n}):\n\n" + "\n".join(lines)


def seeds(scored: pd.DataFrame, draws: int) -> str:
    """What another training and what another test set would change, as a Markdown table of standard deviations."""
    lines = []
    for (task, arm), rows in fine_tuned(scored).groupby(["task", "arm"], sort=False):
        for row in seed_spread(rows.reset_index(drop=True), AREAS, draws=draws).to_dict("records"):
            training = "not known" if np.isnan(row["seed_sd"]) else f"{row['seed_sd']:.3f}"
            deviations = (f"{row['value']:.3f}", training, f"{row['one_seed_sd']:.3f}")
            lines.append((WORDS[task], arm, NAMES[row["metric"]], *deviations, str(row["seeds"])))
    head = ("set", "arm", "metric", "value", "another training", "another test set", "trainings")
    return tables.markdown(lines, head)


class Ranked(NamedTuple):
    """figure (None without blocks), its alternative text, and what Friedman's and Nemenyi's tests say, in Markdown."""

    figure: Figure | None
    alt: str
    sentences: str


def ranked(rows: pd.DataFrame) -> Ranked:
    """The fine-tuned arms ranked by ROC AUC over the blocks that have enough images; `rows` as of `blocks`."""
    known = ranks.blocks(rows, "block")
    used = known.loc[known["used"], "block"].tolist()
    out = "; ".join(f"{row.block} ({row.reason})" for row in known[~known["used"]].itertuples())
    lines = [f"Blocks: {', '.join(used) or 'none'}. Left out: {out or 'none'}."]
    arms = rows["arm"].unique()
    if len(arms) < 3 or not used:
        few = f"{len(arms)} arms over {len(used)} blocks; it asks for 3 arms and {ranks.MIN_BLOCKS} blocks at least"
        return Ranked(None, "", f"{lines[0]}\n\nFriedman's test: not computed: {few}.")
    table = ranks.block_values(rows, "block", "roc_auc")
    tested, apart = ranks.friedman(table), ranks.nemenyi(table)
    if tested.reason:
        lines.append(f"Friedman's test: {tested.reason}. The mean ranks are drawn; no test stands behind them.")
    else:
        called = tested.p <= compare.ALPHA
        statistic = f"F({tested.df[0]}, {tested.df[1]}) = {tested.f:.2f} (Iman and Davenport), p = {tested.p:.3g}"
        said = "some arms differ" if called else "no difference shown"
        lines.append(f"Friedman's test over {tested.n_blocks} blocks: {statistic}: {said}.")
        pairs = apart.pairs[apart.pairs["p"] <= compare.ALPHA] if called else apart.pairs[:0]
        told = "; ".join(f"{row.arm} and {row.other}" for row in pairs.itertuples())
        lines.append(f"Nemenyi's test tells apart: {told or 'no pair'}.")
    lines.append(
        "Blocks of one set share their source and readers, so the test is exploratory. It sees ranks, not how far "
        "the arms lie apart; the paired intervals above do."
    )
    drawn = (list(tested.mean_ranks.index), tested.mean_ranks.to_numpy(), apart.critical_difference, tested.n_blocks)
    return Ranked(figures.critical_difference(*drawn), figures.describe_ranks(*drawn), "\n\n".join(lines))
