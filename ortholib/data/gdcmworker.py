"""DICOM frames that only GDCM decodes (JPEG lossless, JPEG-LS, 12-bit JPEG, some JPEG 2000), in a process of its own.

GDCM aborts on some damaged files, and takes its process with it: here that costs one file and not the run. The worker
is started at the first such file, serves the others, and is started again after a death.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
from pydicom.pixels import pixel_array
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

NOTHING = "'NoneType' object has no attribute 'encode'"  # pydicom's words where GDCM gives no pixels
SECONDS = 60  # for one frame, the start of the worker included

_lock = threading.Lock()
_process: subprocess.Popen | None = None


def decode(path: Path, frame: int) -> np.ndarray:
    """One stored frame. Raises ValueError where GDCM cannot decode it, dies of it or takes longer than SECONDS."""
    global _process
    with _lock, tempfile.TemporaryDirectory() as folder:
        if _process is None or _process.poll() is not None:
            _process = _start()
        made = Path(folder) / "frame.npy"
        try:
            _process.stdin.write(json.dumps([str(path.absolute()), frame, str(made)]).encode() + b"\n")
            _process.stdin.flush()
            ready, _, _ = select.select([_process.stdout], [], [], SECONDS)
            answer = _process.stdout.readline() if ready else b""
        except OSError:  # the pipe of a process that died
            answer = b""
        if not answer:
            _process.kill()
            _process.wait()
            raise ValueError("the decoder broke down")
        if problem := json.loads(answer):
            raise ValueError(problem)
        return np.load(made, allow_pickle=False)


def _start() -> subprocess.Popen:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "ortholib.data.gdcmworker"]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2])


def _serve() -> None:
    """Answer each request on standard input with one line: "" or what was wrong. Ends with its parent."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever GDCM prints must not be taken for an answer
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        path, frame, made = json.loads(line)
        problem = ""
        try:
            np.save(made, _decoded(Path(path), frame))
        except Exception as error:
            problem = (str(error) or type(error).__name__).replace(NOTHING, "cannot decode it")
        print(json.dumps(problem), file=answers, flush=True)


def _decoded(path: Path, frame: int) -> np.ndarray:
    from ortholib.data import dicom  # which imports this module

    dataset = dicom.read(path)
    if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit:
        # pydicom 3.0 refuses more than 8 bits under this name; GDCM decodes what the stream says under either
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return pixel_array(dataset, index=frame, decoding_plugin="gdcm")


if __name__ == "__main__":
    _serve()
