"""The OAI reader: equal to the phantom's truth, knows the tables' spellings, and bad lines cost only themselves."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from trees import assert_kept

from ortholib.data.sets.oai import read
from ortholib.errors import OrthoError
from ortholib.phantom.oai import FILM, READINGS

SET, FILMS = "oai", 9
LABELS = ("kl", "os", "jsn", "sclerosis", "xrosfm", "xrosfl", "xrostm", "xrostl", "xrjsm", "xrjsl")
LABELS += ("xrscfm", "xrscfl", "xrsctm", "xrsctl")
USUAL = ("not graded in", "series of radiographs without a reading", "read in several projects")


@pytest.fixture
def truth(written) -> pd.DataFrame:
    """Indexed by `<image_id>/<side>`."""
    truth = written(SET).truth
    return truth.set_index(truth["image_id"] + "/" + truth["side"], drop=False)


@pytest.fixture
def film(truth) -> pd.Series:
    """A film with one reading a knee: its right knee in the truth."""
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


def test_equals_the_truth(whole, truth):
    images = whole.images.set_index("image_id")
    films = truth[truth["side"] == "R"].set_index("image_id").loc[images.index]
    assert len(images) == FILMS and images["readable"].all() and set(images["plane"]) == {"bilateral"}
    assert (images["path"] == films["path"]).all() and (images["group"] == films["patient"]).all()
    assert (images["exam"] == films["patient"] + "-" + films["visit"]).all()
    assert (images["width"] == 2 * images["height"]).all() and set(images["modality"]) == {"radiograph"}
    assert set(images["view"]) == {"frontal"} and set(images["official_part"]) == {""}
    for name in LABELS:
        found = whole.label(name)
        assert set(found.index) == set(truth.index)
        pd.testing.assert_series_equal(found, truth[name].loc[found.index], check_names=False)
    assert whole.grouped_by == "patient" and whole.boxes.empty and images["group"].nunique() == FILMS - FILMS // 3
    assert whole.version == "image releases 0.C.2, 0.E.1, 3.C.2, 3.E.1"
    twice, blank = truth["other_kl"].notna(), int(truth["os"].isna().sum())
    differ = int((truth["other_kl"] != truth["kl"])[twice].sum())
    assert 0 < blank < len(truth) and 0 < differ < twice.sum()
    assert whole.notes == [
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
def test_spellings_of_a_table(root, whole, spelling):
    path = table(root)
    path.write_text(spelling(path.read_text()))
    found = read(root)
    assert_kept(found, whole)
    assert found.notes == whole.notes


def test_a_table_that_stands_there_twice_counts_once(root, whole):
    shutil.copy(table(root), root / "KXR_SQ_BU00.CSV")
    found = read(root)
    assert_kept(found, whole)
    assert found.notes == whole.notes


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
def test_one_odd_grade(root, whole, film, cell, value, note):
    column = table(root).read_text().splitlines()[0].split("|").index("V00XRJSM")
    key = f"{film['patient']}|1|15"
    change(table(root), key, lambda cells: [*cells[:column], cell, *cells[column + 1 :]])
    found, unit = read(root), f"{film['image_id']}/R"
    pd.testing.assert_series_equal(found.label("xrjsm").drop(unit), whole.label("xrjsm").drop(unit))
    assert found.label("kl").equals(whole.label("kl"))
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
def test_one_bad_line_costs_one_knee(root, whole, film, edit, note):
    change(table(root), f"{film['patient']}|1|15", edit)
    found, unit = read(root), f"{film['image_id']}/R"
    assert found.images.equals(whole.images)
    for name in LABELS:
        assert unit not in found.label(name).index
        assert found.label(name).equals(whole.label(name).drop(unit))
    assert len(unusual(found)) == 1 and note in unusual(found)[0] and unusual(found)[0].startswith("kxr_sq_bu00.txt")


def test_which_of_several_readings(root, whole, film):
    def grades(*readings: tuple[str, str]) -> float:
        """KL of the film's right knee when it has these (project, grade) readings, in this order."""
        lines = table(root).read_text().splitlines()
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{film['patient']}|1|"))
        cells = lines[place].split("|")
        new = ["|".join([*cells[:2], project, *cells[3:5], kl, *cells[6:]]) for project, kl in readings]
        kept = [line for line in lines if not line.startswith(f"{film['patient']}|1|")]
        table(root).write_text("\n".join([*kept, *new]) + "\n")
        found = read(root)
        assert unusual(found) == []
        assert found.label("kl").drop(f"{film['image_id']}/R").equals(whole.label("kl").drop(f"{film['image_id']}/R"))
        return found.label("kl")[f"{film['image_id']}/R"]

    assert grades(("37", "1"), ("15", "2")) == 2
    assert grades(("15", "2"), ("3", "1")) == 2
    assert grades(("55", "1"), ("42", "3")) == 3
    assert grades(("38", "1"), ("42", "3")) == 3  # 42 is project 37
    assert grades(("15", " "), ("37", "4")) == 4  # a reading without a grade is none


