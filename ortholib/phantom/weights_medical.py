"""The folders of RAD-DINO and BiomedCLIP as the Hugging Face hub has them, with their configurations."""

import json
import re
import string
from collections import OrderedDict
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from ortholib.encoders.registry import ENCODERS
from ortholib.phantom.weights_formats import PT, StandIn
from ortholib.phantom.weights_numbers import draw

CLIP_WIDTH = 32
BERT = {  # the text tower, at a sixteenth of BERT-base's width
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 192,
    "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # in the order of PubMedBERT's vocabulary
CHARACTERS = string.ascii_lowercase + string.digits
VOCABULARY = (*SPECIAL, *string.punctuation, *CHARACTERS, *(f"##{c}" for c in CHARACTERS))  # spells any ASCII text


def rad_dino(folder: Path, standin: StandIn, model: nn.Module, rng: np.random.Generator) -> None:
    """microsoft/rad-dino: one network under two sets of names, and the preprocessing.

    `model.safetensors` has those of transformers' Dinov2Model, `backbone_compatible.safetensors` those of
    facebookresearch/dinov2, which timm takes as they are but for `mask_token`.
    """
    state = draw(model.state_dict(), rng)
    width, depth = state["cls_token"].shape[-1], len(model.blocks)
    state |= draw({"mask_token": torch.empty(1, width)}, rng)
    save_file(state, folder / "backbone_compatible.safetensors", PT)
    save_file(transformers_names(state), folder / "model.safetensors", PT)
    _json(folder / "config.json", {
        "apply_layernorm": True, "architectures": ["Dinov2Model"], "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "hidden_size": width,
        "image_size": standin.size, "initializer_range": 0.02, "layer_norm_eps": 1e-6, "layerscale_value": 1.0,
        "mlp_ratio": 4, "model_type": "dinov2", "num_attention_heads": model.blocks[0].attn.num_heads,
        "num_channels": 3, "num_hidden_layers": depth, "out_features": [f"stage{depth}"], "out_indices": [depth],
        "patch_size": 14, "qkv_bias": True, "reshape_hidden_states": True,
        "stage_names": ["stem", *(f"stage{i + 1}" for i in range(depth))], "torch_dtype": "float32",
        "use_swiglu_ffn": False,
    })  # fmt: skip
    _json(folder / "preprocessor_config.json", {
        "crop_size": {"height": standin.size, "width": standin.size}, "do_center_crop": True, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5307] * 3,
        "image_processor_type": "BitImageProcessor", "image_std": [0.2583] * 3, "resample": 3,
        "rescale_factor": 1 / 255, "size": {"shortest_edge": standin.size},
    })  # fmt: skip


# facebookresearch/dinov2 -> transformers' Dinov2Model
TRANSFORMERS = (
    (r"^(cls_token|mask_token)$", r"embeddings.\1"), (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."), (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."), (r"attn\.proj\.", "attention.output.dense."),
    (r"attn\.qkv\.", "attention.attention.qkv."), (r"ls(\d)\.gamma$", r"layer_scale\1.lambda1"),
)  # fmt: skip


def transformers_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of facebookresearch/dinov2 under the names of transformers' Dinov2Model."""
    out = {}
    for name, value in state.items():
        for old, new in TRANSFORMERS:
            name = re.sub(old, new, name)
        if ".qkv." in name:  # one matrix there, three here
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            out |= {name.replace("qkv", role): part.contiguous() for role, part in parts}
        else:
            out[name] = value
    return out


