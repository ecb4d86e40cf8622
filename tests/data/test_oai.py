"""The OAI reader: equal to the phantom's truth, knows the tables' spellings, and bad lines or films cost themselves."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ortholib.data.sets.oai import read
from ortholib.errors import OrthoError
from ortholib.phantom.oai import FILM, READINGS, write_oai

FILMS, SEED = 9, 9
LABELS = ("kl", "os", "jsn", "sclerosis", "xrosfm", "xrosfl", "xrostm", "xrostl", "xrjsm", "xrjsl")
LABELS += ("xrscfm", "xrscfl", "xrsctm", "xrsctl")
USUAL = ("not graded in", "series of radiographs without a reading", "read in several projects")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """Read only for the tests: the phantom and its truth, indexed by `<image_id>/<side>`."""
    root = tmp_path_factory.mktemp("oai") / "OAI"
    root.mkdir()
    truth = write_oai(root, SEED, FILMS, lambda function, tasks: [function(task) for task in tasks])
    return root, truth.set_index(truth["image_id"] + "/" + truth["side"], drop=False)


@pytest.fixture(scope="module")
def sound(written):
    return read(written[0])


@pytest.fixture
def oai(written, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(written[0], tmp_path / "OAI"))


@pytest.fixture
def film(written) -> pd.Series:
    """A film with one reading a knee: its right knee in the truth."""
    truth = written[1]
    return truth[truth["other_kl"].isna() & (truth["visit"] == "V00") & truth["os"].notna()].iloc[0]


def table(root: Path, visit: str = "00") -> Path:
    return next((root / READINGS).glob(f"kxr_sq_bu{visit}.*"))


def change(path: Path, key: str, edit) -> None:
    """Rewrite the lines of a table that hold `key` by `edit` (a function of the cells of a `|` line)."""
    lines = path.read_text().splitlines()
    assert any(key in line for line in lines[1:])
    path.write_text("\n".join("|".join(edit(s.split("|"))) if key in s else s for s in lines) + "\n")


def unusual(found) -> list[str]:
    """The notes but those that the sound phantom has, whose counts may differ."""
    return [note for note in found.notes if not any(usual in note for usual in USUAL)]


def assert_kept(damaged, sound, lost: set[str] = frozenset(), *, unreadable: bool = False) -> None:
    """All films and labels but those of the films `lost` are as before; these are gone, or listed as unreadable."""
    columns = [c for c in sound.images.columns if c != "path"]
    before, now = (s.images[columns].set_index("image_id").sort_index() for s in (sound, damaged))
    pd.testing.assert_frame_equal(now.drop(lost & set(now.index)), before.drop(lost))
    assert lost & set(now.index) == (lost if unreadable else set()) and lost.isdisjoint(damaged.usable["image_id"])
    for name in LABELS:
        old, new = sound.label(name), damaged.label(name)
        old = old[[unit for unit in old.index if unreadable or unit.split("/")[0] not in lost]]
        pd.testing.assert_series_equal(new.sort_index(), old.sort_index())


def test_equals_the_truth(written, sound):
    _, truth = written
    images = sound.images.set_index("image_id")
    films = truth[truth["side"] == "R"].set_index("image_id").loc[images.index]
    assert len(images) == FILMS and images["readable"].all() and set(images["plane"]) == {"bilateral"}
    assert (images["path"] == films["path"]).all() and (images["group"] == films["patient"]).all()
    assert (images["exam"] == films["patient"] + "-" + films["visit"]).all()
    assert (images["width"] == 2 * images["height"]).all() and set(images["modality"]) == {"radiograph"}
    assert set(images["view"]) == {"frontal"} and set(images["official_part"]) == {""}
    for name in LABELS:
        found = sound.label(name)
        assert set(found.index) == set(truth.index)
        pd.testing.assert_series_equal(found, truth[name].loc[found.index], check_names=False)
    assert sound.grouped_by == "patient" and sound.boxes.empty and images["group"].nunique() == FILMS - FILMS // 3
    assert sound.version == "image releases 0.C.2, 0.E.1, 3.C.2, 3.E.1"
    twice, blank = truth["other_kl"].notna(), int(truth["os"].isna().sum())
    differ = int((truth["other_kl"] != truth["kl"])[twice].sum())
    assert 0 < blank < len(truth) and 0 < differ < twice.sum()
    assert sound.notes == [
        "1 series of radiographs without a reading (other body parts, or not read); left out",
        f"{twice.sum()} knees were read in several projects, {differ} of them with different KL grades; project 15 "
        "counts, else the lowest number",
        f"os: not graded in {blank} of {len(truth)} knees, which is not grade 0: they stay NaN",
        f"sclerosis: not graded in {blank} of {len(truth)} knees, which is not grade 0: they stay NaN",
    ]


SPELLINGS = {
    "commas": lambda text: text.replace("|", ","),
    "tabs": lambda text: text.replace("|", "\t"),
    "semicolons": lambda text: text.replace("|", ";"),
    "quoted": lambda text: "\n".join("|".join(f'"{cell}"' for cell in line.split("|")) for line in text.splitlines()),
    "byte order mark, small letters": lambda text: "\ufeff" + text.lower(),
    "blank lines": lambda text: "\n\n".join(text.splitlines()) + "\n\n",
    "decimals of floats": lambda text: text.replace("|15|", "|15.0|").replace("|42|", "|42.0|").replace("|0|", "|0.0|"),
    "missing codes": lambda text: text.replace("| |", "|.A: Not Expected|").replace("| |", "|.|"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_spellings_of_a_table(oai, sound, spelling):
    path = table(oai)
    path.write_text(spelling(path.read_text()))
    found = read(oai)
    assert_kept(found, sound)
    assert found.notes == sound.notes


def test_a_table_that_stands_there_twice_counts_once(oai, sound):
    shutil.copy(table(oai), oai / "KXR_SQ_BU00.CSV")
    found = read(oai)
    assert_kept(found, sound)
    assert found.notes == sound.notes


@pytest.mark.parametrize(
    ("cell", "value", "note"),
    [
        ("2.7", 2.0, "1 grades with decimals (change within a grade), which are cut off"),
        ("", np.nan, ""),
        (".: Missing Form/Incomplete Workbook", np.nan, ""),
        ("4", np.nan, "V00XRJSM = '4', expected a grade 0 to 3; taken as missing"),
        ("-1", np.nan, "V00XRJSM = '-1', expected a grade 0 to 3; taken as missing"),
        ("many", np.nan, "V00XRJSM = 'many', expected a grade 0 to 3; taken as missing"),
    ],
)
def test_one_odd_grade(oai, sound, film, cell, value, note):
    column = table(oai).read_text().splitlines()[0].split("|").index("V00XRJSM")
    key = f"{film['patient']}|1|15"
    change(table(oai), key, lambda cells: [*cells[:column], cell, *cells[column + 1 :]])
    found, unit = read(oai), f"{film['image_id']}/R"
    pd.testing.assert_series_equal(found.label("xrjsm").drop(unit), sound.label("xrjsm").drop(unit))
    assert found.label("kl").equals(sound.label("kl"))
    np.testing.assert_equal(found.label("xrjsm")[unit], value)
    lateral = film["xrjsl"] >= 1
    np.testing.assert_equal(found.label("jsn")[unit], 1.0 if lateral or value == 2 else np.nan)
    notes = [n for n in unusual(found) if not n.startswith("jsn: ")]
    assert len(notes) == bool(note) and all(n.startswith("kxr_sq_bu00.txt") and n.endswith(note) for n in notes)


@pytest.mark.parametrize(
    ("edit", "note"),
    [
        (lambda cells: cells[:4], "4 cells, expected 16; left out"),
        (lambda cells: [cells[0], "3", *cells[2:]], "SIDE = '3', expected 1 (right) or 2 (left); left out"),
        (lambda cells: ["?", *cells[1:]], "ID = '?', expected a number; left out"),
        (lambda cells: [*cells[:2], "fifteen", *cells[3:]], "READPRJ = 'fifteen', expected the number of a reading"),
        (lambda cells: [*cells[:4], "T", *cells[5:]], "1 lines without a barcode, which ties a reading to its film"),
        (lambda cells: ['"' + cells[0], *cells[1:]], "1 cells, expected 16; left out"),  # a quote is never closed
    ],
)
def test_one_bad_line_costs_one_knee(oai, sound, film, edit, note):
    change(table(oai), f"{film['patient']}|1|15", edit)
    found, unit = read(oai), f"{film['image_id']}/R"
    assert found.images.equals(sound.images)
    for name in LABELS:
        assert unit not in found.label(name).index
        assert found.label(name).equals(sound.label(name).drop(unit))
    assert len(unusual(found)) == 1 and note in unusual(found)[0] and unusual(found)[0].startswith("kxr_sq_bu00.txt")


def test_which_of_several_readings(oai, sound, film):
    def grades(*readings: tuple[str, str]) -> float:
        """KL of the film's right knee when it has these (project, grade) readings, in this order."""
        lines = table(oai).read_text().splitlines()
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{film['patient']}|1|"))
        cells = lines[place].split("|")
        new = ["|".join([*cells[:2], project, *cells[3:5], kl, *cells[6:]]) for project, kl in readings]
        kept = [line for line in lines if not line.startswith(f"{film['patient']}|1|")]
        table(oai).write_text("\n".join([*kept, *new]) + "\n")
        found = read(oai)
        assert unusual(found) == []
        assert found.label("kl").drop(f"{film['image_id']}/R").equals(sound.label("kl").drop(f"{film['image_id']}/R"))
        return found.label("kl")[f"{film['image_id']}/R"]

    assert grades(("37", "1"), ("15", "2")) == 2
    assert grades(("15", "2"), ("3", "1")) == 2
    assert grades(("55", "1"), ("42", "3")) == 3
    assert grades(("38", "1"), ("42", "3")) == 3  # 42 is project 37
    assert grades(("15", " "), ("37", "4")) == 4  # a reading without a grade is none


