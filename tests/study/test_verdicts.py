"""Verdicts: what may say `reproduced`, and above all what may not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from refused import refused

from ortholib.errors import OrthoError
from ortholib.metrics import compare
from ortholib.study import ledger, verdicts
from ortholib.study.verdicts import (
    JUDGED,
    NO_DIFFERENCE,
    NONE,
    NOT_REPRODUCED,
    RELATED,
    REPRODUCED,
    UNTESTABLE,
    verdict,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTHOLIB_HOME", str(ROOT))
        return ledger.table()


@pytest.fixture(scope="module")
def claims(table):
    """One of each kind. No published equivalence is of known weights and networks, so one is made of a direction."""
    of = dict(iter(table.groupby("claim", sort=False)))
    direction = of["dino-ortho: best-on-fracatlas"].iloc[[0]]
    return {
        "value": of["dino-ortho: fracture, SL, roc_auc"],
        "direction": direction,
        "equivalence": direction.assign(kind="equivalence", margin=0.02),
        "both": of["dino-ortho: best-on-fracatlas"],
    }


def row(claim: pd.DataFrame, **changes) -> pd.DataFrame:
    """A row of ours that is the same in everything that counts, for each comparison of a claim."""
    rows = claim.rename(columns={"network": "backbone", "network_reference": "backbone_reference"})
    columns = ["task", "metric", "arm", "backbone", "initial", "reference", "backbone_reference", "initial_reference"]
    rows = rows[columns].assign(edition="paper", dataset=claim["set"], split="clean", part="test", n=800, n_groups=790)
    rows = rows.assign(value=0.92, difference=0.03, low=0.01, high=0.05, low_holm=0.005, high_holm=0.055, seeds=3)
    return rows.assign(**changes).reset_index(drop=True)


def ends(low: float, high: float) -> dict:
    middle = (low + high) / 2 if np.isfinite(low + high) else 0.0
    return {"low": low, "high": high, "low_holm": low, "high_holm": high, "difference": middle}


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [
        ("value", 0.90, 0.94, REPRODUCED),
        ("value", 0.92, 0.94, REPRODUCED),  # 0.920, an end
        ("value", 0.921, 0.94, NOT_REPRODUCED),
        ("value", 0.80, 0.919, NOT_REPRODUCED),
        ("direction", 0.001, 0.05, REPRODUCED),
        ("direction", 0.0, 0.05, NO_DIFFERENCE),
        ("direction", -0.05, 0.05, NO_DIFFERENCE),
        ("direction", -0.05, -0.001, NOT_REPRODUCED),
        ("direction", -np.inf, np.inf, NO_DIFFERENCE),  # too few draws for Holm's level
        ("equivalence", -0.019, 0.019, REPRODUCED),
        ("equivalence", 0.001, 0.019, REPRODUCED),
        ("equivalence", -0.02, 0.01, NO_DIFFERENCE),  # the margin itself is not inside
        ("equivalence", -0.05, 0.05, NO_DIFFERENCE),
        ("equivalence", 0.001, 0.05, NOT_REPRODUCED),
        ("equivalence", 0.03, 0.05, NOT_REPRODUCED),
        ("equivalence", -0.05, -0.03, NOT_REPRODUCED),
    ],
)
def test_the_rules(claims, kind, low, high, expected):
    found = verdict(claims[kind], row(claims[kind], **ends(low, high)))
    assert found.verdict == expected
    assert found.shown["n"] == 800 and found.why and "not stated" in found.differs[-1]


def test_direction_is_judged_by_the_holm_adjusted_interval(claims):
    rows = row(claims["direction"], low=0.01, high=0.05, low_holm=-0.01, high_holm=0.07)
    found = verdict(claims["direction"], rows)
    assert found.verdict == NO_DIFFERENCE and "-0.010 to 0.070, holds 0" in found.why


def test_direction_of_a_loss_is_the_other_way(claims):
    claim = claims["direction"].assign(metric="epochs_to_reference")
    assert verdict(claim, row(claim, **ends(-9.0, -2.0))).verdict == REPRODUCED
    assert verdict(claim, row(claim, **ends(2.0, 9.0))).verdict == NOT_REPRODUCED


def test_a_difference_the_other_way_round_is_turned(claims):
    rows = row(claims["direction"], **ends(-0.05, -0.01))
    swap = {"arm": "reference", "backbone": "backbone_reference", "initial": "initial_reference"}
    rows = rows.rename(columns=swap | {new: old for old, new in swap.items()})
    found = verdict(claims["direction"], rows)
    assert found.verdict == REPRODUCED and found.shown[["low", "high"]].tolist() == [0.01, 0.05]
    assert found.shown["arm"] == "DINO + DINO-Ortho + SL"


@pytest.mark.parametrize("kind", ["value", "direction", "equivalence"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "kneekl"}, "data set: published fracatlas, ours kneekl"),
        ({"backbone": "resnet18"}, "network: published resnet50, ours resnet18"),
        ({"initial": "random"}, "initial weights: published"),
        ({"part": "val"}, "of the part val"),
    ],
)
def test_what_is_not_the_same_is_related_evidence(claims, kind, change, said):
    good = row(claims[kind], **ends(0.9, 0.94) if kind == "value" else ends(0.001, 0.002))
    assert verdict(claims[kind], good).verdict == REPRODUCED
    found = verdict(claims[kind], good.assign(**change))
    assert found.verdict == RELATED and said in found.differs[0] and found.shown is not None


def test_other_arms_splits_and_references(claims, table):
    value = claims["value"]
    assert "arm: published SL, ours ViT" in verdict(value, row(value, arm="ViT")).differs[0]
    direction = claims["direction"]
    assert verdict(direction, row(direction, initial_reference="random")).verdict == RELATED
    assert verdict(direction, row(direction, reference="another")).verdict == UNTESTABLE  # tells nothing of this pair
    written = table[table["claim"] == "fractuvision: fracture, DINOv2-large, fine-tuned, accuracy"]
    assert verdict(written, row(written, split="81/9/10", **ends(0.95, 0.97))).verdict == REPRODUCED
    found = verdict(written, row(written, **ends(0.95, 0.97)))
    assert found.verdict == RELATED and found.differs[0] == "split: published 81/9/10, ours clean"


def test_what_a_paper_does_not_state_is_never_the_same(table):
    for name in (
        "chavoshi: embeddings-alike",
        "orthofoundation: best-on-radiographs",
        "fractuvision: misses-near-joints",
    ):
        claim = table[table["claim"] == name]
        found = verdict(claim, row(claim, **ends(0.001, 0.002)))
        stated = not claim[["set", "network", "initial", "initial_reference"]].eq(ledger.UNSTATED).any(axis=None)
        assert found.verdict == (REPRODUCED if stated else RELATED), name
    kappa = table[table["claim"] == "chavoshi: kl, ConvNeXt-Small, supervised, kappa_weighted"]
    found = verdict(kappa, pd.concat([row(kappa, metric=f"kappa_{by}") for by in ("none", "linear", "quadratic")]))
    assert found.verdict == RELATED and found.differs[0] == "metric: published kappa_weighted, ours kappa_quadratic"
    nothing = table[table["claim"] == "orthofoundation: lcl, OrthoFoundation, roc_auc"]
    assert "the paper gives no number" in verdict(nothing, row(nothing)).differs
    context = table[table["paper"] == "Zhang et al. 2020"]
    assert "not a paper of this study" in verdict(context, row(context)).differs


def test_absent_evidence_says_the_way(claims):
    for kind, claim in claims.items():
        rows = row(claim)
        empty = verdict(claim, rows.iloc[:0])
        assert empty.verdict == UNTESTABLE and "ortholib data fetch fracatlas" in empty.why and empty.shown is None
        other = verdict(claim, rows.assign(task="kl"))
        assert other.verdict == UNTESTABLE, kind
        unrun = rows.assign(value=np.nan, difference=np.nan, reason="not run: no weights resnet50")
        assert verdict(claim, unrun).why.startswith("not run: no weights resnet50; ")


def test_a_claim_of_several_comparisons(claims):
    both = claims["both"]
    assert len(both) == 2
    rows = row(both)
    found = verdict(both, rows)
    assert found.verdict == REPRODUCED and found.why.startswith("2 of 2 comparisons reproduced")

    def second(**changes):
        return verdict(both, pd.concat([rows.iloc[:1], rows.iloc[1:].assign(**changes)]))

    assert second(**ends(-0.01, 0.05)).verdict == NO_DIFFERENCE
    assert second(**ends(-0.05, -0.01)).verdict == NOT_REPRODUCED
    assert second(backbone="resnet18").verdict == RELATED
    assert "1 of 2 comparisons reproduced, 1 could be judged" in second(backbone="resnet18").why
    missing = verdict(both, rows.iloc[:1])
    assert missing.verdict == RELATED and "1 of 2" in missing.why
    assert second(**ends(-0.05, -0.01)).shown["reference"] == "DINO + SL"  # the comparison that decided is shown


numbers = st.floats(-1, 1, allow_nan=False)
maybe = st.one_of(numbers, st.just(np.nan), st.just(np.inf), st.just(-np.inf))
NAMES = {
    "edition": ["phantom", "real", "paper"],
    "dataset": ["fracatlas", "mura", "kneekl"],
    "split": ["clean", "random"],
    "part": ["test", "val"],
    "arm": ["SL", "DINO + DINO-Ortho + SL", "resnet18, random"],
    "backbone": ["resnet50", "resnet10t"],
    "initial": ["resnet50", "dino-resnet50, then DINO on mura and fracatlas", "random"],
    "reference": ["SL", "DINO + DINO-Ortho + SL"],
    "backbone_reference": ["resnet50", "resnet18"],
    "initial_reference": ["resnet50", "random"],
    "stand_in": [True, False],
}


@st.composite
def any_row(draw):
    """A row like the published one, or not, with any interval, NaN and infinite ends among them."""
    changes = {name: draw(st.sampled_from(values)) for name, values in NAMES.items() if draw(st.booleans())}
    for pair in (("low", "high"), ("low_holm", "high_holm")):
        low, high = draw(maybe), draw(maybe)
        changes |= dict(zip(pair, (high, low) if low > high else (low, high), strict=True))
    return changes | {"value": draw(maybe.filter(np.isfinite)), "difference": draw(maybe.filter(np.isfinite))}


@given(kind=st.sampled_from(["value", "direction", "equivalence", "both"]), changes=any_row())
def test_only_the_same_is_ever_judged(claims, kind, changes):
    claim = claims[kind]
    rows = row(claim, **changes).drop_duplicates()  # a change may make two references one
    found = verdict(claim, rows)
    if changes.get("edition") == "phantom" or changes.get("stand_in"):
        assert found.verdict == NONE
    if found.verdict in JUDGED and kind != "both":
        same = row(claim)
        counted = ["edition", "dataset", "part", "arm", "backbone", "initial", "task", "metric"]
        counted += [] if kind == "value" else ["reference", "backbone_reference", "initial_reference"]
        shown = found.shown[counted].replace("real", "paper")
        assert shown.tolist() == same.loc[0, counted].tolist()
        bounds = ("low_holm", "high_holm") if kind == "direction" else ("low", "high")
        assert not found.shown[[*bounds]].isna().any()


@given(kind=st.sampled_from(["value", "direction", "equivalence", "both"]), changes=any_row(), which=st.booleans())
def test_generated_images_and_stand_in_weights_never_reproduce(claims, kind, changes, which):
    guilty = {"edition": "phantom"} if which else {"edition": "real", "stand_in": True}
    found = verdict(claims[kind], row(claims[kind], **changes | guilty))
    assert found.verdict == NONE and found.shown is None
    honest = row(claims[kind]).assign(stand_in=False, edition="real")  # nor do they take part beside rows that count
    if not which:
        beside = pd.concat([honest, row(claims[kind], **changes | guilty | {"part": "test", "dataset": "fracatlas"})])
        beside = beside.assign(split="clean")
        assert verdict(claims[kind], beside).verdict == verdict(claims[kind], honest).verdict


@given(numbers, numbers)
@example(-0.02, 0.02)
@example(0.0, 0.04)
def test_equivalence_never_follows_from_a_wide_interval(claims, one, other):
    low, high = sorted((one, other))
    found = verdict(claims["equivalence"], row(claims["equivalence"], **ends(low, high))).verdict
    assert (found == REPRODUCED) == (max(-low, high) < 0.02)
    if high - low >= 0.04:
        assert found != REPRODUCED


@given(
    kind=st.sampled_from(["value", "direction", "equivalence", "both"]),
    point=numbers,
    missing=st.sampled_from([("low",), ("high",), ("low", "high")]),
)
def test_without_an_interval_nothing_is_judged(claims, kind, point, missing):
    gone = {f"{name}{suffix}": np.nan for name in missing for suffix in ("", "_holm")}
    rows = row(claims[kind], **ends(-1.0, 1.0) | {"value": point, "difference": point} | gone, reason="one group")
    found = verdict(claims[kind], rows)
    assert found.verdict == RELATED and "no interval (one group)" in found.differs


@given(
    kind=st.sampled_from(["direction", "equivalence", "both"]),
    interval=st.tuples(numbers, numbers),
    wider=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_wider_interval_never_shows_more(claims, kind, interval, wider):
    low, high = sorted(interval)
    before = verdict(claims[kind], row(claims[kind], **ends(low, high))).verdict
    after = verdict(claims[kind], row(claims[kind], **ends(low - wider[0], high + wider[1]))).verdict
    assert before in JUDGED and after in JUDGED
    assert (before, after) not in [(NO_DIFFERENCE, REPRODUCED), (NO_DIFFERENCE, NOT_REPRODUCED)]
    assert (before, after) != (NOT_REPRODUCED, REPRODUCED)


def test_bad_claims_are_named(claims):
    good = claims["direction"]
    for change, said in [
        ({"metric": "roc_acu"}, "unknown metric 'roc_acu'"),
        ({"reference": ""}, "names no arm, or no reference"),
        ({"kind": "equivalence", "margin": np.nan}, "without a margin"),
        ({"kind": "trend"}, "of kind value, direction, equivalence; got"),
    ]:
        refused(said, verdict, good.assign(**change), row(good))
    refused("expected the rows of one claim", verdict, pd.concat([claims["value"], good]), row(good))


def test_bad_rows_are_named(claims):
    good = row(claims["value"])
    with pytest.raises(OrthoError, match=r"no column backbone, low in the table.*expected edition"):
        verdict(claims["value"], good.drop(columns=["backbone", "low"]))
    with pytest.raises(OrthoError, match=r"several split in one table: \['clean', 'random'\]; pick one or use `judge`"):
        verdict(claims["value"], pd.concat([good, good.assign(split="random")]))
    refused("2 rows of SL, fracture, roc_auc; keep one", verdict, claims["value"], pd.concat([good, good]))
    with pytest.raises(OrthoError, match=r"low above high: .* arm SL, metric roc_auc, low 0.95, high 0.9"):
        verdict(claims["value"], row(claims["value"], low=0.95, high=0.9))


def test_many_at_once(table, claims):
    value, direction = claims["value"], claims["both"]
    values = pd.concat([row(value, split=split, **ends(0.9, 0.94)) for split in ("clean", "random")])
    values = pd.concat([values, row(value, edition="phantom"), row(value, dataset="kneekl")])
    differences = row(direction)
    known = table[table["reproduction"] != ledger.CONTEXT]
    told = verdicts.judge(known, values, differences)
    assert set(told["claim"]) == set(known["claim"])  # everything published has a line
    ours = told[told["claim"] == value["claim"].iloc[0]]
    assert ours["split"].tolist() == ["clean", "random"] and set(ours["verdict"]) == {REPRODUCED}
    assert ours["published"].tolist() == [0.92, 0.92] and ours["ours"].tolist() == [0.92, 0.92]
    rest = told[~told["claim"].isin([value["claim"].iloc[0], direction["claim"].iloc[0]])]
    assert set(rest["verdict"]) == {RELATED, UNTESTABLE} and not (rest["verdict"] == RELATED).all()
    arm = told[told["claim"] == "dino-ortho: fracture, DINO + SL, roc_auc"].iloc[0]
    assert arm["verdict"] == RELATED and arm["dataset"] == "fracatlas" and "arm: published DINO + SL" in arm["differs"]
    only_phantom = verdicts.judge(value, row(value, edition="phantom"), differences.iloc[:0])
    assert only_phantom["verdict"].tolist() == [NONE]
    nothing = verdicts.judge(known, values.iloc[:0], differences.iloc[:0])
    assert set(nothing["verdict"]) == {UNTESTABLE} and nothing["why"].str.len().min() > 10


def test_differences_as_compare_makes_them(claims):
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2
    frames = []
    for arm, signal in (("SL", 0.2), ("DINO + SL", 0.2), ("DINO + DINO-Ortho + SL", 3.0)):
        score = 1 / (1 + np.exp(-rng.normal(signal * truth)))
        frames.append(pd.DataFrame({"arm": arm, "y_true": truth, "score_1": score, "score_0": 1 - score}))
    predictions = pd.concat([f.assign(unit_id=np.arange(200), group=np.arange(200) // 2) for f in frames])
    about = {"edition": "paper", "dataset": "fracatlas", "split": "clean", "part": "test", "task": "fracture"}
    pairs = [("SL", "DINO + DINO-Ortho + SL"), ("DINO + DINO-Ortho + SL", "DINO + SL")]
    made = compare.compare(predictions, ["roc_auc"], pairs=pairs, draws=400).assign(**about)
    weights = ["resnet50", "dino-resnet50", "dino-resnet50, then DINO on mura and fracatlas"]
    arms = ["SL", "DINO + SL", "DINO + DINO-Ortho + SL"]
    values = pd.DataFrame({"arm": arms, "initial": weights, "backbone": "resnet50", "metric": "roc_auc"}).assign(
        **about
    )
    differences = verdicts.with_networks(made, pd.concat([values, values.assign(metric="accuracy")]))
    assert len(differences) == 2 and {*verdicts.DIFFERENCES} <= set(differences)
    assert verdict(claims["both"], differences).verdict == REPRODUCED
    refused("name the arm 'SL', which has no value there", verdicts.with_networks, made, values[values["arm"] != "SL"])


def declared(kind: str = "direction", metric: str = "kappa_quadratic_expectation", margin=np.nan) -> pd.DataFrame:
    """A claim of one arm against two references."""
    rows = [{"arm": "a", "reference": other} for other in ("b", "c")]
    about = {"claim": "p: x", "statement": "a beats b and c", "paper": "p", "kind": kind, "margin": margin}
    return pd.DataFrame(rows).assign(**about, task="kl", metric=metric, differs="other images")


def differences(*intervals, seeds: int = 3, metric: str = "kappa_quadratic_expectation") -> pd.DataFrame:
    rows = [
        {"arm": "a", "reference": other, "difference": (low + high) / 2, "low": low, "high": high}
        for other, (low, high) in zip(("b", "c"), intervals, strict=False)
    ]
    table = pd.DataFrame(rows).assign(task="kl", metric=metric, seeds=seeds, seeds_reference=1)
    return table.assign(low_holm=table["low"], high_holm=table["high"])


@pytest.mark.parametrize(
    ("intervals", "seeds", "called"),
    [
        ([(0.01, 0.2), (0.05, 0.1)], 3, "agrees"),
        ([(0.01, 0.2), (-0.01, 0.1)], 3, "undecided"),  # one pair does not carry the other
        ([(0.01, 0.2), (-0.2, -0.01)], 3, "disagrees"),
        ([(0.01, 0.2), (0.0, 0.1)], 3, "undecided"),  # an end at 0 leaves nothing out
        ([(0.01, 0.2), (0.05, 0.1)], 1, "undecided"),  # the luck of one training
        ([(0.01, 0.2)], 3, "not run here"),
    ],
)
def test_declared_analogues_of_a_direction(intervals, seeds, called):
    row = verdicts.analogues(declared(), differences(*intervals, seeds=seeds)).iloc[0]
    assert row["verdict"] == called and row["differs"] == "other images" and row["references"] == "b, c"


def test_declared_analogues_of_less_is_better_and_of_equivalence():
    lower = differences((-0.2, -0.1), (-0.3, -0.1), metric="loss_test")
    assert verdicts.analogues(declared(metric="loss_test"), lower).iloc[0]["verdict"] == "agrees"
    alike = declared("equivalence", margin=0.02)
    for intervals, called in (
        ([(-0.01, 0.01), (0.0, 0.015)], "agrees"),
        ([(-0.01, 0.01), (0.0, 0.021)], "undecided"),
        ([(-0.01, 0.01), (0.021, 0.03)], "disagrees"),
    ):
        assert verdicts.analogues(alike, differences(*intervals)).iloc[0]["verdict"] == called


def test_the_declared_analogues_name_claims_of_the_ledger(table):
    known = ledger.analogues()
    assert len(known) and set(known["claim"]) <= set(table["claim"])
    assert not known.duplicated(["claim", "task", "metric", "arm", "reference"]).any()
