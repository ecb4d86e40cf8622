"""The OAI phantom: bilateral knee films (PA, fixed flexion) as DICOM files, and the tables of their readings.

Folders and tables as released: `<months>m/<release>/<patient>/<date>/<series>/001`, a `contents.csv` for each visit,
and `kxr_sq_bu<visit>` with one line a knee and reading project. On a film the right knee lies on the left.
"""

import csv
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from ortholib.phantom import knee
from ortholib.phantom.dicom import write_dicom
from ortholib.phantom.render import expose

SIZE = 192  # pixels of the height; a film is twice as wide
TOP = 4095  # 12 bits
VISITS = {"V00": ("00m", 0, 2004), "V03": ("24m", 3, 2006)}  # folder, first number of the release, first year
COHORT = ("C.2", "E.1")  # rest of the release: the two halves of the participants
TABLES = {"V00": ("kxr_sq_bu00.txt", "|"), "V03": ("kxr_sq_bu03.csv", ",")}
READINGS = Path("X-Ray Image Assessments_ASCII", "Semi-Quant Scoring_ASCII")
FILM = "Bilateral PA Fixed Flexion Knee"
SYNTAXES = {3: "rle", 8: "jpeg2000", 13: "jpeg"}  # of every 16 films; the others are plain
OSTEOPHYTES = ("xrosfm", "xrosfl", "xrostm", "xrostl")  # in the order of `knee.SITES`
NARROWING = ("xrjsm", "xrjsl")
SCLEROSIS = ("xrscfm", "xrscfl", "xrsctm", "xrsctl")
STEPS = {"osteophyte": (1.0, 2.5, 4.5), "loss": (0.25, 0.5, 0.75), "sclerosis": (0.25, 0.5, 0.75)}


def oarsi(truth: knee.Knee) -> dict[str, int]:
    """OARSI grades 0..3 of the true values: each grade starts at one of `STEPS` (mm, lost share, density).

    The true sclerosis lies in the diseased compartment, in femur and tibia alike.
    """
    grades = {name: _step("osteophyte", mm) for name, mm in zip(OSTEOPHYTES, truth.osteophytes, strict=True)}
    for name, width in zip(NARROWING, (truth.jsw_medial, truth.jsw_lateral), strict=True):
        grades[name] = _step("loss", 1 - width / truth.jsw_normal)
    for name in SCLEROSIS:
        grades[name] = _step("sclerosis", truth.sclerosis) if name.endswith("m") == truth.medial_disease else 0
    return grades


def plan(seed: int, count: int) -> list[dict]:
    """One dictionary a film: `patient, visit, barcode, path, knees` ("L", "R"), and how the file is written.

    Every third film is a second visit of a patient: the same knees, placed and exposed anew.
    """
    rng = np.random.default_rng([seed, 6])
    patients = count - count // 3
    numbers = np.sort(rng.choice(1_000_000, patients, replace=False)) + 9_000_000
    series = rng.choice(900_000, count, replace=False) + 10_000  # under eight digits: barcodes keep zeros
    films = []
    for i in range(count):
        who = i if i < patients else i - patients
        visit = "V00" if i < patients else "V03"
        knees = knee.draw_patient(np.random.default_rng([seed, 7, who]))
        if visit != "V00":
            knees = {side: _again(one, np.random.default_rng([seed, 8, i])) for side, one in knees.items()}
        folder, number, year = VISITS[visit]
        release = f"{number}.{COHORT[who % 2]}"
        date = f"{year + who % 2}{1 + who % 12:02d}{1 + who % 28:02d}"
        films.append({
            "index": i, "patient": str(numbers[who]), "visit": visit, "barcode": f"0166{series[i]:08d}", "knees": knees,
            "path": f"{folder}/{release}/{numbers[who]}/{date}/{series[i]:08d}/001", "date": date,
            "photometric": "MONOCHROME1" if i % 4 == 1 else "MONOCHROME2", "window": i % 3 != 2,
            "syntax": SYNTAXES.get(i % 16, "plain"), "read_in_detail": who % 4 != 3 or _definite(knees),
        })  # fmt: skip
    return films