def test_readings_that_contradict_each_other_are_both_left_out(oai, sound, film):
    lines = table(oai).read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith(f"{film['patient']}|1|15"))
    cells = lines[place].split("|")
    cells[5] = str((int(cells[5]) + 1) % 5)
    table(oai).write_text("\n".join([*lines, "|".join(cells)]) + "\n")
    found = read(oai)
    assert found.images.equals(sound.images)
    assert found.label("kl").equals(sound.label("kl").drop(f"{film['image_id']}/R"))
    assert unusual(found) == [
        f"kxr_sq_bu00.txt, line {place + 1} and kxr_sq_bu00.txt, line {len(lines) + 1}: one knee and project, "
        "different grades; all left out"
    ]


def test_table_without_some_columns(oai, sound, written):
    names = table(oai).read_text().splitlines()[0].split("|")
    keep = [i for i, name in enumerate(names) if "XRSC" not in name]
    lines = [line.split("|") for line in table(oai).read_text().splitlines()]
    table(oai).write_text("\n".join("|".join(cells[i] for i in keep) for cells in lines))
    found = read(oai)
    later = written[1].index[written[1]["visit"] == "V03"]
    assert found.label("xrscfm").drop(later).isna().all() and found.label("sclerosis").drop(later).isna().all()
    for name in LABELS[:3]:
        assert found.label(name).equals(sound.label(name))
    assert unusual(found) == [
        "kxr_sq_bu00.txt: lacks the columns V00XRSCFM, V00XRSCFL, V00XRSCTM, V00XRSCTL; those grades are missing"
    ]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"", "kxr_sq_bu00.txt: no readable table ("),
        (b"\x00\xff\xd8\x00" * 50, "kxr_sq_bu00.txt: lacks the columns ID, SIDE, READPRJ, V00BARCDBU, V00XRKL; it has"),
        (
            b"ID|SIDE\n1|1\n",
            "kxr_sq_bu00.txt: lacks the columns READPRJ, V00BARCDBU, V00XRKL; it has ID, SIDE; left out",
        ),
    ],
)
def test_one_bad_table_costs_its_visit(oai, sound, written, content, note):
    table(oai).write_bytes(content)
    found = read(oai)
    baseline = set(written[1].loc[written[1]["visit"] == "V00", "image_id"])
    assert_kept(found, sound, baseline)
    assert sum(n.startswith(note) for n in found.notes) == 1
    assert sum("a film of knees without a reading; left out" in n for n in found.notes) == len(baseline)


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("not a film")