def test_readings_that_contradict_each_other_are_both_left_out(root, whole, film):
    lines = table(root).read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith(f"{film['patient']}|1|15"))
    cells = lines[place].split("|")
    cells[5] = str((int(cells[5]) + 1) % 5)
    table(root).write_text("\n".join([*lines, "|".join(cells)]) + "\n")
    found = read(root)
    assert found.images.equals(whole.images)
    assert found.label("kl").equals(whole.label("kl").drop(f"{film['image_id']}/R"))
    assert unusual(found) == [
        f"kxr_sq_bu00.txt, line {place + 1} and kxr_sq_bu00.txt, line {len(lines) + 1}: one knee and project, "
        "different grades; all left out"
    ]


def test_table_without_some_columns(root, whole, truth):
    names = table(root).read_text().splitlines()[0].split("|")
    keep = [i for i, name in enumerate(names) if "XRSC" not in name]
    lines = [line.split("|") for line in table(root).read_text().splitlines()]
    table(root).write_text("\n".join("|".join(cells[i] for i in keep) for cells in lines))
    found = read(root)
    later = truth.index[truth["visit"] == "V03"]
    assert found.label("xrscfm").drop(later).isna().all() and found.label("sclerosis").drop(later).isna().all()
    for name in LABELS[:3]:
        assert found.label(name).equals(whole.label(name))
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
def test_one_bad_table_costs_its_visit(root, whole, truth, content, note):
    table(root).write_bytes(content)
    found = read(root)
    baseline = set(truth.loc[truth["visit"] == "V00", "image_id"])
    assert_kept(found, whole, baseline)
    assert sum(n.startswith(note) for n in found.notes) == 1
    assert sum("a film of knees without a reading; left out" in n for n in found.notes) == len(baseline)


def test_layouts_of_the_visits(root, whole):
    (root / "24m" / "24m").mkdir()  # some copies nest them
    for name in ("3.C.2", "3.E.1"):
        (root / "24m" / name).rename(root / "24m" / "24m" / name)
    for release in (root / "00m").glob("0.*"):  # and some have no folder of the visit
        release.rename(root / release.name)
    found = read(root)
    assert_kept(found, whole, moved=True)
    assert found.notes == whole.notes


@pytest.mark.parametrize("damage", ["absent", "empty", "other", "AccessionNumber"])
def test_without_a_usable_index(root, whole, damage):
    for path in root.glob("*/contents.csv"):
        if damage == "absent":
            path.unlink()
        elif damage == "AccessionNumber":  # as the index of some visits calls the barcode
            path.write_text(path.read_text().replace('"Barcode"', '"AccessionNumber"'))
        else:
            path.write_text("" if damage == "empty" else "a,b\n1,2\n")
    found = read(root)
    assert_kept(found, whole)
    assert len(unusual(found)) == (2 if damage in ("empty", "other") else 0)
    assert all("contents.csv: no index with the columns Folder and Series" in note for note in unusual(found))


def test_index_that_contradicts_a_reading_and_film_that_was_not_read(root, whole, film, truth):
    index = root / "00m" / "contents.csv"
    lines = index.read_text().splitlines()
    changed = [line.replace(FILM, "AP Pelvis") if film["image_id"][-8:] in line else line for line in lines]
    index.write_text("\n".join(changed))
    other = truth[(truth["visit"] == "V00") & (truth["patient"] != film["patient"])].iloc[0]
    change(table(root), other["barcode"], lambda cells: ["0000001", *cells[1:4], "016600999999", *cells[5:]])
    found = read(root)
    kept = found.images[found.images["group"] != "0000001"]
    assert set(kept["image_id"]) == set(whole.images["image_id"]) - {film["image_id"], other["image_id"]}
    assert set(found.images["image_id"]) - set(kept["image_id"]) == {"0000001-V00-00999999"}
    assert set(unusual(found)) == {
        f"{film['image_id']}: contents.csv calls it 'AP Pelvis', its reading is of knees; left out",
        f"{other['image_id']}: a film of knees without a reading; left out",
        "V00: 1 films were read but are not on disk (0000001-V00-00999999); listed as unreadable",
    }


