"""Tokenizers: the one beside a checkpoint, or a small one of our own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from segwatch.model import prompt
from segwatch.model.errors import TokenizerError


def train_small(corpus: Iterable[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learned from a corpus.

    The fixed words of the prompt are always learned too. The two last ids are ``<|endoftext|>`` and
    ``[SEG]``, also where the corpus is too small to fill the vocabulary, so that the configuration can
    name them before training.

    Args:
        corpus: instructions and answers.
        vocab_size: ids in all, the two special ones included; at least 258.

    Raises:
        TokenizerError: if ``vocab_size`` cannot hold all bytes and the special tokens.
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
    raw.train_from_iterator([*texts, *_fixed_words()], trainer)
    spare = [f"<|spare{index}|>" for index in range(vocab_size - 2 - raw.get_vocab_size())]
    raw.add_special_tokens([*spare, prompt.END, prompt.SEG])
    wrap: Any = PreTrainedTokenizerFast
    return cast(
        PreTrainedTokenizerFast, wrap(tokenizer_object=raw, eos_token=prompt.END, pad_token=prompt.END)
    )


def load(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, with ``[SEG]`` added if the files do not know it yet.

    Raises:
        TokenizerError: if the folder holds none, or it lacks ``<|endoftext|>``.
    """
    if not any((directory / name).exists() for name in ("tokenizer.json", "vocab.json")):
        raise TokenizerError(
            f"{directory}: neither tokenizer.json nor vocab.json; copy the tokenizer files there"
        )
    # a path that exists is never looked up on the hub, and no code from the folder is run
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    vocabulary = tokenizer.get_vocab()
    if prompt.END not in vocabulary:
        raise TokenizerError(
            f"{directory}: the tokenizer does not know {prompt.END}; use the checkpoint's own"
        )
    if prompt.SEG not in vocabulary:
        tokenizer.add_tokens([prompt.SEG])
    return tokenizer


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Id of one whole token."""
    return int(tokenizer.get_vocab()[token])


def _fixed_words() -> list[str]:
    return [prompt.SYSTEM, prompt._TEMPLATE, prompt._ASK, prompt._TRAIN, prompt.NOTHING]
