"""Stand-in weights: tiny random networks in the file formats and with the key names that the study's encoders are
published in, so that on the phantom every loader runs for real. They have learned nothing and prove nothing.

Layout as of `$ORTHOLIB_WEIGHTS`: `<root>/<encoder>/<file>`. Every file but ultralytics' own loads without running code:
safetensors, or `torch.load(..., weights_only=True)`.
"""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import timm
import torch

from ortholib.encoders import load, networks
from ortholib.encoders.encoder import STAND_IN
from ortholib.encoders.registry import ENCODERS, Encoder
from ortholib.errors import UsageError
from ortholib.phantom import weights_formats, weights_medical
from ortholib.phantom.files import whole
from ortholib.phantom.weights_formats import StandIn

MARK = "STAND-IN.txt"
NOTICE = """STAND-IN: the numbers in this folder were drawn at random by ortholib.phantom.weights (seed {seed}).
They stand in for {of}
in its published file format and key names, at a fraction of its size. Nothing was trained and nothing was downloaded:
a result reached with them proves that the programs work, and nothing else.
"""

FORMATS = MappingProxyType({
    "torchvision": weights_formats.torchvision, "dino": weights_formats.dino, "timm": weights_formats.timm_hub,
    "lite": weights_formats.lite, "squeezenet": weights_formats.squeezenet,
    "dinov3": weights_formats.dinov3, "ultralytics": weights_formats.ultralytics,
    "rad-dino": weights_medical.rad_dino, "open_clip": weights_medical.open_clip, "bert": weights_medical.bert,
})  # fmt: skip
ELSEWHERE = {"bert": "transformers", "ultralytics": "ultralytics"}  # formats whose library builds the network itself

# how a network is made tiny, by the beginning of its name
TINY = {
    # the first of BasicBlocks has no downsample in the real one, so it keeps the stem's 64 channels
    "resnet18": {"layers": (1, 1, 1, 1), "channels": (64, 16, 32, 64)},
    "resnet": load.TINY,  # bottlenecks: with 16 channels the first block would lack the real one's downsample
    "convnext": {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 48)},
    "vit_large": {"embed_dim": 64, "depth": 3, "num_heads": 4},
    "vit_base_patch14": {"embed_dim": 64, "depth": 2, "num_heads": 4},
    "vit": {"embed_dim": 48, "depth": 2, "num_heads": 3},
}
LITE = {f"tf_efficientnet_lite{number}": {"depth": depth} for number, depth in enumerate((1.0, 1.1, 1.2))}


def _standin(encoder: Encoder) -> StandIn:
    if encoder.format == "open_clip":
        # it passes timm a name and no sizes: this is timm's own tiny ViT with the key names of ViT-B/16
        return StandIn(encoder, "test_vit", {"num_classes": 0}, 160)
    if encoder.network in LITE:
        return StandIn(encoder, "tf_efficientnet_lite_tiny", LITE[encoder.network] | {"num_classes": encoder.classes},
                       encoder.size)  # fmt: skip
    tiny = next((sizes for start, sizes in TINY.items() if encoder.network.startswith(start)), {})
    return StandIn(encoder, encoder.network, tiny | {"num_classes": encoder.classes}, encoder.size)


STANDINS = MappingProxyType({name: _standin(encoder) for name, encoder in ENCODERS.items() if not encoder.beside})

LEFT_OUT = MappingProxyType({
    "orthofoundation-msk-5m": "ytrsk/OrthoFoundation_KneeModel OrthoFoundation-MSK-5M.pth: its key names are not known "
    "from any public source (its size suggests a projection head beside the backbone).",
})  # fmt: skip


def build(name: str) -> torch.nn.Module:
    """The tiny network that the weights of stand-in `name` fit, as its library first fills it.

    Raises UsageError for an unknown name, and for one whose network only ultralytics or transformers can build.
    """
    if name not in STANDINS:
        raise UsageError(f"stand-in '{name}' is unknown; expected one of {', '.join(STANDINS)}.")
    of, network, arguments, _ = STANDINS[name]
    if of.format in ELSEWHERE:
        raise UsageError(f"stand-in '{name}' is built by {ELSEWHERE[of.format]} from its own file; load that with it.")
    if of.format == "squeezenet" or (of.format, network) == ("torchvision", "convnext_small"):
        return networks.build(of, network, arguments)  # whose names are not those of timm
    return timm.create_model(network, pretrained=False, **arguments)


def write_weights(root: Path, seed: int = 0) -> dict[str, dict]:
    """Write every stand-in as `root/<name>/<file>`, with a STAND-IN.txt and a stand-in.json in each folder. The same
    seed gives the same numbers, and the same bytes in safetensors and `.pth` files of one version of torch.

    `root` appears whole or not at all. Returns name → `files`, `bytes`, `sha256` (of each file), `format`; for what
    could not be written, `left_out` says why and `files` is empty.
    Raises UsageError where `root` holds files already (they might be real weights) or lies in the user's data.
    """
    with whole(root) as folder:
        record = {name: _write(folder / name, name, seed) for name in STANDINS}
    return record | {name: _left_out("unknown", why) for name, why in LEFT_OUT.items()}


def _write(folder: Path, name: str, seed: int) -> dict:
    standin = STANDINS[name]
    layout, files = standin.of.format, standin.of.files
    if layout == "ultralytics" and importlib.util.find_spec("ultralytics") is None:
        return _left_out(layout, "ultralytics (AGPL-3.0) is not installed; it comes with the extra 'detect'.")
    folder.mkdir()
    with torch.device("meta"):  # only names and shapes are asked for
        model = None if layout in ELSEWHERE else build(name)
    # each has numbers of its own: a stand-in that is added or changed leaves the others as they were
    rng = np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:4]])
    FORMATS[layout](folder, standin, model, rng)
    (folder / STAND_IN).write_text(json.dumps(_opened(standin)))
    (folder / MARK).write_text(NOTICE.format(seed=seed, of=standin.of.published))
    content = {file: (folder / file).read_bytes() for file in files}
    return {
        "files": list(files),
        "bytes": sum(map(len, content.values())),
        "sha256": {file: hashlib.sha256(data).hexdigest() for file, data in content.items()},
        "format": layout,
    }


def _opened(standin: StandIn) -> dict:
    """What `ortholib.encoders.encoder.open` has to build in the place of the published network."""
    if standin.of.format == "open_clip":
        return {"network": standin.network, "arguments": {"num_features": weights_medical.CLIP_WIDTH}}
    return {"network": standin.network, "arguments": standin.arguments}


def _left_out(layout: str, why: str) -> dict:
    return {"files": [], "bytes": 0, "sha256": {}, "format": layout, "left_out": why}


if __name__ == "__main__":  # <folder of the phantom> <seed>
    folder = Path(sys.argv[1])
    made = write_weights(folder / "weights", int(sys.argv[2]))
    (folder / "truth" / "weights.json").write_text(json.dumps(made, indent=1))
