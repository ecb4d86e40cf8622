"""What a pretraining leaves for others: a backbone that plain timm loads, and the card that says what it is.

Weights are bfloat16, in fits as in `results/weights`: half the bytes, and what was evaluated is what is published.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ortholib.settings import Pretrain, named

NAME = "backbone.safetensors"


def write(state: dict[str, torch.Tensor], settings: Pretrain, folder: Path) -> Path:
    """A backbone's weights as `backbone.safetensors`: timm's names, one input channel, no classifier, bfloat16.

    `timm.create_model(settings.backbone, in_chans=1, num_classes=0, checkpoint_path=...)` reads it.
    """
    weights = {
        name: (value.to(torch.bfloat16) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in state.items()
    }
    facts = {"backbone": settings.backbone, "in_chans": 1, "method": "DINO", "epochs": settings.epochs}
    # in one entry: safetensors writes several in random order, and equal weights are to be equal files
    save_file(weights, folder / NAME, {"ortholib": json.dumps(facts)})
    return folder / NAME


def card(settings: Pretrain, record: dict) -> str:
    """The model card, Markdown: what the weights are, what they saw, how they are loaded, what they are not for."""
    seen = [
        f"| {name} | {facts['split']} | {facts['version']} | {facts['images']:,} | {facts['weight']:g} |"
        for name, facts in record["seen"].items()
    ]
    contaminated = [name for name, facts in record["seen"].items() if facts["split"] == "all"]
    parts = "Evaluation parts were left out."
    if contaminated:
        parts = (
            f"**Every readable image of {', '.join(contaminated)} was seen, evaluation parts included**: scores on "
            "these sets are contaminated."
        )
    last, alarms = record["last"], record["alarms"]
    watched = ", ".join(f"{name} {last[name]:.3g}" for name in ("loss", "entropy", "kl", "used", "spread", "rankme"))
    return "\n".join(
        [
            f"# {settings.backbone}, DINO on radiographs without labels",
            "",
            f"Backbone of the teacher after {settings.epochs} epochs ({record['steps']:,} steps of {settings.batch} "
            f"images) of DINO (Caron et al. 2021, arXiv 2104.14294), started from "
            f"{named(settings.initial)}{' weights' if settings.initial == 'random' else ''}.",
            "",
            "```python",
            f'timm.create_model("{settings.backbone}", in_chans=1, num_classes=0, checkpoint_path="{NAME}")',
            "```",
            "",
            "Input: one channel, grey values 0 to 1, minus 0.449, divided by 0.226. Weights: bfloat16, Apache-2.0; the "
            "images keep their own licences.",
            "",
            "| images of | part | release | images | times an epoch |",
            "|---|---|---|---|---|",
            *seen,
            "",
            parts,
            "",
            f"Crops: 2 of {settings.global_size} px and {settings.locals} of {settings.local_size} px, from squares of "
            f"{settings.size} px; flip {settings.flip:g}, rotation {settings.rotation:g} degrees. "
            f"{record['prototypes']:,} prototypes, teacher temperature {record['teacher_temperature']:g}, teacher "
            f"momentum from {record['momentum']:g}, {settings.optimizer} at {settings.learning_rate:g} per 256 images, "
            f"weight decay {settings.weight_decay:g} to {settings.final_weight_decay:g}, {record['precision']}.",
            "",
            f"Last epoch: {watched}. Alarms: {'; '.join(alarms) or 'none'}.",
            "",
            "For research on methods. It is no medical device; it was shown no label, and nothing is known about "
            "images of other hospitals.",
            "",
        ]
    )
