"""SAM 3 with small random weights, in the layout of the published one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer, Sam3Config, Sam3Model

#: Side of its images, pixels.
TILE_PX = 112
_WIDTH = {"hidden_size": 32, "num_attention_heads": 2}
_LAYERS = {**_WIDTH, "num_layers": 1, "intermediate_size": 48}


def make_config(words: int) -> Sam3Config:
    """The smallest configuration with every part; ``words`` is the size of the vocabulary."""
    backbone = {
        "model_type": "sam3_vit_model",
        **_WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "image_size": TILE_PX,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }
    text = {
        "model_type": "clip_text_model",
        **_WIDTH,
        "vocab_size": words,
        "intermediate_size": 48,
        "projection_dim": 16,
        "num_hidden_layers": 1,
        "max_position_embeddings": 32,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    return Sam3Config(
        vision_config={
            "backbone_config": backbone,
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config=text,
        geometry_encoder_config=_LAYERS,
        detr_encoder_config=_LAYERS,
        detr_decoder_config={**_LAYERS, "num_queries": 6},
        mask_decoder_config=_WIDTH,
    )


def write_sam3(folder: Path, *, presence: float = 2.0) -> Path:
    """Write weights, configuration and tokenizer; every concept has this presence logit."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Sam3Model(make_config(len(vocabulary)))
        with torch.no_grad():
            for parameter in model.parameters():
                # initial weights are so small that outputs are all but the same
                parameter.add_(torch.randn_like(parameter) * 0.1)
            last: Any = model.detr_decoder.presence_head.layer3
            last.weight.zero_()
            last.bias.fill_(presence)
        model.save_pretrained(folder)
    return folder


def write_sam3_video(image_model: Path, folder: Path) -> Path:
    """Write the image model of a folder in the layout of the hub: as the detector of a video model with a tracker."""
    folder.mkdir(parents=True)
    for file in image_model.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    detector = json.loads((image_model / "config.json").read_text())
    config = {
        "architectures": ["Sam3VideoModel"],
        "model_type": "sam3_video",
        "detector_config": detector,
        "tracker_config": {"model_type": "sam3_tracker_video"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    weights = {
        f"detector_model.{name}": value
        for name, value in load_file(image_model / "model.safetensors").items()
    }
    tracker = ("tracker_model.no_memory_embedding", "tracker_neck.fpn_layers.0.proj1.weight")
    save_file(
        weights | {name: torch.zeros(3) for name in tracker},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder
