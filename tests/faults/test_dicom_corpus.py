"""DICOM files of every kind: shown as PS3.3 C.11 says within one level, or refused by their true reason."""

from itertools import combinations

import c11
import dicomcorpus
import dicomodd
import numpy as np
import pairwise
import pytest
from judge import Case, fault
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def corpus() -> list[Case]:
    return list(dicomcorpus.cases())


def test_every_pair_of_settings_is_there():
    factors, allowed = dicomcorpus.FACTORS, dicomcorpus.allowed
    rows = list(pairwise.rows(factors, allowed, 0))
    assert all(len(row) == len(factors) and allowed(row) for row in rows)
    held = {pair for row in rows for pair in combinations([(name, row[name]) for name in factors], 2)}
    rng, more = np.random.default_rng(1), 0
    for _ in range(5_000):  # whatever else is allowed holds no pair that the rows lack
        row = {}
        for name in rng.permutation(list(factors)):
            values = [value for value in factors[name] if allowed(row | {name: value})]
            if not values:
                break
            row[str(name)] = values[rng.integers(len(values))]
        else:
            more += 1
            assert set(combinations([(name, row[name]) for name in factors], 2)) <= held
    assert more > 2_500


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("width", [1, 2, 700.5])
def test_the_restatement_equals_pydicom_where_that_is_right(function, width):
    stored = np.arange(4096).reshape(64, 64)
    dataset = dicomodd.made(RescaleSlope="2", RescaleIntercept="-1024", VOILUTFunction=function)
    dataset.WindowCenter, dataset.WindowWidth = 900.25, width
    values = apply_modality_lut(stored, dataset)
    with np.errstate(over="ignore"):
        theirs = (apply_windowing(values, dataset) + 1024) / (2 * 4095)
    ours = c11.shown(stored, c11.Grey(c11.Rescale(2, -1024), window=c11.Window(900.25, width, function))) / 255
    assert np.abs(ours - theirs).max() < 1e-6 and np.ptp(ours) > 0.99
    entries = (np.arange(1000) ** 2) % 60000
    item = dicomodd.table(1000, entries)
    item.LUTDescriptor = [1000, 500, 16]
    tabled = apply_voi(stored, dicomodd.made(VOILUTSequence=[item])) / 65535
    assert np.allclose(c11.shown(stored, c11.Grey(table=c11.Table(500, 16, entries))) / 255, tabled)


def test_every_file_is_shown_as_the_standard_says(corpus, tmp_path):
    assert len(corpus) >= 400 and sum(not case.refused for case in corpus) >= 400
    faults = [f"{text} | {case.name}" for case in corpus if (text := fault(tmp_path / "a.dcm", case))]
    assert not faults, f"{len(faults)} of {len(corpus)}:\n" + "\n".join(faults)


@pytest.mark.parametrize("case", dicomodd.cases(), ids=lambda case: case.name)
def test_odd_files(case, tmp_path):
    name = case.name.split()[-1] if case.name.startswith("called") else "a.dcm"
    assert fault(tmp_path / name, case) == ""


def test_the_corpus_is_the_same_every_time(corpus):
    assert [case.data for case, _ in zip(dicomcorpus.cases(1), range(60), strict=False)] == [
        case.data for case in corpus[:60]
    ]
