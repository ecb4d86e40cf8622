"""What our results say of a published number or claim (`ledger`), by rules that were fixed before any run.

Only rows of the same data set, arms, network and initial weights (and the same split, where the paper states one; test
part only) can give `reproduced`, `not reproduced` or `no difference shown`. Everything else is `related evidence`, with
what differs. Generated images and stand-in weights give none.

value        reproduced where the published value lies inside our 95 % interval, else not reproduced.
direction    reproduced where the Holm-adjusted paired interval of arm minus reference leaves out 0 on the claimed side,
             not reproduced where it does so on the other, else no difference shown.
equivalence  reproduced where the whole paired interval lies inside the margin; no difference shown where it holds 0 and
             reaches beyond the margin, so that a wide interval never shows equivalence; else not reproduced.

A claim of several comparisons is reproduced where all of them are, and not reproduced where one is not.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ortholib.errors import OrthoError
from ortholib.metrics.frames import need, one_each, refuse
from ortholib.study.ledger import CONTEXT, KINDS, METRICS, UNSTATED

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
NO_DIFFERENCE = "no difference shown"
RELATED = "related evidence"
UNTESTABLE = "not testable here"
NONE = "none"
AGREES, DISAGREES, UNDECIDED = "agrees", "disagrees", "undecided"  # of declared analogues
JUDGED = (REPRODUCED, NOT_REPRODUCED, NO_DIFFERENCE)

SETTING = ("edition", "run", "dataset", "split", "part")  # one verdict is about one of each that the rows have
ARM = ("arm", "backbone", "initial")
VALUES = ("edition", "dataset", "split", "task", "metric", *ARM, "value", "low", "high")
DIFFERENCES = ("edition", "dataset", "split", "task", "metric", *ARM, "reference", "backbone_reference")
DIFFERENCES += ("initial_reference", "difference", "low", "high", "low_holm", "high_holm")

# What else tells something of a metric or of a task, though it is not the same; the nearest first.
NEAR = {"kappa_weighted": ("kappa_quadratic", "kappa_linear"), "abnormal": ("oa",)}
# What has to be the same: in words, in the ledger, in our rows.
SAME = [(name, name, name) for name in ("task", "metric")]
SAME += [("data set", "set", "dataset"), ("split", "split", "split"), ("arm", "arm", "arm")]
SAME += [("network", "network", "backbone"), ("initial weights", "initial", "initial")]
SAME_REFERENCE = [("reference", "reference", "reference")]
SAME_REFERENCE += [(f"{what} of the reference", f"{a}_reference", f"{b}_reference") for what, a, b in SAME[-2:]]
RANK = (NOT_REPRODUCED, NO_DIFFERENCE, RELATED, UNTESTABLE, REPRODUCED)  # which comparison of a claim is shown


class Verdict(NamedTuple):
    """verdict: one of the six above. differs: what is not the same, and what the paper leaves open, in words. why: what
    decided, or the way to evidence. shown: the row of ours that decided, a difference as arm minus reference (or None).
    """

    verdict: str
    differs: tuple[str, ...]
    why: str
    shown: pd.Series | None


def verdict(claim: pd.DataFrame, rows: pd.DataFrame) -> Verdict:
    """The verdict on one number or claim (rows of `ledger.table`) by rows of one setting.

    rows, for a number: columns `VALUES`, as `evaluation.evaluate` gives them, with what they are about. For a claim:
    columns `DIFFERENCES`, as `compare.compare` gives them, with what they are about and the network and initial weights
    of both arms (`with_networks`). Both may carry run, part (then only `test` counts), stand_in (true: no verdict by
    such a row), and n, n_groups, seeds and reason, which are passed on. arm, backbone and initial are compared with the
    ledger's arm, network and initial letter by letter, so a chapter that wants a verdict writes those names.
    Raises OrthoError for a claim with an unknown kind or metric, without arm, reference or margin, and for rows that
    lack a column, are of several settings (`judge` takes those), hold one arm twice or an interval upside down.
    """
    kind = _kind(claim)
    _check_rows(rows, VALUES if kind == "value" else DIFFERENCES)
    real = rows[(rows["edition"] != "phantom") & ~rows.get("stand_in", pd.Series(False, rows.index)).eq(True)]
    if len(rows) and real.empty:
        return Verdict(NONE, (), "generated images and stand-in weights prove the machinery, never a claim", None)
    parts = [_compare(comparison, real) for _, comparison in claim.iterrows()]
    found = {part.verdict for part in parts}
    if NOT_REPRODUCED in found:
        whole = NOT_REPRODUCED
    elif found <= {REPRODUCED, NO_DIFFERENCE}:
        whole = NO_DIFFERENCE if NO_DIFFERENCE in found else REPRODUCED
    else:
        whole = UNTESTABLE if found == {UNTESTABLE} else RELATED
    first = min(parts, key=lambda part: RANK.index(part.verdict))
    if len(parts) == 1:
        return first
    made = sum(part.verdict in JUDGED for part in parts)
    agree = sum(part.verdict == REPRODUCED for part in parts)
    told = f"{agree} of {len(parts)} comparisons reproduced, {made} could be judged; {first.why}"
    differs = tuple(dict.fromkeys(said for part in parts for said in part.differs))
    return Verdict(whole, differs, first.why if whole == UNTESTABLE else told, first.shown)


def judge(claims: pd.DataFrame, values: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """Published | ours | verdict for many numbers and claims (rows of `ledger.table`) and rows of any settings.

    A number or claim has a row for every setting that can judge it (its test is the same, edition or split may differ);
    where none can, one row with the closest related evidence, or with the way to get some.
    Columns: claim, statement, paper, kind, mark, reproduction, task, metric, arm, reference (of the comparison shown),
    published, margin, edition, run, dataset, split, ours, low, high, n, n_groups, seeds, verdict, differs, why.
    """
    settings = {}
    for name, rows in (("value", values), ("difference", differences)):
        keys = [column for column in SETTING if column in rows]
        settings[name] = [one for _, one in rows.groupby(keys, dropna=False, sort=False)] if len(rows) else [rows]
    lines = []
    for _, claim in claims.groupby("claim", sort=False):
        kind = "value" if _kind(claim) == "value" else "difference"
        found = [verdict(claim, rows) for rows in settings[kind]]
        told = [one for one in found if one.verdict in JUDGED] or [min(found, key=_closeness)]
        lines += [_line(claim, one, kind) for one in told]
    return pd.DataFrame(lines)


def analogues(declared: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """What the declared comparisons of our own arms say of each claim, one row a claim and way in which they differ.

    declared: rows of `ledger.analogues`. differences: as `compare.compare` gives them, with the column task.
    Columns: claim, statement, paper, arms, references, verdict (`agrees`, `disagrees`, `undecided`, or `not run here`),
    why, differs. A direction agrees where the Holm-adjusted interval of every pair lies on the claimed side, and
    disagrees where one lies on the other; an equivalence agrees where every interval lies inside the margin, and
    disagrees where one lies outside. A single training of a network decides nothing about its recipe.
    """
    rows = []
    for (claim, differs), pairs in declared.groupby(["claim", "differs"], sort=False):
        keys = ["task", "metric", "arm", "reference"]
        found = pairs.merge(differences, on=keys, how="left", suffixes=("", "_ours"))
        called, why = _agreed(found)
        first = pairs.iloc[0]
        row = {"claim": claim, "statement": first["statement"], "paper": first["paper"]}
        row |= {"arms": ", ".join(pairs["arm"].unique()), "references": ", ".join(pairs["reference"].unique())}
        rows.append(row | {"verdict": called, "why": why, "differs": differs})
    return pd.DataFrame(rows)


def _agreed(found: pd.DataFrame) -> tuple[str, str]:
    """The verdict on one claim by its pairs, those that were not run with NaN, and why."""
    missing = found["difference"].isna().sum()
    if missing:
        return "not run here", f"{missing} of {len(found)} comparisons were not run"
    if (found["seeds"] < 2).any():
        return UNDECIDED, "a network was trained once: its luck is not known"
    if found["kind"].iloc[0] == "equivalence":
        margin = found["margin"].iloc[0]
        inside = (found["low"] > -margin) & (found["high"] < margin)
        outside = (found["low"] > margin) | (found["high"] < -margin)
        told = f"{inside.sum()} of {len(found)} intervals lie inside the margin of {margin:g}, {outside.sum()} outside"
        return AGREES if inside.all() else DISAGREES if outside.any() else UNDECIDED, told
    better = METRICS[found["metric"].iloc[0].removesuffix("_expectation")][2]
    ahead, behind = (found["low_holm"] > 0, found["high_holm"] < 0) if better else (
        found["high_holm"] < 0, found["low_holm"] > 0)  # fmt: skip
    told = f"{ahead.sum()} of {len(found)} on the claimed side, {behind.sum()} on the other"
    return AGREES if ahead.all() else DISAGREES if behind.any() else UNDECIDED, told


def with_networks(differences: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """The differences with network and initial weights of both arms, as the values of the same setting, task and arm
    say. Raises OrthoError for an arm that has no value there."""
    keys = [c for c in (*SETTING, "task") if c in differences and c in values]
    known = values[[*keys, *ARM]].drop_duplicates()
    for suffix, arm in (("", "arm"), ("_reference", "reference")):
        facts = known.rename(columns={"arm": arm, "backbone": f"backbone{suffix}", "initial": f"initial{suffix}"})
        differences = differences.drop(columns=[f"backbone{suffix}", f"initial{suffix}"], errors="ignore")
        differences = differences.merge(facts, on=[*keys, arm], how="left", indicator=True)
        unknown = differences.loc[differences["_merge"] == "left_only", arm]
        if len(unknown):
            raise OrthoError(
                f"the differences name the arm '{unknown.iloc[0]}', which has no value there; the values are of "
                f"{', '.join(sorted(map(str, known['arm'].unique())))}. Evaluate every arm that is compared."
            )
        differences = differences.drop(columns="_merge")
    return differences


def _kind(claim: pd.DataFrame) -> str:
    """The kind of a claim that can be judged at all."""
    names, kinds = claim["claim"].unique(), claim["kind"].unique()
    if len(names) != 1 or len(kinds) != 1 or kinds[0] not in KINDS:
        raise OrthoError(f"expected the rows of one claim of kind {', '.join(KINDS)}; got {[*names]} of {[*kinds]}.")
    unknown = sorted(set(claim["metric"]) - set(METRICS))
    if unknown:
        raise OrthoError(f"claim '{names[0]}' names the unknown metric '{unknown[0]}'; known: {', '.join(METRICS)}.")
    unnamed = claim["arm"].eq("") | (claim["reference"].eq("") & (kinds[0] != "value"))
    if unnamed.any():
        raise OrthoError(f"claim '{names[0]}' names no arm, or no reference; see params/published.yaml.")
    if kinds[0] == "equivalence" and not (claim["margin"] > 0).all():
        raise OrthoError(f"claim '{names[0]}' is of equivalence without a margin; declare it in params/published.yaml.")
    return kinds[0]


def _check_rows(rows: pd.DataFrame, needed: tuple[str, ...]) -> None:
    need(rows, needed, "the rows of a verdict")
    one_each(rows, SETTING, "pick one or use `judge`")
    ends = [("low", "high")] + [("low_holm", "high_holm")] * ("low_holm" in needed)
    for low, high in ends:
        refuse(rows, rows[low] > rows[high], f"{low} above {high}", "run again", ["arm", "metric", low, high])


def _compare(comparison: pd.Series, rows: pd.DataFrame) -> Verdict:
    """The verdict on one comparison by the row that is most like it."""
    rows = _bearing(comparison, rows)
    estimate = "value" if comparison["kind"] == "value" else "difference"
    known = rows[rows[estimate].notna()]
    if known.empty:
        said = [str(reason) for reason in rows.get("reason", pd.Series(dtype=str)).dropna() if reason]
        return Verdict(UNTESTABLE, (), "; ".join([*said[:1], comparison["way"]]), None)
    apart = [_apart(comparison, row) for _, row in known.iterrows()]
    fewest = min(map(len, apart))
    closest = [place for place, one in enumerate(apart) if len(one) == fewest]
    row, gaps = known.iloc[closest[0]], apart[closest[0]]
    if not gaps and len(closest) > 1:
        raise OrthoError(f"{len(closest)} rows of {row['arm']}, {row['task']}, {row['metric']}; keep one.")
    bounds = ("low_holm", "high_holm") if comparison["kind"] == "direction" else ("low", "high")
    low, high = (float(row[bound]) for bound in bounds)
    if np.isnan([low, high]).any():
        gaps = [*gaps, f"no interval ({row.get('reason') or 'not given'})"]
    if np.isnan(comparison["value"]) and comparison["kind"] == "value":
        gaps = [*gaps, "the paper gives no number"]
    if comparison["reproduction"] == CONTEXT:
        gaps = [*gaps, "not a paper of this study"]
    shown = f"ours {row[estimate]:.3f}"
    if not np.isnan([row["low"], row["high"]]).any():
        shown += f" (95 % interval {row['low']:.3f} to {row['high']:.3f})"
    differs = (*gaps, comparison["differs"])
    if gaps:
        return Verdict(RELATED, differs, shown, row)
    called, why = _called(comparison, low, high)
    return Verdict(called, differs, f"{shown}; {why}", row)


def _called(comparison: pd.Series, low: float, high: float) -> tuple[str, str]:
    """What an interval without NaN says of a comparison that is the same, and why."""
    if comparison["kind"] == "value":
        if low <= comparison["value"] <= high:
            return REPRODUCED, f"published {comparison['value']:.3f} lies inside our interval"
        return NOT_REPRODUCED, f"published {comparison['value']:.3f} lies outside our interval"
    if comparison["kind"] == "direction":
        claimed, opposite = (low > 0, high < 0) if METRICS[comparison["metric"]][2] else (high < 0, low > 0)
        of = f"the Holm-adjusted interval, {low:.3f} to {high:.3f},"
        if claimed or opposite:
            side = "claimed" if claimed else "other"
            return REPRODUCED if claimed else NOT_REPRODUCED, f"{of} leaves out 0 on the {side} side"
        return NO_DIFFERENCE, f"{of} holds 0"
    margin = comparison["margin"]
    if -margin < low and high < margin:
        return REPRODUCED, f"the interval lies inside the margin of {margin:g}"
    if low <= 0 <= high:
        return NO_DIFFERENCE, f"the interval holds 0 and reaches beyond the margin of {margin:g}"
    return NOT_REPRODUCED, f"the interval leaves out 0 and is not inside the margin of {margin:g}"


def _bearing(comparison: pd.Series, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that say anything of a comparison; differences as its arm minus its reference."""
    for column in ("metric", "task"):
        near = [comparison[column], *NEAR.get(comparison[column], ())]
        rows = rows[rows[column].isin(near)]
        rows = rows.sort_values(column, key=lambda names, near=near: names.map(near.index), kind="stable")
    if comparison["kind"] == "value":
        return rows
    pair = [comparison["arm"], comparison["reference"]]
    ahead = rows[(rows["arm"] == pair[0]) & (rows["reference"] == pair[1])]
    behind = rows[(rows["arm"] == pair[1]) & (rows["reference"] == pair[0])]
    turned = {"arm": "reference", "backbone": "backbone_reference", "initial": "initial_reference", "low": "high"}
    turned |= {"low_holm": "high_holm"}
    behind = behind.rename(columns=turned | {new: old for old, new in turned.items()})
    signed = ["difference", "low", "high", "low_holm", "high_holm"]
    return pd.concat([ahead, behind.assign(**{name: -behind[name] for name in signed})])


