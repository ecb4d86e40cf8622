"""Labels join the scores of their own images, and any other is refused by name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refused import refused

from ortholib.classify import outcomes

CLASSES = ("no fracture", "fracture")
SCORES = """file,score_0,score_1,reason
a/1.png,0.9,0.1,
a/2.png,0.2,0.8,
b/3.png,0.4,0.6,
c/4.png,,,truncated
"""


@pytest.fixture
def scores(tmp_path) -> Path:
    (tmp_path / "scores.csv").write_text(SCORES)
    return tmp_path / "scores.csv"


@pytest.fixture
def labels(tmp_path):
    """Write a table of labels from its lines."""

    def write(*lines: str) -> Path:
        (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8-sig")
        return tmp_path / "labels.csv"

    return write


def test_joined_by_file_in_any_order(scores, labels):
    file = labels("label,group,file", "1,p1,b/3.png", "0,p1,a/1.png", "1,p2,a/2.png", "1,p3,c/4.png")
    frame, unlabelled, unscored, grouped = outcomes.join(scores, file)
    wanted = {"unit_id": ["a/1.png", "a/2.png", "b/3.png"], "group": ["p1", "p2", "p1"], "y_true": [0, 1, 1]}
    pd.testing.assert_frame_equal(frame[list(wanted)], pd.DataFrame(wanted))
    assert frame["score_1"].tolist() == [0.1, 0.8, 0.6] and (unlabelled, unscored, grouped) == (0, 1, True)


def test_names_of_classes_and_labels_that_were_not_asked(scores, labels):
    file = labels("image_id,label", "a/1.png,No Fracture", "a/2.png,fracture", "b/3.png,")
    frame, unlabelled, unscored, grouped = outcomes.join(scores, file, CLASSES)
    assert frame["y_true"].tolist() == [0, 1] and (unlabelled, unscored, grouped) == (1, 0, False)
    assert frame["group"].tolist() == frame["unit_id"].tolist()
    assert outcomes.join(scores, labels("path,label", "a/1.png,1.0")).frame["y_true"].tolist() == [1]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("file,label", "1.png,1", "2.png,0"), "2 of 2 labels are of images .* such as '1.png', '2.png'; .*'a/1.png'"),
        (("file,label", "a/1.png,1", "x,0"), "1 of 2 labels are of images"),
        (("file,label", "a/1.png,2"), "1 labels are no class, the first '2' of 'a/1.png'; expected 0 to 1, or no frac"),
        (("file,label", "a/1.png,0.5"), "no class, the first '0.5'"),
        (("file,label", "a/1.png,-1"), "no class"),
        (("file,label", "a/1.png,maybe"), "no class"),
        (("file,label", "a/1.png,1", "a/1.png,0"), "'a/1.png' stands in more than one line"),
        (("file,label,group", "a/1.png,1,p", "a/2.png,1,"), "'a/2.png' has no group"),
        (("file,grade", "a/1.png,1"), "lacks the column label; it has file, grade"),
        (("name,label", "a/1.png,1"), "has the columns name, label; expected `file`"),
        (("file,label", "a/1.png,"), "holds no label"),
        (("file,label", "c/4.png,1"), "every labelled image was left out"),
        (("",), "no readable CSV"),
    ],
)
def test_other_labels_are_refused(scores, labels, lines, words):
    refused(words, outcomes.join, scores, labels(*lines), CLASSES)


def test_other_scores_are_refused(scores, labels, tmp_path):
    file = labels("file,label", "a/1.png,1")
    refused("is not there", outcomes.join, tmp_path / "nowhere.csv", file)
    scores.write_text("file,reason\na/1.png,\n")
    refused("no columns score_0, score_1", outcomes.join, scores, file)
    refused("lacks the column reason", outcomes.join, file, file)
    scores.write_text(SCORES + "a/1.png,0.9,0.1,\n")
    refused("stands in more than one line", outcomes.join, scores, file)
    scores.write_text(SCORES.replace("0.9,", "x,"))
    assert np.isnan(outcomes.join(scores, file).frame["score_0"]).all()  # which `evaluate` refuses by its unit