def draw(seed: int, root: Path, film: dict) -> list[dict]:
    """Draw one film of `plan` and write its file below `root`. Returns the truth, one row a knee."""
    rng = np.random.default_rng([seed, 9, film["index"]])
    stored, window = render(film["knees"], rng)
    if film["photometric"] == "MONOCHROME1":
        stored, window = TOP - stored, (TOP - window[0], window[1])
    elements = {"WindowCenter": window[0], "WindowWidth": window[1]} if film["window"] else {}
    path = root / film["path"]
    path.parent.mkdir(parents=True)
    write_dicom(
        path, stored, f"oai {seed} {film['index']}", modality="DX", syntax=film["syntax"],
        PhotometricInterpretation=film["photometric"], PatientID=film["patient"], PatientName=film["patient"],
        AccessionNumber=film["barcode"], StudyDate=film["date"], SeriesDescription=FILM, BodyPartExamined="KNEE",
        **elements,
    )  # fmt: skip
    row = {name: value for name, value in film.items() if name != "knees"}
    row["image_id"] = f"{film['patient']}-{film['visit']}-{film['barcode'][-8:]}"
    return [row | {"side": side} | _labels(film["knees"][side], film["read_in_detail"]) for side in "RL"]


def render(knees: dict[str, knee.Knee], rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, float]]:
    """A film (SIZE, 2 * SIZE) uint16 of 12 bits, bone bright, and its window (centre, width)."""
    sheets = [knee.project(knees[side], rng, SIZE) for side in "RL"]
    gap = np.clip(np.arange(SIZE) / (0.08 * SIZE), 0, 1)  # the thighs do not touch
    integral = np.concatenate([sheets[0] * gap[::-1], sheets[1] * gap], axis=1)
    one = knees["R"]
    image = expose(integral, rng, one.photons, one.blur)
    low, high = np.percentile(image, (0.5, 99.8))
    black, white = 300.0, 3300.0
    stored = black + (white - black) * (image - low) / (high - low)
    return np.rint(np.clip(stored, 0, TOP)).astype(np.uint16), ((black + white) / 2, white - black)


def write_oai(root: Path, seed: int, count: int, run: Callable) -> pd.DataFrame:
    """Write `count` films and their tables below `root`; `run(function, tasks)` maps over the cores.

    Returns the truth, one row a knee: `image_id, path, patient, visit, barcode, side, photometric, window, syntax`,
    the labels `kl, os, jsn, sclerosis`, the OARSI grades by their released names in small letters (NaN where
    the tables leave them blank) and `other_kl`, the grade of a second reading (NaN where there is none).
    """
    films = plan(seed, count)
    truth = pd.DataFrame(chain.from_iterable(run(partial(draw, seed, root), films)))
    twice = truth["index"] % 4 == 0
    truth["other_kl"] = np.where(twice, np.minimum(truth["kl"] + (truth["side"] == "R"), 4), np.nan)
    extra = _other_series(root, seed, films[0])
    for visit, rows in truth.groupby("visit"):
        one = rows[rows["side"] == "R"].itertuples()
        contents = [(row.path, row.patient, row.date, row.barcode, FILM) for row in one]
        _write_contents(root / VISITS[visit][0] / "contents.csv", contents + (extra if visit == "V00" else []))
        _write_table(root / READINGS / TABLES[visit][0], TABLES[visit][1], visit, rows)
    return truth.drop(columns=["index", "date", "read_in_detail"])


def _labels(truth: knee.Knee, read_in_detail: bool) -> dict[str, float]:
    grades = oarsi(truth)
    labels = {"kl": float(truth.kl)}
    for name, sites in (("os", OSTEOPHYTES), ("jsn", NARROWING), ("sclerosis", SCLEROSIS)):
        if name == "jsn" or read_in_detail:
            labels[name] = float(any(grades[site] >= 1 for site in sites))
        else:
            labels[name] = np.nan
            grades |= dict.fromkeys(sites, np.nan)
    return labels | {name: float(grade) for name, grade in grades.items()}


