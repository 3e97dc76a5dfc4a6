"""``python -m segwatch.model.train``: train the tiny model from scratch."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from segwatch.model import build, tokenizer
from segwatch.model.config import tiny
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import batches, instructions, pixels, real, scenes
from segwatch.model.train import words as words_stage
from segwatch.model.train.loop import TrainConfig, Trainer

FIRST_TRAINING_SEED = 1_000_000
"""Scene seeds from here on are for training; evaluation uses lower ones."""


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, make the material, train, and write the model."""
    parser = argparse.ArgumentParser(prog="python -m segwatch.model.train", description=main.__doc__)
    defaults = TrainConfig()
    parser.add_argument("--data", type=Path, default=Path("demo/imagery"), help="folder of real imagery")
    parser.add_argument("--out", type=Path, default=Path("model/weights/tiny"), help="where the model goes")
    parser.add_argument("--state", type=Path, default=Path(".segwatch/train-tiny"), help="resumable state")
    parser.add_argument("--resume", action="store_true", help="go on from --state")
    parser.add_argument("--minutes", type=float, default=None, help="time budget")
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--scenes", type=int, default=800, help="made scenes kept in memory")
    parser.add_argument("--images", type=int, default=defaults.images, help="images per step")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--coarse-share", type=float, default=defaults.coarse_share)
    parser.add_argument("--real-share", type=float, default=0.5, help="share of real crops among the images")
    parser.add_argument("--word-steps", type=int, default=180, help="steps on words alone, after the pixels")
    parser.add_argument("--pixel-steps", type=int, default=380, help="steps on pixels alone, at the start")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = SegEarthR2(tiny())
    words = tokenizer.train_small(instructions.corpus())
    made = [scenes.make(FIRST_TRAINING_SEED + index) for index in range(options.scenes)]
    material = batches.Material(made, real.load(options.data, "train"), options.real_share)
    config = TrainConfig(
        seed=options.seed,
        steps=options.steps,
        minutes=options.minutes,
        images=options.images,
        learning_rate=options.learning_rate,
        coarse_share=options.coarse_share,
    )
    if not options.resume:
        pixels_config = pixels.PixelsConfig(seed=options.seed, steps=options.pixel_steps)
        queries = pixels.train(model, material, pixels_config)
        words_config = words_stage.WordsConfig(seed=options.seed, steps=options.word_steps)
        words_stage.train(model, words, queries, words_config)
    trainer = Trainer(model, words, material, config)
    if options.resume:
        trainer.resume(options.state)

    def save(run: Trainer) -> None:
        build.save_pretrained(run.model, run.tokenizer, options.out, dtype=torch.float16)

    trainer.run(options.state, save)


if __name__ == "__main__":
    main()
