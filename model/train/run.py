"""Run a whole training from its recipe: data, initial weights, loop, and the written model."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from segwatch.model import checkpoint, pretrained, tokenizer
from segwatch.model.config import make_tiny_config
from segwatch.model.referring import layouts
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import (
    batches,
    crop_pool,
    demo_imagery,
    instructions,
    labelled_instructions,
    lora,
    mask_stage,
    pixel_stage,
    scenes,
    text_stage,
)
from segwatch.model.train.config import LABELLED, MADE, TrainConfig
from segwatch.model.train.loop import STATE_FILE, Trainer, make_accelerator

_log = logging.getLogger(__name__)


def run_training(config: TrainConfig, *, fresh: bool = False) -> Trainer:
    """Train to the end, continuing where an earlier run of the same recipe stopped.

    Parameters
    ----------
    config
        The run.
    fresh
        Forget the earlier run.

    Raises
    ------
    CheckpointError
        If the state belongs to another run, the first weights do not fit, or the folder for the model holds
        another one's weights.
    DatasetError
        If the data set cannot be read.
    InputError
        If imagery is missing.
    """
    settings = config.run
    checkpoint.check_no_other_weights(settings.out)
    if settings.nice:
        os.nice(settings.nice)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    accelerator = make_accelerator(config)
    if fresh and accelerator.is_main_process:
        shutil.rmtree(settings.state, ignore_errors=True)
    accelerator.wait_for_everyone()
    if config.masks is not None:
        return _train_masks(config, accelerator)
    source = _make_source(config)
    resuming = (settings.state / STATE_FILE).exists()
    torch.manual_seed(settings.seed)
    model, text_tokenizer = _load_start(config, source, resuming=resuming)
    if config.lora is not None:
        lora.add_adapters(model, config.lora)
    trainer = Trainer(model, text_tokenizer, source, config, accelerator)
    if resuming:
        trainer.resume()
        _log.info("going on after step %d of %d", trainer.progress.step, config.optimizer.steps)
    trainer.run(_write)
    return trainer


def _train_masks(config: TrainConfig, accelerator: Accelerator) -> Trainer:
    """Run a recipe that trains the mask branch alone."""
    resuming = (config.run.state / STATE_FILE).exists()
    torch.manual_seed(config.run.seed)
    model, text_tokenizer = mask_stage.load_start_model(config, resuming=resuming)
    with mask_stage.MaskTrainer(model, text_tokenizer, config, accelerator) as trainer:
        if resuming:
            trainer.resume()
            _log.info("going on after step %d of %d", trainer.progress.step, config.optimizer.steps)
        trainer.run(_write)
    return trainer


def _write(run: Trainer, weights: Mapping[str, Tensor]) -> None:
    settings, state = run.config.run, {**lora.merge_adapters(run.model, weights), **run.average}
    if settings.start_share and run.config.start.checkpoint is not None:
        first = pretrained.load_pretrained(run.config.start.checkpoint, "cpu").model.state_dict()
        state = mix_weights(state, first, settings.start_share)
    pretrained.save_pretrained(
        run.model,
        run.tokenizer,
        settings.out,
        dtype=getattr(torch, settings.store),
        state=state,
    )


def mix_weights(state: Mapping[str, Tensor], first: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Interpolate between two models of the same names and shapes: ``share`` of the first, the rest of the state."""
    return {name: torch.lerp(value, first[name].to(value), share) for name, value in state.items()}


def _make_source(config: TrainConfig) -> batches.InstructionSource:
    data = config.data
    if data.kind == LABELLED:
        world = scenes.SceneSettings(data.targets, data.gsd_m)
        return labelled_instructions.LabelledSource(
            crop_pool.load_pool(data.root, data.demo, data.scenes, data.made_share, world),
            config.mix,
            data.scene_px,
        )
    if data.kind != MADE:
        sets = [(data.kind, data.root, data.split), *((one.kind, one.root, one.split) for one in data.more)]
        sources = [
            batches.ReferringSource(layouts.load_samples(layouts.Dataset(kind), root, split))
            for kind, root, split in sets
        ]
        shares = [data.share, *(one.share for one in data.more)]
        return sources[0] if len(sources) == 1 else batches.MixedSource(sources, shares)
    world = scenes.SceneSettings(data.targets, data.gsd_m)
    made = [
        scenes.make_scene(crop_pool.FIRST_SEED + index, data.scene_px, world) for index in range(data.scenes)
    ]
    pictures: Sequence[demo_imagery.DemoPicture] = (
        demo_imagery.load_pictures(data.root, "train") if data.real_share else []
    )
    return batches.SceneSource(made, pictures, data.real_share, config.mix)


def _load_start(
    config: TrainConfig, source: batches.InstructionSource, *, resuming: bool
) -> tuple[SegEarthR2, PreTrainedTokenizerBase]:
    """Load or initialise the weights before the first step; a resumed run replaces them, so it skips the stages."""
    start, targets = config.start, config.data.targets
    if start.checkpoint is not None:
        loaded = pretrained.load_pretrained(start.checkpoint, "cpu")
        model, text_tokenizer = loaded.model.requires_grad_(True), loaded.tokenizer
    else:
        model, text_tokenizer = (
            SegEarthR2(make_tiny_config()),
            tokenizer.train_tokenizer(instructions.list_phrases(targets)),
        )
    if isinstance(source, batches.SceneSource) and not resuming:
        _run_stages(config, source, model, text_tokenizer)
    return model, text_tokenizer


def _run_stages(
    config: TrainConfig,
    source: batches.SceneSource,
    model: SegEarthR2,
    text_tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Run the stage on pixels alone, then the stage on text alone."""
    seed, start, targets = config.run.seed, config.start, config.data.targets
    known = (
        text_stage.compute_queries(model, text_tokenizer, targets) if start.checkpoint is not None else None
    )
    pixel_config = pixel_stage.PixelStageConfig(
        seed=seed, steps=start.pixel_steps, learning_rate=start.pixel_rate
    )
    queries = pixel_stage.train_pixel_stage(model, source, targets, pixel_config, known)
    text_config = text_stage.TextStageConfig(seed=seed, steps=start.word_steps, learning_rate=start.word_rate)
    text_stage.train_text_stage(model, text_tokenizer, targets, queries, config.mix, text_config)