def link_out(path: Path) -> None:
    away = path.parents[6] / "away"
    path.rename(away)
    path.symlink_to(away)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lose, "missing file"),
        (cut, "truncated"),
        (empty, "empty file (0 bytes)"),
        (text, "not an image"),
        (link_out, "a link out of the data root"),
    ],
)
def test_one_bad_film_is_listed_and_keeps_its_labels(oai, sound, film, damage, reason):
    damage(oai / film["path"])
    found = read(oai)
    assert_kept(found, sound, {film["image_id"]}, unreadable=True)
    assert found.images.set_index("image_id").loc[film["image_id"], "reason"] == reason
    name = film["image_id"]
    lost = f"V00: 1 films were read but are not on disk ({name}); listed as unreadable"
    assert unusual(found) == ([lost] if damage is lose else [])


def test_film_of_two_files_is_left_out(oai, sound, film):
    path = oai / film["path"]
    shutil.copy(path, path.with_name("002"))
    found = read(oai)
    assert_kept(found, sound, {film["image_id"]})
    assert len(unusual(found)) == 1 and unusual(found)[0].startswith(f"{film['image_id']}: stands for 2 files")


def test_layouts_of_the_visits(oai, sound):
    (oai / "24m" / "24m").mkdir()  # some copies nest them
    for name in ("3.C.2", "3.E.1"):
        (oai / "24m" / name).rename(oai / "24m" / "24m" / name)
    for release in (oai / "00m").glob("0.*"):  # and some have no folder of the visit
        release.rename(oai / release.name)
    found = read(oai)
    assert_kept(found, sound)
    assert found.notes == sound.notes


