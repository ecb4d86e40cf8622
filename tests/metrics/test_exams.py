"""Studies from their images: the mean, one truth, no study over two patients; kappa as MURA computes it."""

import numpy as np
import pandas as pd
import pytest
from scores import frame
from sklearn.metrics import cohen_kappa_score

from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import evaluation, exams

STUDY_OF = {"a1": "A", "a2": "A", "a3": "A", "b1": "B", "c1": "C", "c2": "C"}


def images(**more) -> pd.DataFrame:
    score = np.array([0.9, 0.2, 0.1, 0.5, 0.8, 0.6])
    table = pd.DataFrame(
        {"unit_id": list(STUDY_OF), "group": ["p", "p", "p", "q", "q", "q"], "y_true": [0, 0, 0, 0, 1, 1]}
    )
    return table.assign(arm="ours", score_0=1 - score, score_1=score, **more)


def made_up(n_studies: int = 150, seed: int = 0):
    rng = np.random.default_rng(seed)
    study = np.repeat(np.arange(n_studies), rng.integers(1, 5, n_studies))
    truth = rng.random(n_studies) < 0.4
    score = np.clip(rng.normal(0.35 + 0.3 * truth[study], 0.25), 0, 1)
    table = frame(truth[study].astype(int), score).assign(group=study // 2)
    return table, pd.Series(study, index=table["unit_id"])


def test_a_study_is_the_mean_of_its_images():
    mean = exams.to_studies(images(), STUDY_OF).set_index("unit_id")
    np.testing.assert_allclose(mean["score_1"], [0.4, 0.5, 0.7])
    np.testing.assert_allclose(mean["score_0"], [0.6, 0.5, 0.3])
    assert list(mean["images"]) == [3, 1, 2] and list(mean["y_true"]) == [0, 0, 1] and set(mean["arm"]) == {"ours"}
    one_image_shows_it = images().assign(y_true=[0, 1, 0, 0, 1, 1])
    assert list(exams.to_studies(one_image_shows_it, STUDY_OF)["y_true"]) == [1, 0, 1]


def test_seeds_stay_apart_and_the_table_is_evaluated():
    both = pd.concat([images(seed=s, split="official") for s in (0, 1)]).sample(frac=1, random_state=1)
    table = exams.to_studies(both, STUDY_OF)
    assert len(table) == 6 and set(table["seed"]) == {0, 1}
    assert (evaluation.evaluate(table, draws=10)["n"] == 3).all()
    grades = images().assign(score_2=0.0)
    assert len(exams.to_studies(grades, STUDY_OF)) == 3


def test_kappa_calls_a_study_at_more_than_one_half():
    # study B has exactly 0.5: not abnormal
    assert exams.study_kappa([0, 0, 1], [0.4, 0.5, 0.7])[0] == 1
    table, study_of = made_up()
    weights = np.random.default_rng(2).poisson(1.0, (3, 150)).astype(float)
    by_hand = table.groupby(study_of.to_numpy()).agg(y=("y_true", "first"), score=("score_1", "mean"))
    found = exams.study_kappa(by_hand["y"], by_hand["score"], weights)
    for i, w in enumerate(weights):
        assert found[i] == pytest.approx(cohen_kappa_score(by_hand["y"], by_hand["score"] > 0.5, sample_weight=w))
    row = exams.mura_kappa(table, study_of, draws=200).iloc[0]
    assert row["value"] == pytest.approx(cohen_kappa_score(by_hand["y"], by_hand["score"] > 0.5))
    assert row["low"] < row["value"] < row["high"]
    assert (row["n"], row["n_groups"], row["threshold"], row["seeds"]) == (150, 75, 0.5, 1)
    other, _ = made_up(seed=0)
    other = other.assign(score_1=other["score_1"] ** 2, score_0=1 - other["score_1"] ** 2)
    two = pd.concat([table.assign(seed=0), other.assign(seed=1)])
    alone = [exams.mura_kappa(part, study_of, draws=10)["value"].iloc[0] for part in (table, other)]
    row = exams.mura_kappa(two, study_of, draws=10).iloc[0]
    assert row["value"] == pytest.approx(np.mean(alone)) and row["seed_sd"] == pytest.approx(np.std(alone, ddof=1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: exams.to_studies(images(), {"a1": "A"}), OrthoError, "without a study: 5 of 6 .* a2"),
        (
            lambda: exams.to_studies(images(), dict.fromkeys(STUDY_OF, "Z")),
            OrthoError,
            "studies with several values of group: .* first unit_id Z",
        ),
        (lambda: exams.to_studies(pd.concat([images()] * 2), STUDY_OF), OrthoError, "an image is there twice"),
        (
            lambda: exams.to_studies(images().assign(score_2=0.0, y_true=[0, 1, 0, 0, 1, 1]), STUDY_OF),
            OrthoError,
            "several values of y_true: .* first unit_id A",
        ),
        (lambda: exams.mura_kappa(images().assign(score_2=0.0), STUDY_OF, 10), UsageError, "have 3"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
