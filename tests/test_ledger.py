"""The published values: the file keeps its schema, mistakes in it are named, and nothing is lost or reordered."""

from pathlib import Path

import pytest
import yaml

from ortholib import ledger
from ortholib.errors import OrthoError

FILE = Path(__file__).resolve().parents[1] / "params" / "published.yaml"
ENTRY = {
    "paper": "A 2020",
    "source": "doi 1",
    "task": "kl",
    "dataset": "OAI",
    "arm": "CNN",
    "metric": "kappa_quadratic",
    "value": 0.8,
    "mark": "S",
    "differs": "other images",
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(tmp_path))
    (tmp_path / "params").mkdir()

    def write(content):
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (tmp_path / "params" / "published.yaml").write_text(text)

    return write


def test_all_rows_of_the_file_best_first(monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(FILE.parents[1]))
    rows = [row for row in yaml.safe_load(FILE.read_text()) if row["task"] == "kl"]
    table = ledger.published("kl", sorted({row["metric"] for row in rows}))
    assert len(table) == len(rows) >= 5
    assert table["value"].is_monotonic_decreasing
    assert sorted(table["value"]) == sorted(row["value"] for row in rows)
    assert set(table["kind"]) == {"published"} and table[["low", "high", "n"]].isna().all(axis=None)
    assert (table["label"] == table["paper"] + ": " + table["dataset"]).all()


def test_only_what_was_asked_for(write):
    write([ENTRY, ENTRY | {"metric": "accuracy"}, ENTRY | {"task": "oa"}, ENTRY | {"arm": "better", "value": 0.9}])
    assert ledger.published("kl", ["kappa_quadratic"])["arm"].tolist() == ["better", "CNN"]
    with pytest.raises(OrthoError, match=r"published\.yaml holds no value of task 'kl' with a metric among mae"):
        ledger.published("kl", ["mae"])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([ENTRY | {"mark": "X"}], "mark"),
        ([ENTRY | {"value": 88.0}], "value"),
        ([ENTRY | {"value": "0.88"}], "value"),
        ([ENTRY | {"value": None}], "value"),
        ([ENTRY | {"differs": ""}], "differs"),
        ([ENTRY | {"note": "x"}], "note"),
        ([{k: v for k, v in ENTRY.items() if k != "source"}], "source"),
        ([ENTRY, ENTRY | {"arm": None}], "arm"),
        ([ENTRY, ENTRY | {"value": 0.9}], "unique"),
        ([], "paper"),
        ({"kl": ENTRY}, "list"),
        ("", "list"),
        ("- a\n- b\n", "list"),
        ("- paper: [", "YAML"),
    ],
)
def test_mistakes_name_the_file(write, content, named):
    write(content)
    with pytest.raises(OrthoError) as error:
        ledger.published("kl", ["kappa_quadratic"])
    assert "published.yaml" in str(error.value) and named in str(error.value), error.value
