"""Tokenizers: load the one beside a checkpoint, or train a small one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from segwatch.model import prompt
from segwatch.model.config import INFERENCE_REQUEST, SYSTEM, TEMPLATE
from segwatch.model.errors import TokenizerError
from segwatch.model.transformers_output import silence_transformers


def train_tokenizer(corpus: Iterable[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer.

    The fixed text of the prompt is always part of the corpus. The last two ids are ``<|endoftext|>`` and
    ``[SEG]``, even if the corpus is too small to fill the vocabulary, so that the configuration can name them
    before training.

    Parameters
    ----------
    corpus
        Instructions and texts to generate.
    vocab_size
        Number of ids, the two special ones included; at least 258.

    Raises
    ------
    TokenizerError
        ``vocab_size`` cannot hold all bytes and the special tokens.
    """
    if vocab_size < 258:
        raise TokenizerError(
            f"vocab_size={vocab_size} cannot hold 256 bytes and 2 special tokens; give 258 or more"
        )
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text.replace(prompt.SEG, " ") for text in corpus]
    raw.train_from_iterator([*texts, *_list_prompt_texts()], trainer)
    spare = [f"<|spare{index}|>" for index in range(vocab_size - 2 - raw.get_vocab_size())]
    raw.add_special_tokens([*spare, prompt.END, prompt.SEG])
    wrap: Any = PreTrainedTokenizerFast
    return cast(
        PreTrainedTokenizerFast, wrap(tokenizer_object=raw, eos_token=prompt.END, pad_token=prompt.END)
    )


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder, adding ``[SEG]`` if its files do not have it.

    Raises
    ------
    TokenizerError
        The folder holds none that can be read, or it has no ``<|endoftext|>``.
    """
    if not any((directory / name).exists() for name in ("tokenizer.json", "vocab.json")):
        raise TokenizerError(
            f"{directory}: neither tokenizer.json nor vocab.json; copy the tokenizer files there"
        )
    # an existing path is never looked up on the hub, and no code from the folder is executed
    with silence_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # the libraries below raise plain Exception, too
            raise TokenizerError(
                f"{directory}: its tokenizer cannot be read ({type(error).__name__}: {error!s:.200}); copy the "
                "tokenizer files there again"
            ) from error
    vocabulary = tokenizer.get_vocab()
    if prompt.END not in vocabulary:
        raise TokenizerError(f"{directory}: the tokenizer has no {prompt.END}; use the checkpoint's own")
    if prompt.SEG not in vocabulary:
        tokenizer.add_tokens([prompt.SEG])
    return tokenizer


def get_token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Return the id of one whole token."""
    return int(tokenizer.get_vocab()[token])


def _list_prompt_texts() -> list[str]:
    return [SYSTEM, TEMPLATE, INFERENCE_REQUEST, prompt.TRAINING_REQUEST, prompt.NOTHING]
