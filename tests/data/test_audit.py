"""The audit finds what the phantom was damaged with, and nothing else."""

import pytest
from PIL import ImageFile
from sklearn.metrics import roc_auc_score

from ortholib.data import audit, datasets


@pytest.fixture
def found(phantom):
    return audit.run(datasets.load("fracatlas", root=phantom), "fractured")


def test_planned_defects_are_counted(found, films):
    defects, counts = films["defect"], found.counts
    assert counts["images"] == len(films)
    assert counts["truncated"] == counts["unreadable"] == defects.str.startswith("truncated").sum() > 0
    assert counts["exif_rotated"] == (films["orientation"] != 1).sum() > 0
    identical = defects.str.startswith("identical").sum()
    assert (counts["pixel_duplicate_groups"], counts["pixel_duplicate_images"]) == (identical, 2 * identical)
    assert counts["conflicting_groups"] == 1
    assert counts["contradictions"] == 1


def test_leaks_are_the_copies_that_cross_official_parts(found, films):
    place = {"valid": "val"}
    pairs = films[films["copy_of"] != ""]
    expected = {"train": set(), "val": set(), "test": set()}
    for row in pairs.itertuples():
        parts = [place.get(p, p) for p in (row.official_part, films.loc[row.copy_of, "official_part"])]
        if "" not in parts and parts[0] != parts[1]:
            expected[parts[0]].add(row.image_id)
            expected[parts[1]].add(row.copy_of)
    assert found.counts["leaked"] == {part: len(ids) for part, ids in expected.items()}
    assert sum(found.counts["leaked"].values()) > 0


def test_identical_truncated_files_are_a_group(fracatlas, films):
    cut = films[films["defect"].str.startswith("truncated")]
    first, second = (fracatlas / path for path in cut["path"].iloc[:2])
    second.write_bytes(first.read_bytes())
    counts = audit.run(datasets.load("fracatlas", root=fracatlas), "fractured").counts
    assert counts["pixel_duplicate_groups_truncated"] == 1
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_shortcut_area_is_that_of_scikit_learn(found, phantom):
    atlas = datasets.load("fracatlas", root=phantom)
    ids = atlas.usable["image_id"]
    y = ids.map(atlas.label("fractured"))
    labelled = found.shortcuts[found.shortcuts["trait"].isin(["hardware", "multiscan"])]
    assert len(labelled)
    for row in labelled.itertuples():
        on = ids.map(atlas.label(row.trait))
        assert row.value == pytest.approx(roc_auc_score(y, on))
        assert row.low <= row.value <= row.high
        assert row.positive == int((y * on).sum()) and row.images == on.sum()


def test_worst_pairs_come_first(found):
    first, second = audit.pairs(found, 1)[0]
    assert {first["y"], second["y"]} == {0, 1} and first["near"] == second["near"]
    assert len(audit.pairs(found, 99)) == found.counts["near_duplicate_groups"]


def test_knees_of_one_patient_are_no_copies(phantom):
    counts = audit.run(datasets.load("kneekl", root=phantom), "kl").counts
    assert counts["crossing_groups"] == 0 and counts["near_duplicate_groups"] == 0
