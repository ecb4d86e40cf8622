"""The published numbers and claims: all of them, as the papers print them; mistakes in the file are named."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from refused import refused

from ortholib.errors import OrthoError
from ortholib.study import ledger

ROOT = Path(__file__).resolve().parents[2]
PAPER = {
    "key": "a",
    "paper": "A 2020",
    "source": "doi 1",
    "reproduction": "method at small scale",
    "mark": "S",
    "set": "oai",
    "dataset": "OAI",
    "split": "not stated",
    "differs": "other images",
    "way": "ask",
    "arms": {"CNN": {"network": "resnet18", "initial": "random"}, "better": {"network": "vit", "initial": "random"}},
}
TABLE = {"table": "1", "task": "kl", "metrics": ["kappa_quadratic"], "values": {"CNN": [0.8]}}
CLAIM = {"claim": "c", "statement": "s", "kind": "direction", "tests": {"kl": "accuracy"}}
CLAIM |= {"arms": ["better"], "references": ["CNN"]}

# Typed again from the papers' tables, not from the file. MURA, then FracAtlas; each ROC AUC, PRC AUC, Sens, Spec.
DINO_ORTHO = """
SL                      .865 .822 .760 .876  .920 .754 .602 .980
DINO + SL               .894 .897 .776 .874  .929 .844 .657 .978
DINO + DINO-Ortho + SL  .875 .878 .748 .864  .986 .957 .880 .996
"""
# task, percent, whether AUROC (otherwise accuracy); four tasks have no number in the text
ORTHOFOUNDATION = """
kl 77.84 acc;  kl_4_years 63.38 acc;  kl_8_years 58.47 acc;  knee_replacement 82.17 auc;  acl 98.49 auc;  pcl 84.31 auc
mcl 93.34 auc;  lcl nan auc;  bone_contusion nan auc;  meniscus 84.74 acc;  mpfl nan auc;  patellar_dislocation nan auc
cartilage 93.38 auc;  hip_labrum 83.66 auc;  supraspinatus 88.21 acc;  atfl 86.91 auc;  cfl 70.62 auc
"""
FRACTUVISION = """
ResNet + MLP, 2 blocks: accuracy 0.665
ViT, fine-tuned: accuracy 0.900
DINOv2-small, fine-tuned: accuracy 0.928, precision 0.944, recall 0.9201, loss_train 0.2914, loss_test 0.3645
DINOv2-large, fine-tuned: accuracy 0.961
YOLOv8: precision 0.77, recall 0.55, map50 0.53, map50_95 0.22, boxes_found 50, boxes_missed 41, boxes_false 15
"""


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTHOLIB_HOME", str(ROOT))
        return ledger.table()


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(tmp_path))
    (tmp_path / "params").mkdir()

    def write(content):
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (tmp_path / "params" / "published.yaml").write_text(text)

    return write


def numbers(table: pd.DataFrame, paper: str) -> pd.DataFrame:
    return table[(table["kind"] == "value") & table["paper"].str.contains(paper)]


def test_how_many(table):
    of = table.assign(value_=table["kind"] == "value").groupby(["paper", "value_"])["claim"].nunique().to_dict()
    dino, ortho = "Bagchi et al. (DINO-Ortho)", "Yu et al. 2026 (OrthoFoundation)"
    chavoshi, fractuvision = "Chavoshi et al. 2025", "Wang and Siddiqui 2024 (FractuVision)"
    context = {"KL-FuseNet 2026", "Zhang et al. 2020", "Tiulpin et al. 2018", "Tiulpin and Saarakkala 2020"}
    counts = {(dino, True): 24, (ortho, True): 19, (chavoshi, True): 2, (fractuvision, True): 15}
    counts |= {(dino, False): 3, (ortho, False): 6, (chavoshi, False): 4, (fractuvision, False): 5}
    assert of == counts | {(name, True): 1 for name in context}
    assert set(table.loc[table["reproduction"] == ledger.CONTEXT, "paper"]) == context


def test_dino_ortho_as_printed(table):
    ours = numbers(table, "DINO-Ortho").set_index(["set", "arm", "metric"])["value"].to_dict()
    printed = {}
    for line in DINO_ORTHO.strip().splitlines():
        arm, *cells = line.split("  ", 1)[0], *line.split("  ", 1)[1].split()
        names = ["roc_auc", "average_precision", "sensitivity", "specificity"]
        columns = [(name, metric) for name in ("mura", "fracatlas") for metric in names]
        printed |= {(name, arm, metric): float(cell) for (name, metric), cell in zip(columns, cells, strict=True)}
    assert ours == printed and len(printed) == 24


def test_orthofoundation_as_printed(table):
    ours = numbers(table, "OrthoFoundation")
    whole = ours[ours["table"] == "tasks"].set_index("task")
    printed = [cell.split() for line in ORTHOFOUNDATION.strip().splitlines() for cell in line.split(";")]
    assert len(whole) == len(printed) == 17 and set(whole["arm"]) == {"OrthoFoundation"}
    for task, percent, metric in printed:
        assert whole.loc[task, "metric"] == {"acc": "accuracy", "auc": "roc_auc"}[metric], task
        assert whole.loc[task, "value"] == pytest.approx(float(percent) / 100, abs=1e-12, nan_ok=True), task
        assert whole.loc[task, "mark"] == ("I" if percent == "nan" else "S"), task
    few = ours[ours["table"] == "label fractions"].set_index("arm")
    facts = few[["task", "metric", "value", "mark"]].to_numpy().tolist()
    assert facts == [["acl", "roc_auc", 0.9439, "S"], ["acl", "roc_auc", 0.977, "S2"]]
    assert few.index.tolist() == ["OrthoFoundation, 12.5 % of labels", "OrthoFoundation, 50 % of labels"]


def test_chavoshi_and_fractuvision_as_printed(table):
    ours = numbers(table, "Chavoshi").set_index(["task", "metric", "arm"])["value"].to_dict()
    assert ours == {
        ("kl", "kappa_weighted", "ConvNeXt-Small, supervised"): 0.880,
        ("body_part", "accuracy", "BiomedCLIP, zero-shot"): 0.9114,
    }
    ours = numbers(table, "FractuVision").set_index(["arm", "metric"])["value"].to_dict()
    printed = {}
    for line in FRACTUVISION.strip().splitlines():
        arm, cells = line.split(": ")
        printed |= {(arm, cell.split()[0]): float(cell.split()[1]) for cell in cells.split(", ")}
    assert ours == printed
    found, missed, false = (ours["YOLOv8", f"boxes_{name}"] for name in ("found", "missed", "false"))
    assert found + missed == 91  # and the shares that the report gives are those of its counts
    assert ours["YOLOv8", "recall"] == round(found / 91, 2)
    assert ours["YOLOv8", "precision"] == round(found / (found + false), 2)


def test_classes_marks_and_margins(table):
    kinds = table.groupby("paper")["reproduction"].agg(lambda r: set(r))
    assert kinds["Yu et al. 2026 (OrthoFoundation)"] == {"method at small scale"}
    from_text = {"protocol re-implementation from report or abstract"}
    assert all(kinds[name] == from_text for name in kinds.index if "Chavoshi" in name or "(DINO" in name)
    assert set(table.loc[table["kind"] == "equivalence", "margin"]) == {0.02}
    unsure = table[(table["kind"] != "value") & ~table["mark"].isin(["S"])].groupby("claim")["mark"].first().to_dict()
    assert unsure == {
        "dino-ortho: trains-faster": "G",
        "orthofoundation: half-beats-dinov3": "S2",
        "orthofoundation: carries-over": "S2",
        "fractuvision: dinov2-large-is-best": "I",
    }
    assert len(table[table["claim"] == "orthofoundation: first-on-all-tasks"]) == 17 * 3
    assert not table["initial"].str.contains("stand-in").any()


def test_papers_say_where_sources_disagree(table, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ROOT))
    papers = ledger.papers().set_index("key")
    assert "14 in arXiv" in papers.loc["orthofoundation", "conflicts"] and len(papers) == 8
    assert "81/9/10" in papers.loc["fractuvision", "conflicts"]
    one = table[table["claim"] == "dino-ortho: best-on-mura"]
    assert one["reference"].tolist() == ["SL", "DINO + DINO-Ortho + SL"] and set(one["arm"]) == {"DINO + SL"}
    assert one[["initial", "initial_reference"]].iloc[0].tolist() == ["dino-resnet50", "resnet50"]


def test_for_figures_best_first(table, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ROOT))
    drawn = ledger.published("kl", ["kappa_quadratic", "kappa_weighted"])
    assert drawn["value"].tolist() == [0.881, 0.880, 0.88, 0.83, 0.82]
    assert drawn["paper"].tolist()[1] == "Chavoshi et al. 2025"
    assert set(drawn["kind"]) == {"published"} and drawn[["low", "high", "n"]].isna().all(axis=None)
    assert (drawn["label"] == drawn["paper"] + ": " + drawn["dataset"]).all()
    assert {"dataset", "arm", "mark", "source", "differs"} <= set(drawn)
    refused("no value of task 'lcl'", ledger.published, "lcl", ["roc_auc"])


def test_only_what_was_asked_for(write):
    more = TABLE | {"metrics": ["kappa_quadratic", "accuracy"], "values": {"CNN": [0.8, 0.7], "better": [0.9, "71.5%"]}}
    write([PAPER | {"tables": [more, TABLE | {"task": "oa"}]}])
    assert ledger.published("kl", ["kappa_quadratic"])["arm"].tolist() == ["better", "CNN"]
    assert ledger.published("kl", ["accuracy"])["value"].tolist() == [0.715, 0.7]
    refused(r"published\.yaml holds no value of task 'kl' with a metric among mae", ledger.published, "kl", ["mae"])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([PAPER | {"mark": "X"}], "mark"),
        ([PAPER | {"reproduction": "full"}], "reproduction"),
        ([PAPER | {"tables": [TABLE | {"values": {"CNN": [88.0]}}]}], "out of its metric's range"),
        ([PAPER | {"tables": [TABLE | {"values": {"CNN": ["0.88"]}}]}], "'0.88' is no number"),
        ([PAPER | {"tables": [TABLE | {"values": {"CNN": [True]}}]}], "True is no number"),
        ([PAPER | {"tables": [TABLE | {"values": {"CNN": [0.8, 0.9]}}]}], "[0.8, 0.9] for the metrics"),
        ([PAPER | {"tables": [TABLE | {"values": {"RNN": [0.8]}}]}], "unknown arm 'RNN'"),
        ([PAPER | {"tables": [TABLE | {"metrics": ["kapa"]}]}], "kapa"),
        ([PAPER | {"tables": [TABLE | {"values": [0.8]}]}], "values is a list"),
        ([PAPER | {"tables": [TABLE, TABLE]}], "unique"),
        ([PAPER | {"tables": [{k: v for k, v in TABLE.items() if k != "task"}]}], "task"),
        ([PAPER | {"differs": ""}], "differs"),
        ([PAPER | {"note": "x"}], "unknown field note"),
        ([{k: v for k, v in PAPER.items() if k != "source"}], "lacks source"),
        ([PAPER | {"arms": {"CNN": {"network": "resnet18"}}}], "lacks initial"),
        ([PAPER | {"arms": ["CNN"]}], "arms of a"),
        ([PAPER | {"claims": [CLAIM | {"arms": ["best"]}]}], "unknown arm 'best'"),
        ([PAPER | {"claims": [CLAIM | {"references": ["worst"]}]}], "unknown arm 'worst'"),
        ([PAPER | {"claims": [CLAIM | {"tests": {"kl": "acc"}}]}], "acc"),
        ([PAPER | {"claims": [CLAIM | {"kind": "equivalence"}]}], "margin"),
        ([PAPER | {"claims": [CLAIM | {"margin": 0.02}]}], "margin"),
        ([PAPER | {"claims": [CLAIM | {"kind": "equivalence", "margin": 0.0}]}], "margin"),
        ([PAPER | {"claims": [CLAIM | {"kind": "value"}]}], "kind 'value'"),
        ([PAPER | {"claims": [CLAIM | {"kind": "trend"}]}], "kind"),
        ([], "list"),
        ({"kl": PAPER}, "list"),
        ("", "list"),
        ("- a\n- b\n", "list"),
        ("- paper: [", "YAML"),
    ],
)
def test_mistakes_name_the_file(write, content, named):
    if isinstance(content, list) and content and "tables" not in content[0] and "arms" in content[0]:
        content = [content[0] | {"tables": [TABLE]}]
    write(content)
    with pytest.raises(OrthoError) as error:
        ledger.published("kl", ["kappa_quadratic"])
    assert "published.yaml" in str(error.value) and named in str(error.value), error.value
