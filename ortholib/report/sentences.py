"""Sentences that depend on a result. Each is a function of the values, so that none can be typed before them."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import chi2

from ortholib import wording
from ortholib.metrics import speed


def interval(row: pd.Series, digits: int = 3) -> str:
    """ "0.788 (95 % interval 0.765 to 0.810)" from a row with `value, low, high, reason`.

    Says why where one is missing, and repeats the reason to read an interval with care.
    """
    if math.isnan(row["value"]):
        return f"not computable ({row['reason']})"
    if math.isnan(row["low"]):
        return f"{row['value']:.{digits}f} (no interval: {row['reason'].removeprefix('no interval: ')})"
    care = f"; {row['reason']}" if row["reason"] else ""
    return f"{row['value']:.{digits}f} (95 % interval {row['low']:.{digits}f} to {row['high']:.{digits}f}{care})"


def against_published(row: pd.Series, published: pd.Series, edition: str) -> str:
    """How our interval lies to published values that come from other data or networks.

    Such values are context: the sentence says where they lie, never that they were reproduced or not.
    """
    if edition == "phantom":
        return "Generated images: not to be compared with any published value."
    low, high = published.min(), published.max()
    values = f"{len(published)} published values ({low:.2f} to {high:.2f})"
    values = values if len(published) > 1 else f"one published value ({low:.2f})"
    there = f"the {values}, which {'come' if len(published) > 1 else 'comes'} from other data and networks"
    if published.empty:
        return "No comparison is possible: there is no published value."
    if math.isnan(row["low"]):
        return f"No comparison is possible: {row['reason']}."
    if row["high"] < low:
        return f"The whole interval lies below {there}."
    if row["low"] > high:
        return f"The whole interval lies above {there}."
    return f"The interval overlaps the range of {there}."


def hardest(recalls: pd.DataFrame) -> str:
    """Which class is found least, from rows `name, value, low, high, reason`, and whether intervals set it apart."""
    known = recalls.dropna(subset=["value"]).sort_values("value", kind="stable")
    if len(known) < 2:
        return "Too few classes have images in test to rank them."
    least, rest = known[known["value"] == known["value"].min()], known[known["value"] > known["value"].min()]
    if rest.empty:
        return f"All {len(known)} classes are found equally often: recall {known['value'].iloc[0]:.2f}."
    if len(least) > 1:
        names = f"{', '.join(least['name'].iloc[:-1])} and {least['name'].iloc[-1]}"
        return f"{names} are found least often, equally so: recall {least['value'].iloc[0]:.2f}."
    worst = least.iloc[0]
    if pd.isna(worst["high"]) or rest["low"].isna().any():
        ending = "though not every class has an interval, so none is shown to lie apart"
    elif rest["low"].min() > worst["high"]:
        ending = "below every other class with images, intervals apart"
    else:
        ending = "though its interval overlaps another class's"
    return f"{worst['name']} is found least often: recall {interval(worst, 2)}, {ending}."


def calibration(ece: pd.Series, confidence: float, accuracy: float) -> str:
    """Whether a classifier says more than it knows, from its mean confidence and its accuracy."""
    gap = confidence - accuracy
    if math.isnan(gap):
        return "Whether its confidence can be believed is not computable: there are no test images."
    if abs(gap) < 0.02:
        direction = "On average it is about as sure as it is right"
    else:
        direction = f"On average it is {'surer' if gap > 0 else 'less sure'} than it is right"
    return f"{direction}: mean confidence {confidence:.2f}, accuracy {accuracy:.2f}; ECE {interval(ece)}."


def recalibration(change: pd.DataFrame) -> str:
    """What temperature scaling did on test, from the rows of `calibration.before_after`."""
    rows = change.set_index(["metric", "scaling"])
    temperature = rows["temperature"].iloc[0]
    if math.isnan(rows.loc[("ece", "after - before"), "value"]):
        return "What temperature scaling does is not computable: there are no test images."
    if abs(temperature - 1) < 0.05:
        found = "the probabilities were about right there"
    else:
        found = f"the probabilities were too {'sure' if temperature > 1 else 'cautious'} there"
    several = f", mean of {rows['seeds'].iloc[0]} trainings" if rows["seeds"].iloc[0] > 1 else ""
    told = [f"Temperature fitted on validation: T = {temperature:.2f}{several}; {found}."]
    for name, written in (("ece", "ECE"), ("nll", "Negative log likelihood")):
        before, after, step = (rows.loc[(name, scaling)] for scaling in ("before", "after", "after - before"))
        if math.isnan(step["low"]):
            shown = "no interval of the change"
        elif step["low"] <= 0 <= step["high"]:
            shown = "no change shown"
        else:
            shown = "better" if step["high"] < 0 else "worse"
        numbers = f"{before['value']:.3f} before, {after['value']:.3f} after"
        told.append(f"{written} on test {numbers}, difference {wording.signed(interval(step, 4))}: {shown}.")
    return " ".join(told)


def seed_spread(table: pd.DataFrame, names: dict[str, str]) -> str:
    """What another training and what another test set would change, as Markdown; `table` as of `seeds.seed_spread`.

    names: metric -> what readers call it. The spread over few seeds is itself uncertain, and by how much is said.
    """
    rows = [row for row in table.to_dict("records") if not math.isnan(row["one_seed_sd"])]
    if not rows:
        return "Neither spread is computable on these units."
    seeds = int(rows[0]["seeds"])
    if seeds == 1:
        head = "Trained once: what another training would change is not known. Another test set of as many patients"
        moved = ", ".join(f"{names[row['metric']]} by {row['one_seed_sd']:.3f}" for row in rows)
        return f"{head} moves {moved} (one standard deviation)."
    least, most = np.sqrt((seeds - 1) / chi2.ppf([0.975, 0.025], seeds - 1))
    lines = [
        f"- {names[row['metric']]}: another training moves it by {row['seed_sd']:.3f}, another test set of as many "
        f"patients by {row['one_seed_sd']:.3f}; the mean of these trainings by {row['sampling_sd']:.3f}"
        for row in rows
    ]
    care = (
        f"One standard deviation each. That over {seeds} trainings is known to a factor of {least:.1f} to {most:.1f}."
    )
    return "\n".join([*lines, "", care])


def verdicts(judged: pd.DataFrame) -> str:
    """How many published numbers and claims got which verdict; `judged` as of `verdicts.judge`."""
    counts = judged.drop_duplicates(["claim", "verdict"])["verdict"].value_counts()
    claims = judged["claim"].nunique()
    listed = ", ".join(f"{n} {'without verdict' if name == 'none' else name}" for name, n in counts.items())
    return f"Of {wording.count(claims, 'published number or claim', 'published numbers and claims')}: {listed}."


def difference(row: Mapping) -> str:
    """What the difference of two arms says, with what this test could have shown; `row` as of `compare.compare`."""
    interval = f"95 % interval {row['low']:+.3f} to {row['high']:+.3f}"
    span = f"{row['difference']:+.3f} ({interval}, Holm p {row['p_holm']:.3g})"
    values = f"{row['value_arm']:.3f} against {row['value_reference']:.3f} of {row['reference']}"
    return wording.signed(
        f"{values}, difference {span}: {verdict(row)}. n = {row['n']:,} in {wording.count(row['n_groups'], 'group')}."
    )


def verdict(row: Mapping) -> str:
    """The same in a few words."""
    if row["reason"]:
        return f"not to be read ({row['reason']})"
    if row["low_holm"] > 0 or row["high_holm"] < 0:
        return "**higher**" if row["low_holm"] > 0 else "**lower**"
    return f"**no difference shown**; this test could have shown {row['detectable']:.3f} or more"


def crossing(cut: int, groups: int, unit: str = "patient") -> str:
    """Whether patients (or another unit that no honest split cuts) stand in more than one official part."""
    if cut == 0:
        return f"No {unit} stands in more than one official part ({wording.count(groups, unit)})."
    stand = "stands" if cut == 1 else "stand"
    return f"**{cut:,} of {wording.count(groups, unit)} {stand} in more than one official part**: scores on it leak."


def audit(counts: dict) -> str:
    """What an audit of a set found, as Markdown bullets; `counts` as in `audit.Audit`."""
    lines = []
    if counts["truncated"] or counts["exif_rotated"]:
        lines.append(
            f"{wording.count(counts['truncated'], 'truncated file')} of {counts['images']:,}; "
            f"{wording.count(counts['exif_rotated'], 'file')} to be turned by the EXIF tag."
        )
    if counts.get("implausible"):  # runs recorded before it was looked for have no count of it
        pictures = wording.count(counts["implausible"], "picture")
        lines.append(f"{pictures} constant, nearly black or white, or of hardly any contrast, where the file is not.")
    if counts["pixel_duplicate_groups"] or counts["near_duplicate_groups"]:
        cut = counts["pixel_duplicate_groups_truncated"]
        among = f"; {cut} of the groups among truncated files" if cut else ""
        lines += [
            f"{wording.count(counts['pixel_duplicate_groups'], 'group')} of pixel-identical files "
            f"({wording.count(counts['pixel_duplicate_images'], 'file')}{among}); "
            f"{wording.count(counts['near_duplicate_groups'], 'group')} of near-identical readable images "
            f"({wording.count(counts['near_duplicate_images'], 'image')}).",
            f"{wording.count(counts['conflicting_groups'], 'group')} of copies with **opposite labels**.",
            f"Images of an official part with a copy in another: {_leaks(counts['leaked'])}; pixel-identical: "
            f"{_leaks(counts['leaked_identical'])}.",
        ]
    nothing = f"No truncated or turned file and no copy among {wording.count(counts['images'], 'image')}."
    return "\n".join(f"- {line}" for line in lines or [nothing])


def _leaks(counts: dict) -> str:
    """Images of each official part that have a copy in another."""
    return ", ".join(f"{n:,} of {part}" for part, n in counts.items() if n) or "none"


def shortcuts(table: pd.DataFrame) -> str:
    """How often each trait comes with the label, and whether the interval of its ROC AUC leaves out chance."""
    if table.empty:
        return "No trait to test."
    texts = []
    for row in table.to_dict("records"):
        apart = row["low"] > 0.5 or row["high"] < 0.5
        texts.append(
            f"{row['trait']}: {row['positive']} of {wording.count(row['images'], 'image')} positive, "
            f"{'tells' if apart else 'does not clearly tell'} the label"
        )
    return "; ".join(texts) + "."


def training_speed(table: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Markdown bullets, one for each arm but the reference, from the rows of `table` and `differences`.

    "fewer" and "more" are said where the interval at Holm's level leaves out 0, otherwise "no difference shown".
    """
    rows, steps = table.set_index(["arm", "metric"]), differences.set_index(["arm", "metric"])
    lines = []
    for arm in differences["arm"].unique():
        epochs, minutes = (rows.loc[(arm, metric)] for metric in speed.METRICS)
        itself = [rows.loc[(epochs["reference"], metric)] for metric in speed.METRICS]
        within, spent = interval(epochs, 1), interval(_said_once(minutes, epochs), 2)
        goal = f"the final validation ROC AUC of {epochs['reference']}, {epochs['target']:.3f},"
        if epochs["reached"]:
            head = f"{arm} reaches {goal} after {within} of {epochs['epochs']} epochs"
        else:
            head = f"{arm} does not reach {goal} in {wording.count(epochs['epochs'], 'epoch')}, and counts as {within}"
        lines.append(
            f"- {head}, against {itself[0]['value']:.1f} of the reference itself: "
            f"{_direction(steps.loc[(arm, 'epochs_to_reference')], 'epochs')}. "
            f"{epochs['reached']} of {wording.count(epochs['seeds'], 'training')} reached it "
            f"({itself[0]['reached']} of {itself[0]['seeds']} of the reference). "
            f"In minutes, which hold for this machine: {spent}, against {itself[1]['value']:.2f}: "
            f"{_direction(steps.loc[(arm, 'minutes_to_reference')], 'minutes')}."
        )
    return "\n".join(lines)


def _direction(step: pd.Series, unit: str) -> str:
    """In which direction one row of `differences` points, with its numbers."""
    low, high = step["low_holm"], step["high_holm"]
    if np.isnan(low):
        shown = "no interval of the difference"
    elif low <= 0 <= high:
        shown = "no difference shown"
    else:
        shown = f"in {'fewer' if high < 0 else 'more'} {unit}"
    digits = {"epochs": 1, "minutes": 2}[unit]
    value, low_text, high_text = (wording.signed(f"{x:.{digits}f}") for x in (step["difference"], low, high))
    numbers = f"at Holm's level {low_text} to {high_text}" if np.isfinite(low) else step["reason"]
    return f"{shown} (difference {value}; {numbers})"


def _said_once(row: pd.Series, before: pd.Series) -> pd.Series:
    """The row without the reason that the one before it gave, where it has an interval."""
    again = row["reason"] == before["reason"] and not np.isnan(row["low"])
    return pd.Series(row.to_dict() | {"reason": ""}) if again else row


def differences(table: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Which differences are shown, in which direction, and what could have been shown, as Markdown bullets. names: of
    the metrics."""
    return "\n".join(f"- {names[row['metric']]}, {row['arm']}: {difference(row)}" for row in table.to_dict("records"))