@pytest.mark.parametrize("damage", ["absent", "empty", "other", "AccessionNumber"])
def test_without_a_usable_index(oai, sound, damage):
    for path in oai.glob("*/contents.csv"):
        if damage == "absent":
            path.unlink()
        elif damage == "AccessionNumber":  # as the index of some visits calls the barcode
            path.write_text(path.read_text().replace('"Barcode"', '"AccessionNumber"'))
        else:
            path.write_text("" if damage == "empty" else "a,b\n1,2\n")
    found = read(oai)
    assert_kept(found, sound)
    assert len(unusual(found)) == (2 if damage in ("empty", "other") else 0)
    assert all("contents.csv: no index with the columns Folder and Series" in note for note in unusual(found))


def test_index_that_contradicts_a_reading_and_film_that_was_not_read(oai, sound, film, written):
    index = oai / "00m" / "contents.csv"
    lines = index.read_text().splitlines()
    changed = [line.replace(FILM, "AP Pelvis") if film["image_id"][-8:] in line else line for line in lines]
    index.write_text("\n".join(changed))
    truth = written[1]
    other = truth[(truth["visit"] == "V00") & (truth["patient"] != film["patient"])].iloc[0]
    change(table(oai), other["barcode"], lambda cells: ["0000001", *cells[1:4], "016600999999", *cells[5:]])
    found = read(oai)
    kept = found.images[found.images["group"] != "0000001"]
    assert set(kept["image_id"]) == set(sound.images["image_id"]) - {film["image_id"], other["image_id"]}
    assert set(found.images["image_id"]) - set(kept["image_id"]) == {"0000001-V00-00999999"}
    assert set(unusual(found)) == {
        f"{film['image_id']}: contents.csv calls it 'AP Pelvis', its reading is of knees; left out",
        f"{other['image_id']}: a film of knees without a reading; left out",
        "V00: 1 films were read but are not on disk (0000001-V00-00999999); listed as unreadable",
    }


def test_side_named_by_the_index(oai, sound, film):
    index = oai / "00m" / "contents.csv"
    lines = index.read_text().splitlines()
    new = "PA Fixed Flexion Left Knee"
    index.write_text("\n".join(s.replace(FILM, new) if film["image_id"][-8:] in s else s for s in lines))
    planes = read(oai).images.set_index("image_id")["plane"]
    assert planes[film["image_id"]] == "L" and set(planes.drop(film["image_id"])) == {"bilateral"}


