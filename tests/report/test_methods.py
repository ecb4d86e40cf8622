"""The examples of the methods page: computed, and what they teach holds."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from ortholib.errors import OrthoError
from ortholib.metrics import compare, delong
from ortholib.report import methods

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTHOLIB_HOME", str(ROOT))
        names = {path.name for path in methods.stage(folder)}
    assert names == {path.name for path in folder.glob("*.md")}
    return folder


def text(folder: Path, name: str) -> str:
    return (folder / f"method-{name}.md").read_text()


def test_the_page_shows_every_example_and_no_other(staged):
    told = (ROOT / "book" / "methods.md").read_text()
    asked = re.findall(r"{include} _chapters/method-(\w+)\.md", told)
    assert sorted(asked) == sorted(path.stem.removeprefix("method-") for path in staged.glob("*.md"))
    pictures = {path.name for path in staged.glob("*.png")}
    assert pictures == {
        name for path in staged.glob("*.md") for name in re.findall(r"method-\w+\.png", path.read_text())
    }
    assert told.count("\nIt asks\n: ") == told.count("\nIt cannot show\n: ") == 9


def test_coverage_is_that_of_the_stored_simulation(staged):
    table = pd.read_csv(ROOT / "results/bench/coverage.csv")
    told = json.loads((ROOT / "results/bench/coverage.json").read_text())
    truth = told["true_roc_auc"]
    for row in told["methods"]:
        rows = table[table["method"] == row["method"]]
        assert len(rows) == told["sets"] and not rows["set"].duplicated().any()
        assert ((rows["low"] <= truth) & (rows["high"] >= truth)).mean() == pytest.approx(row["coverage"])
        assert (rows["p"] <= compare.ALPHA).mean() == pytest.approx(row["false_positive"])
        assert f"| {row['method']} | {100 * row['coverage']:.1f} % (" in text(staged, "coverage")
    held = round(told["sets"] * told["coverage_clustered"])
    assert told["holds"] and f"clustered bootstrap: {held} of {told['sets']:,}" in text(staged, "coverage")
    assert (ROOT / "results/bench/coverage.csv").stat().st_size < 200_000


def test_a_missing_bench_names_the_file_and_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(tmp_path))
    with pytest.raises(OrthoError, match=r"coverage\.csv is missing; run `ortholib bench coverage`"):
        methods.stage(tmp_path)


def test_the_simulated_arms_are_as_good_as_said():
    many = pd.concat([methods.simulated(seed).assign(seed=seed) for seed in range(15)])
    many = many.assign(unit_id=many["unit_id"] + 1000 * many["seed"], group=many["group"] + 1000 * many["seed"])
    found = delong.compare_areas(many.drop(columns="seed")).set_index(["arm", "reference"])
    assert found.loc[("A", "B"), "value_arm"] == pytest.approx(0.8556, abs=0.02)
    assert found.loc[("B", "C"), "low"] < 0 < found.loc[("B", "C"), "high"]
    assert abs(many.loc[many["arm"] == "A", "score_1"].mean() - many["y_true"].mean()) < 0.02  # the true posterior


def test_the_difference_is_read_from_the_numbers():
    made = pd.DataFrame({"arm": ["A", "A", "B"], "reference": ["B", "C", "C"], "p_holm": [0.01, 0.2, 0.3]})
    made["detectable"] = [0.01, 0.09, 0.02]
    truth = {"A": 0.85, "B": 0.80, "C": 0.80}
    told = methods._read(made, truth)
    assert told == (
        "A and B: the true difference is shown; "
        "A and C: the true one, 0.050, is missed: the set detects 0.090 or more; "
        "B and C: rightly, no difference is shown."
    )
    assert "though there is none" in methods._read(made.assign(p_holm=0.01), truth)


def test_examples_show_every_verdict_but_the_untestable(staged):
    said = re.findall(r"\*\*([a-z ]+)\*\*", text(staged, "verdicts"))
    assert set(said) == {"reproduced", "not reproduced", "no difference shown", "related evidence", "none"}
    wide = next(line for line in text(staged, "verdicts").splitlines() if "a wide interval" in line)
    assert "no difference shown" in wide


def test_small_sets_are_counted_right(staged):
    assert "1 box is right: sensitivity 0.50, precision 0.33, 0.67 false boxes an image" in text(staged, "detection")
    assert "p = 0.0625" in text(staged, "ranks") and "too few (4 blocks, 5 needed" in text(staged, "ranks")
    assert "T = 1.8" in text(staged, "calibration")


def test_coverage_is_read_from_the_numbers():
    made = {"method": "one", "coverage": 0.949, "false_positive": 0.05}
    bad = {"method": "two", "coverage": 0.846, "false_positive": 0.13}
    wide = {"method": "three", "coverage": 0.945, "false_positive": 0.09}
    assert methods._read_coverage({"sets": 1000, "methods": [made, bad, wide]}) == (
        "One: as promised; two: intervals too short and false calls too often; three: false calls too often."
    )
