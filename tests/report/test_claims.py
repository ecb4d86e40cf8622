"""Published beside ours: verdicts of a chapter, their table, the forest rows, the page of all."""

import numpy as np
import pandas as pd
import pytest

from ortholib.errors import OrthoError
from ortholib.report import claims, figures, results
from ortholib.study import ledger, verdicts


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ledger.__file__).rsplit("/ortholib/", 1)[0])
    monkeypatch.setenv("ORTHOLIB_RUNS", str(tmp_path))


def values(edition: str = "real") -> pd.DataFrame:
    about = {"edition": edition, "dataset": "kneekl", "split": "official", "part": "test", "task": "kl"}
    about |= {"arm": "resnet18, random", "backbone": "resnet18", "initial": "random", "reason": ""}
    rows = [("kappa_quadratic", 0.762, 0.733, 0.787), ("accuracy", 0.637, 0.611, 0.662)]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high"]).assign(**about, n=1656, n_groups=828, seeds=1)


def ours(edition: str = "real") -> pd.DataFrame:
    return values(edition).head(1).assign(label="resnet18, random weights")


METRICS = ["kappa_quadratic", "kappa_weighted"]


def test_other_data_are_related_evidence_and_absent_arms_not_testable():
    judged = claims.claims("kl", values())
    assert set(judged["verdict"]) == {verdicts.RELATED, verdicts.UNTESTABLE}
    known = ledger.table()
    assert set(judged["claim"]) == set(known.loc[known["task"] == "kl", "claim"])
    assert judged.set_index("claim").loc["chavoshi: kl, ConvNeXt-Small, supervised, kappa_weighted", "ours"] == 0.762
    drawn = claims.forest(ours(), "kl", METRICS, judged)
    assert drawn["verdict"].tolist() == ["", *[verdicts.RELATED] * (len(drawn) - 1)]
    assert drawn["kind"].tolist()[0] == "ours" and set(drawn["kind"][1:]) == {"published"}
    assert "0.880 (related evidence)" in figures.describe_intervals(drawn)


def test_generated_images_get_none_and_stand_alone():
    judged = claims.claims("kl", values("phantom"))
    assert set(judged["verdict"]) == {verdicts.NONE, verdicts.UNTESTABLE}
    assert set(judged.loc[judged["kind"] == "value", "verdict"]) == {verdicts.NONE} and judged["ours"].isna().all()
    drawn = claims.forest(ours("phantom"), "kl", METRICS, judged)
    assert drawn["kind"].tolist() == ["ours"] and drawn["verdict"].tolist() == ["no verdict: generated images"]
    assert "0.762" not in claims.table(judged)


def test_a_task_without_anything_published_is_refused():
    with pytest.raises(OrthoError, match="nothing is published on the task 'hat size'"):
        claims.claims("hat size", values())


def test_the_table_tells_value_interval_verdict_and_what_differs():
    lines = claims.table(claims.claims("kl", values())).splitlines()
    assert all(line.count("|") == 6 for line in (line.replace("\\|", "") for line in lines))
    (own,) = (line for line in lines if "weighted κ of the KL grade" in line)
    assert "| 0.880 | 0.762 (0.733 to 0.787) | related evidence |" in own and "convnext\\_small" in own
    assert sum(line.endswith("| as above |") for line in lines) == 3  # one way to several claims is told once
    assert "real" not in own.split("|")[3]


def test_the_page_has_every_paper_with_what_cannot_be_tested_folded(tmp_path):
    judged = results.claims(local=False)
    page = claims.page(judged, ledger.papers())
    for paper in judged["paper"].unique():
        rows = judged[judged["paper"] == paper]
        part = page.split(f"## {claims.plain(paper)}\n")[1].split("\n## ")[0]
        folded = rows[rows["verdict"] == verdicts.UNTESTABLE]
        assert f":::{{dropdown}} {len(folded)} not testable here, with the way\n" in part
        assert part.count("\n- **") == 0 and part.split(":::{dropdown}")[1].count("\n- ") == len(folded)
        assert part.count("| related evidence |") == (rows["verdict"] == verdicts.RELATED).sum()
    assert "Tiulpin" not in page  # context is no paper of this study
    assert "; 30-knee-oa, real" in page


def test_text_is_shown_letter_by_letter_but_for_code():
    shown = claims.plain("a_b *c* | $X `ortholib run_it` <d> [e]/f")
    assert shown == "a\\_b \\*c\\* \\| \\$X `ortholib run_it` \\<d> \\[e\\]/\u200bf"


def test_a_claim_without_a_value_of_ours_leaves_its_cells_empty():
    judged = claims.claims("kl", values()).query("kind == 'direction'").head(1)
    assert np.isnan(judged["published"].iloc[0])
    assert "|  |  | not testable here |" in claims.table(judged)
