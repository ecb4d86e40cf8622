"""Damaged files of every kind in the two corpora: read or refused, with no crash, hang, pickle or flood of memory."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dicomcorpus
import hostile
import numpy as np
import picturecorpus
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]
FILES, SECONDS, MIB = 1500, 20, 2048
# one process reads all: what it saw of each file, and its own and its workers' peak of memory at the end
READER = """
import json, os, resource, sys, time
from pathlib import Path
sys.addaudithook(lambda event, args: event == "pickle.find_class" and sys.exit(f"a pickle was read: {args}"))
from ortholib.data import files

for path in sorted(Path(sys.argv[1]).iterdir()):
    start, problem = time.monotonic(), ""
    try:
        width, height, reason = files.inspect(path)
        if not reason and files.read(path).shape != (height, width):
            problem = "another size than inspected"
    except files.UNREADABLE as error:
        problem = f"inspected, but not read: {files.reason(error)}"
    except Exception as error:
        problem, reason = f"escaped: {error!r}", ""
    seen = {"seconds": time.monotonic() - start, "reason": reason, "problem": problem}
    print(json.dumps({"name": path.name, **seen}), flush=True)
workers = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
peaks = [line.split()[1] for pid in workers for line in Path(f"/proc/{pid}/status").open() if line.startswith("VmHWM")]
ours = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"kib": max(*ours, *map(int, peaks))}))
"""
LIES = {
    "Rows": ("US", [0, 1, 44, 65535]),
    "Columns": ("US", [0, 1, 46, 65535]),
    "NumberOfFrames": ("IS", ["0", "-1", "2", "2147483647", "many"]),
    "SamplesPerPixel": ("US", [0, 2, 3, 4]),
    "BitsAllocated": ("US", [0, 1, 8, 12, 16, 32, 64, 65535]),
    "BitsStored": ("US", [0, 1, 7, 17, 65535]),
    "HighBit": ("US", [0, 31, 65535]),
    "PixelRepresentation": ("US", [1, 2, 65535]),
    "PlanarConfiguration": ("US", [1, 2]),
    "PhotometricInterpretation": ("CS", ["", "PALETTE COLOR", "RGB", "YBR_FULL_422", "MONOCHROME1", "\\", "é"]),
    "WindowCenter": ("DS", ["nan", "inf", "-1e308", "", "1\\2\\3", "wide"]),
    "WindowWidth": ("DS", ["nan", "inf", "0", "-5", "1e-300", "", "1\\", "wide"]),
    "VOILUTFunction": ("CS", ["", "LOG", "linear"]),
    "RescaleSlope": ("DS", ["nan", "inf", "0", "1e300", "-1", "", "x"]),
    "RescaleIntercept": ("DS", ["nan", "-inf", "1e300", "", "x"]),
    "PixelPaddingValue": ("US", [0, 65535]),
    "LUTDescriptor": ("US", [[0, 0, 0], [65535, 65535, 255], [256, 0], [1, 0, 16], [4096, 0, 8]]),
    "LUTData": ("OW", [b"", b"\0", bytes(3), bytes(70000)]),
    "VOILUTSequence": ("SQ", [[], [Dataset()]]),
    "ModalityLUTSequence": ("SQ", [[], [Dataset()]]),
    "SharedFunctionalGroupsSequence": ("SQ", [[], [Dataset()]]),
    "PerFrameFunctionalGroupsSequence": ("SQ", [[], [Dataset()]]),
    "PixelData": ("OW", [b"", b"\0\0", bytes(99)]),
}


def lying(data: bytes, rng: np.random.Generator) -> bytes:
    """A DICOM file with one or two of its elements changed, wherever they stand."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    for name in rng.choice(list(LIES), rng.integers(1, 3), replace=False):
        vr, values = LIES[name]
        holders = [dataset] + [item for e in dataset.iterall() if e.VR == "SQ" for item in e.value]
        holders = [holder for holder in holders if name in holder] or [dataset]
        value = values[rng.integers(len(values))]
        element = DataElement(str(name), vr, value, validation_mode=pydicom.config.IGNORE)
        if name == "PixelData" and dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            element.is_undefined_length, element.VR = True, "OB"
        holders[rng.integers(len(holders))][str(name)] = element
    buffer = io.BytesIO()
    implicit, little = dataset.original_encoding
    try:
        pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little)
    except Exception:  # pydicom does not write every lie
        return hostile.flip(data, rng)
    return buffer.getvalue()


def damaged(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` files as (name, bytes), a quarter of them pictures, changed once or twice."""
    rng = np.random.default_rng(seed)
    dicoms, pictures = list(dicomcorpus.cases(1)), list(picturecorpus.cases(1))
    for number in range(count):
        is_picture = number % 4 == 3
        cases = pictures if is_picture else dicoms
        case = cases[rng.integers(len(cases))]
        data = case.data
        for _ in range(rng.integers(1, 3)):
            kinds = hostile.MUTATIONS if is_picture else (*hostile.MUTATIONS, lying, lying, lying)
            try:
                data = kinds[rng.integers(len(kinds))](data, rng) or b"\0"
            except Exception:  # what was cut or flipped before is no DICOM file any more
                break
        ending = f".{case.name.split()[0].split('.')[-1]}" if is_picture else ".dcm"
        yield f"m{number:04d}{ending}", data


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for name, data in damaged(FILES, 0):
        (root / name).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def seen(folder) -> list[dict]:
    done = subprocess.run([sys.executable, "-P", "-c", READER, folder], capture_output=True, text=True, timeout=500)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"after {lines[-1:]}: {done.stderr[-2000:]}"
    return [json.loads(line) for line in lines]


def test_each_is_read_or_refused_in_time(seen):
    files = seen[:-1]
    assert len(files) == FILES
    faults = [file for file in files if file["seconds"] > SECONDS or file["problem"]]
    assert not faults, "\n".join(map(str, faults))
    refused = sum(bool(file["reason"]) for file in files)
    assert 0.1 * FILES < refused < 0.9 * FILES  # the mutations neither miss nor destroy everything


def test_memory_stays_within_bounds(seen):
    assert seen[-1]["kib"] < MIB * 1024
