"""TIFF, PNG and JPEG pictures of every kind: grey as specified, within one level, or a true reason."""

import picturecorpus
import pytest
from judge import fault

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]


def test_every_picture_is_shown_as_its_specification_says(tmp_path):
    corpus = list(picturecorpus.cases())
    assert len(corpus) >= 200
    faults = []
    for case in corpus:
        if text := fault(tmp_path / case.name.split()[0], case):
            faults.append(f"{text} | {case.name}")
    assert not faults, f"{len(faults)} of {len(corpus)}:\n" + "\n".join(faults)