def open_clip(folder: Path, standin: StandIn, model: nn.Module, rng: np.random.Generator) -> None:
    """BiomedCLIP's folder: `open_clip_config.json`, `open_clip_pytorch_model.bin`, and a tokenizer.

    The image tower is timm's under `visual.trunk.`, the text tower transformers' BertModel without pooler under
    `text.transformer.`; both are projected to the common width. As in the published file, `position_ids` are there,
    which transformers has since dropped (open_clip skips them).
    The configuration names the text tower by its address: offline, give open_clip the folder `biomedbert` instead,
    `create_model_from_pretrained("local-dir:<folder>", text_cfg=<that of the file, with hf_model_name=<folder> and
    hf_model_pretrained=False>)`.
    """
    width, hidden = BERT["hidden_size"], (BERT["hidden_size"] + CLIP_WIDTH) // 2
    shapes = {"logit_scale": torch.empty(())}
    shapes |= {f"visual.trunk.{k}": v for k, v in model.state_dict().items()}
    shapes["visual.head.proj.weight"] = torch.empty(CLIP_WIDTH, model.num_features)
    shapes |= {f"text.transformer.{k}": torch.empty(s) for k, s in bert_shapes().items()}
    shapes |= {"text.proj.0.weight": torch.empty(hidden, width), "text.proj.2.weight": torch.empty(CLIP_WIDTH, hidden)}
    torch.save(OrderedDict(draw(shapes, rng)), folder / standin.of.files[0])
    text_tower = ENCODERS["biomedbert"].published
    _json(folder / "open_clip_config.json", {
        "model_cfg": {
            "embed_dim": CLIP_WIDTH,
            "vision_cfg": {
                "timm_model_name": standin.network, "timm_model_pretrained": False, "timm_pool": "",
                "timm_proj": "linear", "image_size": standin.size,
            },
            "text_cfg": {
                "hf_model_name": text_tower, "hf_tokenizer_name": text_tower, "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256,
            },
        },
        "preprocess_cfg": {  # OpenAI CLIP's
            "mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
        },
    })  # fmt: skip
    roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    _json(folder / "special_tokens_map.json", roles)
    _json(folder / "tokenizer_config.json", roles | {"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    _json(folder / "tokenizer.json", _tokenizer())


def bert_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of transformers' BertModel without pooler, at the sizes of `BERT`, under its names."""
    width, inner, positions = BERT["hidden_size"], BERT["intermediate_size"], BERT["max_position_embeddings"]
    shapes = {
        "embeddings.position_ids": (1, positions),
        "embeddings.word_embeddings.weight": (len(VOCABULARY), width),
        "embeddings.position_embeddings.weight": (positions, width),
        "embeddings.token_type_embeddings.weight": (BERT["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    layer = {f"attention.self.{role}": (width, width) for role in ("query", "key", "value")}
    layer |= {"attention.output.dense": (width, width), "intermediate.dense": (inner, width)}
    layer |= {"output.dense": (width, inner), "attention.output.LayerNorm": (width,), "output.LayerNorm": (width,)}
    for i, (name, shape) in product(range(BERT["num_hidden_layers"]), layer.items()):
        shapes |= {f"encoder.layer.{i}.{name}.weight": shape, f"encoder.layer.{i}.{name}.bias": shape[:1]}
    return shapes


def bert(folder: Path, standin: StandIn, model: None, rng: np.random.Generator) -> None:
    """What of microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract open_clip asks for: no weights."""
    _json(folder / "config.json", BERT | {
        "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "initializer_range": 0.02, "layer_norm_eps": 1e-12, "model_type": "bert",
        "pad_token_id": 0, "vocab_size": len(VOCABULARY),
    })  # fmt: skip
    _json(folder / "tokenizer_config.json", {"do_lower_case": True})
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")


def _tokenizer() -> dict:
    """`tokenizer.json` of a lower-casing WordPiece tokenizer that frames a text as [CLS] text [SEP]."""
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    piece = {role: {"SpecialToken": {"id": role, "type_id": 0}} for role in ("[CLS]", "[SEP]")}
    single = [piece["[CLS]"], {"Sequence": {"id": "A", "type_id": 0}}, piece["[SEP]"]]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": ids[word], "content": word} | added for word in SPECIAL],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": pair,
            "special_tokens": {w: {"id": w, "ids": [ids[w]], "tokens": [w]} for w in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids,
        },
    }  # fmt: skip


def _json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
