"""What every test gets: one thread, folders of its own, nothing of the caller's, the same phantom, and no traces left.

So a test gives the same alone, after any other, and beside another worker of pytest-xdist.
"""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

# Before torch is imported; what a test starts inherits it. Threads of two workers that share two cores make small steps
# ten times slower, and the order of a sum, so its last digit, follows their number.
os.environ["OMP_NUM_THREADS"] = "1"

# The same examples on every machine, and none of them fails for being slow on a busy one.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")

OPEN = Image.open
PHANTOM = {"FracAtlas": 80, "kneeKL224": 40, "MRNet-v1.0": 12, "OAI": 8}


@pytest.fixture(autouse=True)
def no_traces():
    """A test that changes the process for the ones after it fails."""
    before = _process()
    yield
    Image.open = OPEN  # ultralytics, once imported, has its own, which lets no error of Pillow through without pi-heif
    assert _process() == before


def _process() -> dict:
    found = {name: value for name, value in os.environ.items() if name.startswith("ORTHOLIB_")}
    torch = sys.modules.get("torch")  # imported by the tests that need it
    found["threads"] = torch.get_num_threads() if torch else 1
    found["dtype"] = str(torch.get_default_dtype()) if torch else "torch.float32"
    return found | {"folder": os.getcwd()}


@pytest.fixture(autouse=True)
def own_folders(no_traces, tmp_path, monkeypatch):
    """Stores and caches of a test go to its own folder, and no real data or weights are found by accident."""
    for name in [name for name in os.environ if name.startswith("ORTHOLIB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORTHOLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    """Generated data sets, read only for the tests, and their `truth/`; written once, whichever worker asks first."""
    from ortholib import locks
    from ortholib.phantom import write

    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "phantom"
    with locks.held(out):
        if not out.is_dir():
            write(out, 1, PHANTOM)
    return out