def _step(kind: str, value: float) -> int:
    return int(np.searchsorted(STEPS[kind], value, side="right"))


def _definite(knees: dict[str, knee.Knee]) -> bool:
    """Whether a knee has KL >= 2. As in the release, details are always graded then, and blank in some others."""
    return max(one.kl for one in knees.values()) >= 2


def _again(one: knee.Knee, rng: np.random.Generator) -> knee.Knee:
    """The same knee on another day."""
    return replace(
        one, shift_x=float(rng.normal(0, 2.2)), shift_y=float(rng.normal(0, 2.2)), rotation=float(rng.normal(0, 0.035)),
        rim=float(rng.uniform(0.8, 3.2)), photons=float(np.exp(rng.uniform(np.log(6e3), np.log(4e4)))),
    )  # fmt: skip


def _other_series(root: Path, seed: int, film: dict) -> list[tuple]:
    """A film of the hands and an MRI series beside the first knee film, as the release holds them."""
    rng, rows = np.random.default_rng([seed, 10]), []
    day = Path(film["path"]).parents[1]
    for number, modality, what, files in (
        ("00000001", "DX", "PA Bilateral Hand", 1),
        ("10000002", "MR", "SAG_3D_DESS_LEFT", 2),
    ):
        (root / day / number).mkdir()
        for i in range(1, files + 1):
            pixels = rng.integers(0, TOP, (32, 32)).astype(np.uint16)
            path = day / number / f"{i:03d}"
            write_dicom(root / path, pixels, f"oai {seed} {what} {i}", modality=modality, SeriesDescription=what)
        rows.append((path.as_posix(), film["patient"], film["date"], f"0166{number}", what))
    return rows


def _write_contents(path: Path, rows: list[tuple]) -> None:
    """The index of a visit; the barcode has lost its head, as in the release."""
    columns, lines = ["Folder", "ParticipantID", "StudyDate", "Barcode", "StudyDescription", "SeriesDescription"], []
    for film, patient, date, barcode, what in rows:
        folder = Path(*Path(film).parts[1:-1]).as_posix()
        study = "MR^ENROLLMENT^KNEE" if what.startswith("SAG") else f"XRAY^SCREENING^{what.split()[-1].upper()}"
        lines.append((folder, patient, date, int(barcode[-7:]), f"OAI^{study}", what))
    table = pd.DataFrame(lines, columns=columns)
    table.to_csv(path, index=False, quoting=csv.QUOTE_ALL, lineterminator="\r\n")


def _write_table(path: Path, separator: str, visit: str, rows: pd.DataFrame) -> None:
    """The readings of a visit. The comma table spells codes out and has lost the zero that leads the barcode."""
    spelled = separator == ","
    grades = [*OSTEOPHYTES, *NARROWING, *SCLEROSIS]
    header = ["ID", "SIDE", "READPRJ", "VERSION", *(f"{visit}{name.upper()}" for name in ("barcdbu", "xrkl", *grades))]
    lines = []
    for row in rows.sort_values(["patient", "side"], ascending=[True, False]).itertuples():
        side = {"R": "1: Right", "L": "2: Left"}[row.side] if spelled else {"R": "1", "L": "2"}[row.side]
        barcode = row.barcode.lstrip("0") if spelled else row.barcode
        values = [_cell(getattr(row, name), spelled) for name in ("kl", *grades)]
        if not np.isnan(row.other_kl):
            lines.append([row.patient, side, "42", "0.8", barcode, _cell(row.other_kl, spelled), *values[1:]])
        lines.append([row.patient, side, "15", "0.8", barcode, *values])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(line) + "\r\n" for line in [header, *lines]))


def _cell(grade: float, spelled: bool) -> str:
    if np.isnan(grade):
        return ".: Missing Form/Incomplete Workbook" if spelled else " "
    return f"{grade:.0f}: {grade:.0f}" if spelled else f"{grade:.0f}"
