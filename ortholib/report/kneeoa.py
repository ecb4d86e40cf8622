"""Words, tables and rows of figures of the chapter on knee osteoarthritis. Nothing is said before its number."""

from collections.abc import Iterable, Mapping

import pandas as pd

from ortholib import wording
from ortholib.report import claims, sentences, tables
from ortholib.study import kneeoa, verdicts

FIGURE = {True: "networks trained on the grades", False: "frozen encoders"}  # sections of the forest plot


def finding(values: pd.DataFrame, differences: pd.DataFrame, trained: str, frozen: str, edition: str) -> str:
    """What the chapter found, in a paragraph. trained, frozen: the arms that validation chose of either kind."""
    of = values[values["metric"] == kneeoa.HEADLINE].set_index("arm")
    first, second = of.loc[trained], of.loc[frozen]
    units = f"{wording.count(first['n'], 'test knee')} of {wording.count(first['n_groups'], 'patient')}"
    said = [
        f"On {units}, the trained network that did best on validation ({trained}, {_trainings(first)}) reaches a "
        f"quadratic κ of **{sentences.interval(first)}**; the frozen encoder that did best there ({frozen}, "
        f"{_trainings(second)}) reaches **{sentences.interval(second)}**."
    ]
    ahead = (differences["low_holm"] > 0).sum()
    behind = (differences["high_holm"] < 0).sum()
    pairs = wording.count(len(differences), "comparison of a trained network with a frozen encoder",
                          "comparisons of a trained network with a frozen encoder")  # fmt: skip
    said.append(
        f"Of {pairs}, the trained network is ahead in {ahead} and behind in {behind} by Holm-adjusted intervals, which "
        "hold the luck of the trainings where there are several."
    )
    if edition == "phantom":
        said.append("These are generated images and stand-in weights: they show that the chapter works, and no more.")
    return " ".join(said)


def _trainings(row: pd.Series) -> str:
    return f"mean of {row['seeds']:.0f} trainings" if row["seeds"] > 1 else "one training"


def forest(values: pd.DataFrame, trained: Iterable[str]) -> pd.DataFrame:
    """Rows of `figures.interval_plot`: quadratic κ of every arm, trained networks first, best first in either kind."""
    rows = values[values["metric"] == kneeoa.HEADLINE]
    rows = rows.assign(own=rows["arm"].isin(list(trained))).sort_values(
        ["own", "value"], ascending=False, kind="stable"
    )
    label = [row.arm if row.seeds == 1 else f"{row.arm}, {row.seeds} trainings" for row in rows.itertuples()]
    return rows.assign(kind="ours", label=label, section=rows["own"].map(FIGURE), verdict="")[
        ["label", "value", "low", "high", "kind", "section", "verdict"]
    ]


def pairs(differences: pd.DataFrame) -> pd.DataFrame:
    """Rows of `figures.difference_plot`: every trained network minus every frozen encoder, with the interval at the
    level of its test."""
    return pd.DataFrame(
        {
            "label": "minus " + differences["reference"],
            "section": differences["arm"],
            "difference": differences["difference"],
            "low": differences["low_holm"],
            "high": differences["high_holm"],
        }
    )


def table(values: pd.DataFrame, oa: pd.DataFrame) -> str:
    """Every metric of each arm as Markdown, and ROC AUC of KL grade 2 or more; 95 % intervals of the headline only."""
    wide = values.pivot(index="arm", columns="metric", values="value")
    headline = values[values["metric"] == kneeoa.HEADLINE].set_index("arm")
    auc = oa[oa["metric"] == "roc_auc"].set_index("arm")["value"]
    rows = []
    for arm in headline.sort_values("value", ascending=False).index:
        one = headline.loc[arm]
        cells = [f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"]
        cells += [f"{wide.loc[arm, name]:.3f}" for name in list(kneeoa.METRICS)[1:]]
        rows.append((arm, f"{one['seeds']:.0f}", *cells, f"{auc[arm]:.3f}"))
    head = ("arm", "trainings", *kneeoa.METRICS.values(), f"AUC of KL ≥ {kneeoa.OA}")
    return tables.markdown(rows, head)


def learners(values: pd.DataFrame, frozen: Iterable[str], names: Iterable[str]) -> str:
    """Quadratic κ of each learner on each frozen encoder, as Markdown."""
    of = values[values["metric"] == kneeoa.HEADLINE].set_index("arm")["value"]
    rows = [(name, *(f"{of[f'{name} + {one}']:.3f}" for one in names)) for name in frozen]
    return tables.markdown(rows, ("frozen encoder", *names))


def sides(table: pd.DataFrame) -> str:
    """Left against right: quadratic κ of each arm on either side, as Markdown."""
    rows = []
    for arm, of_arm in table.groupby("arm", sort=False):
        by_side = of_arm.set_index("side")
        told = [f"{by_side.loc[side, 'value']:.3f} ({by_side.loc[side, 'low']:.3f} to {by_side.loc[side, 'high']:.3f})"
                for side in kneeoa.SIDES.values()]  # fmt: skip
        rows.append((arm, *told))
    counts = table.drop_duplicates("side").set_index("side")["n"]
    head = ("arm", *(f"{side} (n = {counts[side]:,})" for side in kneeoa.SIDES.values()))
    return tables.markdown(rows, head)


def not_run(lacking: Mapping[str, str]) -> str:
    """The arms that could not be run here and the way to run them, as Markdown."""
    if not lacking:
        return "Every arm that is declared was run."
    rows = [(f"not run: {arm}", way) for arm, way in lacking.items()]
    return tables.markdown(rows, ("arm", "the way to it"))


def judged(values: pd.DataFrame, differences: pd.DataFrame, edition: str) -> pd.DataFrame:
    """The verdict on every published number and claim on the KL grade: rows as of `verdicts.judge`."""
    values = values.assign(edition=edition)
    return claims.claims("kl", values, verdicts.with_networks(differences.assign(edition=edition), values))


def analogues(table: pd.DataFrame) -> str:
    """The paper's claims asked of our arms, as Markdown. table: as of `verdicts.analogues`."""
    rows = [
        (row.statement, f"{row.arms} against {row.references}", f"**{row.verdict}**: {row.why}", row.differs)
        for row in table.itertuples()
    ]
    return tables.markdown(rows, ("claim", "asked of", "verdict", "what differs"))