def test_reading_of_a_film_that_is_another_patients(oai, sound, film):
    change(table(oai), f"{film['patient']}|1|15", lambda cells: ["9999999", *cells[1:]])
    found = read(oai)
    assert found.images.equals(sound.images)
    assert found.label("kl").equals(sound.label("kl").drop(f"{film['image_id']}/R"))
    series = film["image_id"][-8:]
    assert len(unusual(found)) == 1 and unusual(found)[0].endswith(
        f"its barcode names series {series} of 9999999, V00, which on disk is {film['image_id']}; left out"
    )


def test_packed_series_links_and_visits_without_images(oai, sound, film, tmp_path, written):
    folder = (oai / film["path"]).parent
    shutil.rmtree(folder)
    folder.with_name(folder.name + ".tar.gz").write_bytes(b"packed")
    shutil.move(oai / "24m", tmp_path / "24m")
    (oai / "24m").symlink_to(tmp_path / "24m")
    found = read(oai)
    later = set(written[1].loc[written[1]["visit"] == "V03", "image_id"])
    kept = found.images[found.images["readable"]]["image_id"]
    assert set(kept) == set(sound.images["image_id"]) - later - {film["image_id"]}
    where = folder.relative_to(oai).as_posix()
    assert set(unusual(found)) == {
        f"1 series are still packed ({where}.tar.gz, ...); unpack them where they lie",
        "24m: a link to a folder; not followed",
        "V03: readings, but no image of that visit on disk; left out",
        f"V00: 1 films were read but are not on disk ({film['image_id']}); listed as unreadable",
    }
    assert found.version == "image releases 0.C.2, 0.E.1"


def test_mri_series_are_not_entered(oai, sound):
    series = next(oai.glob("*/*/*/*/1*"))
    (series / "kxr_sq_bu06.txt").write_text("ID|SIDE\n")
    assert read(oai).notes == sound.notes


def test_wrong_or_empty_root(written, oai, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OrthoError, match=r"empty is not the OAI as released: it holds nothing; expected a folder"):
        read(tmp_path / "empty")
    (tmp_path / "kneekl" / "train" / "0").mkdir(parents=True)
    with pytest.raises(OrthoError, match=r"kneekl is not the OAI as released: it holds train; .*--root"):
        read(tmp_path / "kneekl")
    (tmp_path / "kneekl" / "00m").symlink_to(written[0] / "00m")
    with pytest.raises(OrthoError, match=r"0\.C\.2 somewhere below it \(00m: a link to a folder; not followed\)"):
        read(tmp_path / "kneekl")
    shutil.copytree(written[0] / "00m", tmp_path / "images" / "00m")
    with pytest.raises(OrthoError, match=r"it holds 00m; expected a table kxr_sq_bu<visit>\.txt some"):
        read(tmp_path / "images")
    one = table(oai, "03")
    one.unlink()
    shutil.rmtree(oai / "24m")
    whole = table(oai).read_text()
    table(oai).write_text(whole.splitlines()[0])
    with pytest.raises(OrthoError, match=r"its tables \(.*kxr_sq_bu00\.txt\) hold no readable line; expected the col"):
        read(oai)
    table(oai).write_text(whole.replace("|01660", "|01661"))
    with pytest.raises(OrthoError, match=r"no reading belongs to a film on disk\. The tables name \d{7}-V00-1\d{7}, "):
        read(oai)


def test_films_that_are_all_gone_are_listed(oai, sound):
    for path in oai.rglob("001"):
        path.unlink()
    found = read(oai)
    assert set(found.images["image_id"]) == set(sound.images["image_id"]) and found.usable.empty
    assert set(found.images["reason"]) == {"missing file"} and found.label("kl").sort_index().equals(
        sound.label("kl").sort_index()
    )


def test_reading_leaves_the_root_as_it_is(oai, tree):
    before = tree(oai)
    read(oai)
    assert tree(oai) == before and os.access(oai, os.R_OK)
