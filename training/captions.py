"""What a picture shows, in words: captions, their vocabulary, and the tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

SKIN = ("fair", "light", "tan", "brown", "dark")
STYLE_WORDS = {
    "bald": "a bald head",
    "crop": "{} cropped hair",
    "short": "{} short hair",
    "fringe": "{} hair with a fringe",
    "curly": "{} curly hair",
    "bun": "{} hair in a bun",
    "chin": "{} chin length hair",
    "long": "{} long hair",
}
BEARD_WORDS = {"stubble": "stubble", "moustache": "a moustache", "goatee": "a goatee", "full": "a full beard"}
FILLERS = (
    *"a the of in on with and at by his her very nice beautiful great simple high quality detailed sharp best good looking".split(),
    *"studio light soft natural face head close up view front side city street forest beach snow night day sky".split(),
    *"astronaut king queen doctor chef film cinematic 4k style picture image painting drawing art ugly bad blurry low".split(),
)
"""Words that a person may write and that no picture here can show: the text encoders learn to pass over them."""


def describe(shown: dict[str, Any]) -> list[str]:
    """Who it is, as phrases."""
    skin = SKIN[min(4, int(shown["tone"] * 5))]
    phrases = [f"{skin} skin", STYLE_WORDS[shown["style"]].format(f"{shown['hair']}")]
    if shown["beard"] != "none":
        phrases.append(BEARD_WORDS[shown["beard"]])
    return phrases


def scene(shown: dict[str, Any]) -> list[str]:
    """What else there is, as phrases: in this order or another."""
    phrases = [f"{shown['background']} background", f"{shown['clothes_colour']} {shown['clothes']}"]
    if shown["hat"] != "none":
        phrases.append(f"{shown['hat_colour']} {shown['hat']}")
    if shown["glasses"] != "none":
        phrases.append("glasses")
    if shown["mouth"] > 0.3:
        phrases.append("open mouth")
    elif shown["smile"] > 0.5:
        phrases.append("smiling")
    return phrases


def caption(shown: dict[str, Any], style: str, r: np.random.Generator, *, identity: float) -> str:
    """One of many captions of a picture. identity: how often it says who it is."""
    who = shown["gender"] if r.random() < 0.3 + 0.7 * identity else "person"
    if shown["old"] and r.random() < identity:
        who = f"old {who}"
    subject = r.choice([f"{style} of a {who}", f"portrait of a {who}, {style}", f"a {who}, {style}"], p=(0.6, 0.2, 0.2))
    if style == "photo" and r.random() < 0.3:
        subject = r.choice([f"a portrait of a {who}", f"a {who}", "a portrait", f"portrait of a {who}"])
    phrases = scene(shown)
    if r.random() < identity:
        phrases += [phrase for phrase in describe(shown) if r.random() < 0.85]
    phrases = [phrase for phrase in phrases if r.random() < 0.93]
    r.shuffle(phrases)
    if r.random() < 0.15:
        phrases.insert(int(r.integers(len(phrases) + 1)), " ".join(r.choice(FILLERS, int(r.integers(1, 4)))))
    return ", ".join([subject, *phrases])


def vocabulary() -> list[str]:
    """Every word of the captions, and what else a prompt may hold."""
    from training.people import CLOTHES, COLOURS, HAIR, HATS
    from training.styles import STYLES

    texts = [*COLOURS, *HAIR, *STYLES, *CLOTHES, *HATS[1:], *SKIN, *STYLE_WORDS.values(), *BEARD_WORDS.values(), *FILLERS]
    texts += "person woman man old portrait of a photo background glasses open mouth smiling skin ,".split()
    return sorted({word for text in texts for word in text.replace("{}", "").split()})


def write_tokenizer(folder: Path) -> None:
    """CLIP's tokenizer with a small vocabulary: each known word is one token, others fall into letters. Token 0 is "!"."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from tokenizers.pre_tokenizers import ByteLevel

    words = vocabulary()
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=5000, end_of_word_suffix="</w>", show_progress=False)
    trained.train_from_iterator([word for word in words if word.isalnum()] * 2, trainer)
    merges = json.loads(trained.to_str())["model"]["merges"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    letters = ["!", *sorted(set(ByteLevel.alphabet()) - {"!"})]
    entries = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair.split()) for pair in merges)]
    entries = [*dict.fromkeys(entries), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({entry: i for i, entry in enumerate(entries)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
