"""Splits: no group is cut, shares and strata are met, label fractions nest, and the hash says what the split says."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortholib.data import datasets, split
from ortholib.data.table import ImageSet, box_table, long_labels
from ortholib.errors import OrthoError, UsageError

NAMES_OF_RANDOM = ("random", "random without copies")


def image_set(group, y, body_part="hand", width=400, part="", grouped_by="copies", readable=True) -> ImageSet:
    """A set without files; every argument is one value or one an image."""
    n = len(group)
    ids = [f"i{i:04d}" for i in range(n)]
    images = pd.DataFrame({"image_id": ids, "path": ids, "frame": 0, "exam": ids, "plane": "", "group": group})
    images = images.assign(official_part=part, body_part=body_part, view="", modality="radiograph", width=width)
    images = images.assign(height=300, readable=readable, reason="", doubt="").astype({"group": str})
    labels = long_labels(pd.DataFrame({"y": np.asarray(y, float)}, index=ids))
    return ImageSet("made", "", Path("/made"), images, labels, box_table(), [], grouped_by)


def singles(n: int = 800) -> ImageSet:
    """Every image its own group; two labels, two regions and two sizes, unevenly."""
    i = np.arange(n)
    return image_set(i, i % 5 == 0, np.where(i % 3, "hand", "hip"), np.where(i % 7, 400, 2000))


def assert_honest(made: split.Split) -> None:
    assert made.cut_groups == 0
    assert (made.images.groupby("group")["part"].nunique() == 1).all()
    assert made.images["image_id"].is_unique and made.images["part"].isin(split.SHARES).all()


def assert_nested(made: split.Split) -> None:
    train = made.images[made.images["part"] == "train"]
    assert set(train["fraction"]) <= set(split.FRACTIONS)
    assert (train.groupby("group")["fraction"].nunique() == 1).all()  # so each fraction holds whole groups, and nests
    assert (made.images.loc[made.images["part"] != "train", "fraction"] == 1).all()
    largest = train["group"].value_counts().max()
    for fraction in split.FRACTIONS:
        assert abs((train["fraction"] <= fraction).sum() - fraction * len(train)) <= 2 * largest


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=40, max_size=120),
    positives=st.floats(0.1, 0.9),
    seed=st.integers(0, 10**6),
)
def test_clean_never_cuts_a_group_and_meets_its_shares(sizes, positives, seed):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    y = (rng.random(len(sizes)) < positives)[group]
    order = rng.permutation(len(group))  # members of a group lie anywhere in the table
    made = split.make(image_set(group[order], y[order], rng.choice(["hand", "leg"], len(group))), "clean", "y", seed)
    assert_honest(made)
    assert_nested(made)
    assert len(made.images) == len(group) and made.excluded == 0
    for part, share in split.SHARES.items():
        assert abs((made.images["part"] == part).sum() - share * len(group)) <= max(sizes)


def test_strata_are_balanced():
    made = split.make(singles(), "clean", "y")
    images = made.images.merge(singles().images[["image_id", "body_part", "width"]], on="image_id")
    y = images["image_id"].map(singles().label("y"))
    strata = images.groupby([y, "body_part", "width"])
    assert len(strata) == 8
    for _, rows in strata:
        for part, share in split.SHARES.items():
            assert abs((rows["part"] == part).sum() - share * len(rows)) <= 2
    counts = images["part"].value_counts()
    assert counts.to_dict() == {"train": 560, "test": 160, "val": 80}


def test_fractions_are_stratified_too():
    made = split.make(singles(), "clean", "y")
    train = made.images[made.images["part"] == "train"]
    y = train["image_id"].map(singles().label("y"))
    for fraction in split.FRACTIONS:
        kept = y[train["fraction"] <= fraction]
        assert len(kept) == round(560 * fraction) and abs(kept.sum() - fraction * y.sum()) <= 2


def test_conflicting_copies_are_excluded_with_all_their_images():
    group = [*range(60), 60, 60, 60, 61, 61]
    y = [i % 2 for i in range(60)] + [0, 1, 0, 1, 1]
    made = split.make(image_set(group, y), "clean", "y")
    assert made.excluded == 3 and "60" not in set(made.images["group"]) and "61" in set(made.images["group"])
    assert len(made.images) == 62
    random = split.make(image_set(group, y), "random", "y")
    assert random.excluded == 0 and len(random.images) == 65


def test_knees_of_a_patient_may_differ():
    group = np.arange(120) // 2
    made = split.make(image_set(group, np.arange(120) % 3, grouped_by="patient"), "clean", "y")
    assert made.excluded == 0 and len(made.images) == 120
    assert_honest(made)


def test_random_says_how_many_groups_it_cuts():
    group = np.arange(300) // 3
    made = split.make(image_set(group, np.arange(300) % 2), "random", "y")
    cut = (made.images.groupby("group")["part"].nunique() > 1).sum()
    assert made.cut_groups == cut > 30
    assert made.images["part"].value_counts().to_dict() == {"train": 210, "test": 60, "val": 30}


def test_official_parts_are_kept_and_cuts_are_counted():
    parts = ["train"] * 20 + ["val"] * 5 + ["test"] * 5 + [""] * 10
    group = list(range(40))
    group[20] = 0  # one validation image is a copy of a training image
    whole = image_set(group, [i % 2 for i in range(40)], part=parts)
    made = split.make(whole, "official", "y")
    truth = whole.images.set_index("image_id")["official_part"]
    assert (made.images["part"].to_numpy() == truth[made.images["image_id"]].to_numpy()).all()
    assert len(made.images) == 30 and made.cut_groups == 1
    assert_nested(made)


def test_unreadable_and_unlabelled_images_are_in_no_part():
    y = np.array([i % 2 for i in range(100)], float)
    y[7] = np.nan
    made = split.make(image_set(range(100), y, readable=np.arange(100) != 3), "clean", "y")
    assert set(singles(100).images["image_id"]) - set(made.images["image_id"]) == {"i0003", "i0007"}


def test_hash_says_what_the_split_says():
    made = split.make(singles(), "clean", "y")
    # changes with numpy's random streams or with the dealing: then every recorded clean split has changed too
    assert made.hash == "538b2959bcdc3513"
    assert split.make(singles(), "clean", "y").hash == made.hash
    rows = singles()
    shuffled = rows.images.sample(frac=1, random_state=1).reset_index(drop=True)
    again = ImageSet(rows.name, "other version", Path("/elsewhere"), shuffled, rows.labels, rows.boxes)
    assert split.make(again, "clean", "y").hash == made.hash
    others = [split.make(singles(), "clean", "y", seed=1), split.make(singles(), "random", "y")]
    others.append(split.make(singles(799), "clean", "y"))
    moved = made.images.assign(part=made.images["part"].where(made.images.index != 5, "val"))
    assert moved["part"][5] != made.images["part"][5]
    others.append(split.Split("made", "clean", 0, moved, 0, 0))
    smaller = made.images.assign(fraction=made.images["fraction"].where(made.images["part"] != "train", 0.5))
    others.append(split.Split("made", "clean", 0, smaller, 0, 0))
    assert len({made.hash, *(other.hash for other in others)}) == 6


def test_other_seed_deals_otherwise_with_the_same_shares():
    one, two = (split.make(singles(), "clean", "y", seed) for seed in (0, 1))
    assert (one.images["part"] != two.images["part"]).sum() > 200
    assert one.images["part"].value_counts().equals(two.images["part"].value_counts())


def test_unknown_split_and_unknown_label():
    with pytest.raises(UsageError, match="'holdout' is no split; known: official, clean, random"):
        split.make(singles(), "holdout", "y")
    with pytest.raises(OrthoError, match="made has no label 'kl'; it has: y"):
        split.make(singles(), "clean", "kl")


def test_parts_that_stay_empty_are_an_error():
    with pytest.raises(OrthoError, match=r"official split of made has no train, val, test image with label 'y' \(0"):
        split.make(singles(), "official", "y")
    with pytest.raises(OrthoError, match=r"clean split of made has no val.* \(3 images in all\).*data check made"):
        split.make(singles(3), "clean", "y")


def test_phantom_films(phantom, films):
    whole = datasets.load("fracatlas", root=phantom)
    made = split.make(whole, "clean", "fractured")
    assert_honest(made)
    assert_nested(made)
    copy = films[films["defect"] == "reencoded_opposite_label"].iloc[0]
    assert made.excluded == 2 and len(made.images) == 80 - 3 - 2  # truncated, opposite labels
    assert {copy["image_id"], copy["copy_of"]}.isdisjoint(made.images["image_id"])
    part = made.images.set_index("image_id")["part"]
    for film in films[films["defect"].isin(["identical", "enlarged"])].itertuples():
        assert part[film.image_id] == part[film.copy_of]
    official = split.make(whole, "official", "fractured")
    assert official.cut_groups == 1  # the copy that crosses the border of train and valid


def test_phantom_knees(phantom):
    whole = datasets.load("kneekl", root=phantom)
    official = split.make(whole, "official", "kl")
    assert official.images["part"].value_counts().to_dict() == {"train": 26, "test": 10, "val": 4}
    assert_honest(official)
    clean = split.make(whole, "clean", "kl")
    assert_honest(clean)
    assert len(clean.images) == 40


@pytest.mark.parametrize("name", ["clean", "official", "random"])
def test_flow_adds_up(phantom, name):
    whole = datasets.load("fracatlas", root=phantom)
    made = split.make(whole, name, "fractured")
    steps = split.flow(whole, made, "fractured")
    for step, following in pairwise(steps):
        assert step["n"] - sum(n for _, n in step["excluded"]) == following["n"]
    assert steps[0]["n"] == 80 and dict(steps[0]["excluded"]) == {"truncated": 3}
    assert sum(part[1] for part in steps[-1]["parts"]) == steps[-1]["n"] == len(made.images)


def test_saved_split_says_the_same_and_its_name_holds_the_hash(tmp_path):
    made = split.make(image_set(np.arange(300) // 3, np.arange(300) % 300 < 99), "random", "y", seed=3)
    file = made.save(tmp_path / "splits")
    assert file.name == f"made-random-3-{made.hash}.csv" and made.save(tmp_path / "splits") == file
    again = pd.read_csv(file, dtype={"group": str})
    pd.testing.assert_frame_equal(again, made.images, check_dtype=False)


def test_random_without_copies_keeps_the_same_parts_less_the_copies_in_training():
    rng = np.random.default_rng(0)
    group = np.concatenate([np.arange(300), rng.integers(0, 300, 100)])
    images = image_set(group, np.arange(400) % 4 == 0)
    left, taken = (split.make(images, name, "y").images.set_index("image_id") for name in NAMES_OF_RANDOM)
    removed = left.index.difference(taken.index)
    elsewhere = set(left.loc[left["part"] != "train", "group"])
    assert (
        len(removed) and (left.loc[removed, "part"] == "train").all() and set(left.loc[removed, "group"]) <= elsewhere
    )
    assert not set(taken.loc[taken["part"] == "train", "group"]) & elsewhere
    assert (taken["part"] == left.loc[taken.index, "part"]).all()
    assert split.make(images, "random without copies", "y").excluded == len(removed)


def test_an_official_split_without_validation_gets_one_by_group():
    group = np.repeat(np.arange(200), 3)
    part = np.where(group < 160, "train", "test")
    images = image_set(group, group % 4 == 0, part=part, grouped_by="patient")
    made = split.make(images, "official", "y")
    assert_honest(made)
    of_image = made.images.set_index("image_id")["part"]
    assert (of_image[part == "test"] == "test").all() and not (of_image[part == "train"] == "test").any()
    counts = of_image.value_counts()
    assert counts["val"] == pytest.approx(480 / 8, abs=3) and counts["test"] == 120
