"""What a picture shows, in words: captions, their vocabulary, and the tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from training.person import CLOTHES, COLOURS, EYE_COLOURS, HAIR, HATS, Person
from training.styles import STYLES

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
FILLERS = """
the in on with and at by his her very nice beautiful great simple high quality detailed sharp best good looking studio light
soft natural close up view front side city street forest beach snow night day sky astronaut king queen doctor chef film
cinematic style picture image painting drawing art ugly bad blurry low
"""
"""Words that a person may write and that no picture here can show: the text encoders learn to pass over them."""


CHANGE_WORDS = {
    "head-fat-incr": ("round face", "thin face"),
    "head-scale-horiz-incr": ("wide head", "narrow head"),
    "head-scale-vert-incr": ("long head", "short head"),
    "nose-scale-horiz-incr": ("wide nose", "narrow nose"),
    "nose-scale-vert-incr": ("long nose", "short nose"),
    "mouth-scale-horiz-incr": ("wide mouth", "small mouth"),
    "mouth-lowerlip-volume-incr": ("full lips", "thin lips"),
    "chin-width-incr": ("wide chin", "narrow chin"),
    "chin-prominent-incr": ("long chin", "short chin"),
    "l-eye-scale-incr": ("big eyes", "small eyes"),
    "l-ear-scale-incr": ("big ears", "small ears"),
}
EYE_WORDS = ("dark eyes", "brown eyes", "green eyes", "blue eyes", "grey eyes")


def traits(person: Person) -> list[str]:
    """What is special about a face, as phrases."""
    phrases = [EYE_WORDS[EYE_COLOURS.index(person.eye_rgb)]]
    for name, (more, less) in CHANGE_WORDS.items():
        value = person.changes.get(name, 0.0)
        phrases += [more] if value > 0.35 else [less] if value < -0.35 else []
    phrases += ["thick brows"] if person.brow[0] > 1.25 else ["thin brows"] if person.brow[0] < 0.85 else []
    phrases += ["red lips"] if person.lip[0] > 0.45 else []
    phrases += ["freckles"] if person.freckles else []
    return phrases


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


def caption(shown: dict[str, Any], style: str, own: list[str], r: np.random.Generator, *, identity: float) -> str:
    """One of many captions of a picture. own: the person's traits. identity: how often it says who it is."""
    who = shown["gender"] if r.random() < 0.3 + 0.7 * identity else "person"
    if shown["old"] and r.random() < identity:
        who = f"old {who}"
    subject = r.choice([f"{style} of a {who}", f"portrait of a {who}, {style}", f"a {who}, {style}"], p=(0.6, 0.2, 0.2))
    if style == "photo" and r.random() < 0.3:
        subject = r.choice([f"a portrait of a {who}", f"a {who}", "a portrait", f"portrait of a {who}"])
    phrases = scene(shown)
    if r.random() < identity:
        phrases += [phrase for phrase in describe(shown) if r.random() < 0.85]
        phrases += [phrase for phrase in own if r.random() < 0.5]
    phrases = [phrase for phrase in phrases if r.random() < 0.93]
    r.shuffle(phrases)
    if r.random() < 0.15:
        phrases.insert(int(r.integers(len(phrases) + 1)), " ".join(r.choice(FILLERS.split(), int(r.integers(1, 4)))))
    return ", ".join([subject, *phrases])


def vocabulary() -> list[str]:
    """Every word of the captions, and what else a prompt may hold."""
    texts = [*COLOURS, *HAIR, *STYLES, *CLOTHES, *HATS[1:], *SKIN, *STYLE_WORDS.values(), *BEARD_WORDS.values(), FILLERS]
    texts += [*EYE_WORDS, *(word for pair in CHANGE_WORDS.values() for word in pair), "thick thin brows red lips freckles"]
    texts.append("person woman man old portrait of a photo background glasses open mouth smiling skin ,")
    return sorted({word for text in texts for word in text.replace("{}", "").split()})


def write_tokenizer(folder: Path) -> None:
    """CLIP's tokenizer with a small vocabulary: each known word is one token, others fall into letters. Token 0 is "!"."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from tokenizers.pre_tokenizers import ByteLevel

    words = vocabulary()
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.Whitespace()
    last = sorted({f"{word[-1]}</w>" for word in words if word.isalnum()})  # first, as else each process has its own order
    trainer = trainers.BpeTrainer(vocab_size=5000, end_of_word_suffix="</w>", show_progress=False, special_tokens=last)
    trained.train_from_iterator([word for word in words if word.isalnum()] * 2, trainer)
    merges = json.loads(trained.to_str())["model"]["merges"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    letters = ["!", *sorted(set(ByteLevel.alphabet()) - {"!"})]
    entries = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair.split()) for pair in merges)]
    entries = [*dict.fromkeys(entries), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({entry: i for i, entry in enumerate(entries)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