def _apart(comparison: pd.Series, row: pd.Series) -> list[str]:
    """What is not the same: in words, one entry each."""
    found = []
    for words, theirs, ours in SAME + ([] if comparison["kind"] == "value" else SAME_REFERENCE):
        free = words == "split" and comparison[theirs] == UNSTATED  # a paper that states no split fits any
        if not free and (comparison[theirs] != row[ours] or comparison[theirs] == UNSTATED):
            found.append(f"{words}: published {comparison[theirs]}, ours {row[ours]}")
    if row.get("part", "test") != "test":
        found.append(f"ours is of the part {row['part']}, not of test")
    return found


def _closeness(one: Verdict) -> tuple:
    return (RELATED, UNTESTABLE, NONE).index(one.verdict), len(one.differs)


def _line(claim: pd.DataFrame, one: Verdict, kind: str) -> dict:
    """A row of `judge`."""
    shown = {} if one.shown is None else one.shown.to_dict()
    first = claim.iloc[0]
    about = {name: first[name] for name in ("claim", "statement", "paper", "kind", "mark", "reproduction")}
    for name in ("task", "metric", "arm", "reference"):
        about[name] = shown.get(name, ", ".join(claim[name].unique())) if len(claim) > 1 else first[name]
    about |= {"published": first["value"], "margin": first["margin"]}
    about |= {name: shown.get(name, "") for name in ("edition", "run", "dataset", "split")}
    about |= {"ours": shown.get("value" if kind == "value" else "difference", np.nan)}
    about |= {name: shown.get(name, np.nan) for name in ("low", "high", "n", "n_groups", "seeds")}
    return about | {"verdict": one.verdict, "differs": "; ".join(one.differs), "why": one.why}
