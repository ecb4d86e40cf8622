"""Weights in the repository: taken apart into small files, and put together again, the same to the byte."""

import json
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ortholib.errors import OrthoError

SHARD = 15 * 2**20  # bytes of one file
FACTS = "metadata.json"  # what stood in the head of the whole file


def split(file: Path, folder: Path) -> list[Path]:
    """The weights of a safetensors file as `model-….safetensors` of at most `SHARD` bytes each, with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    with safe_open(file, "pt") as stored:
        facts = stored.metadata()
    save_torch_state_dict(load_file(file), folder, max_shard_size=SHARD)
    (folder / FACTS).write_text(json.dumps(facts, indent=1))
    return sorted(folder.glob("*.safetensors"))


def joined(folder: Path, file: Path) -> Path:
    """The file that `split` took apart, made again unless it is there. Raises OrthoError for a folder without."""
    if not file.is_file():
        parts = sorted(folder.glob("*.safetensors"))
        if not parts:
            raise OrthoError(f"{folder} holds no weights; expected *.safetensors. Run the pretraining again.")
        state = {name: value for part in parts for name, value in load_file(part).items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        save_file(state, partial, json.loads((folder / FACTS).read_text()))
        partial.replace(file)
    return file