def test_side_named_by_the_index(root, whole, film):
    index = root / "00m" / "contents.csv"
    lines = index.read_text().splitlines()
    new = "PA Fixed Flexion Left Knee"
    index.write_text("\n".join(s.replace(FILM, new) if film["image_id"][-8:] in s else s for s in lines))
    planes = read(root).images.set_index("image_id")["plane"]
    assert planes[film["image_id"]] == "L" and set(planes.drop(film["image_id"])) == {"bilateral"}


def test_reading_of_a_film_that_is_another_patients(root, whole, film):
    change(table(root), f"{film['patient']}|1|15", lambda cells: ["9999999", *cells[1:]])
    found = read(root)
    assert found.images.equals(whole.images)
    assert found.label("kl").equals(whole.label("kl").drop(f"{film['image_id']}/R"))
    series = film["image_id"][-8:]
    assert len(unusual(found)) == 1 and unusual(found)[0].endswith(
        f"its barcode names series {series} of 9999999, V00, which on disk is {film['image_id']}; left out"
    )


def test_packed_series_links_and_visits_without_images(root, whole, film, tmp_path, truth):
    folder = (root / film["path"]).parent
    shutil.rmtree(folder)
    folder.with_name(folder.name + ".tar.gz").write_bytes(b"packed")
    shutil.move(root / "24m", tmp_path / "24m")
    (root / "24m").symlink_to(tmp_path / "24m")
    found = read(root)
    later = set(truth.loc[truth["visit"] == "V03", "image_id"])
    kept = found.images[found.images["readable"]]["image_id"]
    assert set(kept) == set(whole.images["image_id"]) - later - {film["image_id"]}
    where = folder.relative_to(root).as_posix()
    assert set(unusual(found)) == {
        f"1 series are still packed ({where}.tar.gz, ...); unpack them where they lie",
        "24m: a link to a folder; not followed",
        "V03: readings, but no image of that visit on disk; left out",
        f"V00: 1 films were read but are not on disk ({film['image_id']}); listed as unreadable",
    }
    assert found.version == "image releases 0.C.2, 0.E.1"


def test_mri_series_are_not_entered(root, whole):
    series = next(root.glob("*/*/*/*/1*"))
    (series / "kxr_sq_bu06.txt").write_text("ID|SIDE\n")
    assert read(root).notes == whole.notes


def test_root_without_images_or_tables_or_a_reading(root, whole, tmp_path):
    (tmp_path / "kneekl" / "train").mkdir(parents=True)
    (tmp_path / "kneekl" / "00m").symlink_to(whole.root / "00m")
    with pytest.raises(OrthoError, match=r"0\.C\.2 somewhere below it \(00m: a link to a folder; not followed\)"):
        read(tmp_path / "kneekl")
    shutil.copytree(whole.root / "00m", tmp_path / "images" / "00m")
    with pytest.raises(OrthoError, match=r"it holds 00m; expected a table kxr_sq_bu<visit>\.txt some"):
        read(tmp_path / "images")
    one = table(root, "03")
    one.unlink()
    shutil.rmtree(root / "24m")
    whole = table(root).read_text()
    table(root).write_text(whole.splitlines()[0])
    with pytest.raises(OrthoError, match=r"its tables \(.*kxr_sq_bu00\.txt\) hold no readable line; expected the col"):
        read(root)
    table(root).write_text(whole.replace("|01660", "|01661"))
    with pytest.raises(OrthoError, match=r"no reading belongs to a film on disk\. The tables name \d{7}-V00-1\d{7}, "):
        read(root)


def test_films_that_are_all_gone_are_listed(root, whole):
    for path in root.rglob("001"):
        path.unlink()
    found = read(root)
    assert set(found.images["image_id"]) == set(whole.images["image_id"]) and found.usable.empty
    assert set(found.images["reason"]) == {"missing file"} and found.label("kl").sort_index().equals(
        whole.label("kl").sort_index()
    )
