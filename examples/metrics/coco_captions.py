"""Captions as the COCO caption evaluation reads them: checked, and cut into words.

The reference cuts them with the Stanford PTB tokenizer (CoreNLP 3.4.1, lower case), a Java program, and leaves out
punctuation. `tokenize_caption` does the same for what captions and recognised speech hold: words with hyphens,
contractions ("don't" becomes "do n't"), possessives, abbreviations, numbers, fractions, brackets, quotes, signs. Web
and mail addresses, telephone numbers, entities ("&amp;"), smileys and scripts that write vowels as marks may be cut in
other places. The words are the same on all 13,829 sentences of YouCook II's annotations, and on all but 4 of the
74,801 that were recognised in its videos.

Each metric's folder has this file as a link: `evaluate` copies a metric only with files that lie beside it, and
uploading a folder to the Hub stores what a link leads to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import datasets

# What the metrics of captions are given.
FEATURES = datasets.Features({
    "predictions": datasets.Value("string"),
    "references": datasets.Sequence(datasets.Value("string")),
})  # fmt: skip
INPUTS = """
Args:
    predictions (`list[str]`):
        One caption for each video.
    references (`list[list[str]]`):
        One or more captions of people for each.
"""
# What the reference takes for something else.
SAME = str.maketrans({
    **dict.fromkeys("’‘", "'"),
    **dict.fromkeys("“”«»", '"'),
    **dict.fromkeys("–—―", "--"),
    **dict.fromkeys("\u200b\u2060\ufeff\u2012", " "),
    "\u00ad": None,
    "…": "...",
})  # fmt: skip
# Signs beyond U+FFFF, such as smileys, are none to the reference.
SOMETHING = re.compile(r"[^\s\U00010000-\U0010ffff]")
ABBREVIATED = """adj adm adv al ala alex apr ariz assn assoc aug ave bldg blvd bros calif capt cf cie cmdr co col colo
    comdr conn corp cos cpl dec dept dr elec esq est etc ext feb fla fri ft ga gen gov hon inc ind intl jan jr jul jun
    kan la lt ltd maj mar md messrs mfg mich minn mo mon mont mr mrs ms mt natl neb nev nov oct okla penn ph pres prof
    pvt rd rep reps rev sen sens sep sept sgt sq sr st supt tel tenn thu thurs tue tues univ va vs vt wed wis wisc
    wyo"""
CLASSES = {
    "LETTER": r"(?:[^\W\d_¼½¾⅐-⅞]|[\u0300-\u036f])",
    "SIGN": r"(?:[^\W_¼½¾⅐-⅞]|[\u0300-\u036f])",
    "ABBREVIATED": f"(?:{'|'.join(ABBREVIATED.split())})",
}
# The longest of these wins, as in the reference, and of equally long ones the first. Where one has a group, that is
# the word: what stands behind it counts as length, and is left for the next word.
PATTERNS = (
    # Two words in one: can not, wan na, let 's, do n't, y' all, rock 'n' roll.
    r"(can)not(?!SIGN)|(gon|wan)na(?!SIGN)|(got)ta(?!SIGN)|(lem|gim)me(?!SIGN)|('t)(?:is|was)(?!SIGN)",
    r"(SIGN*(?!n)SIGN)n't",
    r"(SIGN+)'(?:[msd]|re|ve|ll)(?!LETTER)",
    r"n't|'(?:[msd]|re|ve|ll)(?!LETTER)|[djly]'|'n'?|ol'|dunkin'|somethin'|'(?:em|till?|cause)(?!SIGN)|'[2-9]0s",
    # Apostrophes within words: o'reilly, l'orange, o'clock.
    r"[dlno]'LETTER{2,}|LETTER+[aeiouy]'[aeiou]LETTER*",
    r"(?:o'clock|ma'am|c'mon|s'mores|ev'ry|li'l|cap'n|n?e'er)(?!SIGN)",
    # Numbers, mixed fractions, and what hyphens and slashes join: 1,000, 2 1/2, stir-fry, 3/4-inch, and/or.
    r"[-+]?(?:\d*(?:[.,:]\d+)+|\d+)",
    r"\d{1,4}[- ]\d{1,4}/\d{1,4}",
    r"(?:SIGN+|\d+(?:[.,]\d+)+)(?:[-_‐‑]SIGN+)+",
    r"[a-z\d]+(?:-[a-z]+){0,2}(?:/[a-z\d]+(?:-[a-z]+){0,2}){1,2}",
    # Abbreviations; some are it before a number only.
    r"LETTER(?:\.LETTER)*\.|ph\.d\.|ABBREVIATED\.",
    r"((?:arts?|figs?|nos?|pp?)\.) ?\d",
    # Words, of which "end.next" is one.
    r"LETTERSIGN*(?:[.!?]LETTERSIGN*)*|\dSIGN*",
    r"(?-i:[A-Z]+(?:[+&][A-Z]+)+)|(?-i:([A-Z]+\$))|[@#]LETTER+|</?[a-z][^\s<>]*>",
    # All else.
    r"[?!]+|\.{3,}|-{2,}|\*+|_+|#+|@+|''|``|\S",
)
for name, signs in CLASSES.items():
    PATTERNS = tuple(pattern.replace(name, signs) for pattern in PATTERNS)
PATTERNS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in PATTERNS)
# Signs that are written otherwise. Lower case comes before punctuation is left out, so that brackets stay.
WRITTEN = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
WRITTEN |= {"€": "$", "£": "#", "¢": "cents", "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
LEFT_OUT = {"'", "''", "`", "``", '"', "?", "!", ",", ":", ";"}


def tokenize_caption(caption: str) -> str:
    """The caption's words in lower case, with a blank between each two; a blank within a word is U+00A0."""
    text, words, place = caption.translate(SAME), [], 0
    while found := SOMETHING.search(text, place):
        matches = [match for pattern in PATTERNS if (match := pattern.match(text, found.start()))]
        best = max(matches, key=re.Match.end)
        word, place = best[best.lastindex or 0], best.end(best.lastindex or 0)
        words.append(WRITTEN.get(word, word).lower().replace(" ", "\u00a0"))
    return " ".join(word for word in words if word not in LEFT_OUT and word.strip(".-‐‑"))


def tokenize_captions(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Checks N predictions and the one or more references of each, and cuts them all into words.

    Args:
        predictions (`Sequence[str]`):
            N captions.
        references (`Sequence[Sequence[str]]`):
            N lists of captions.

    Returns:
        `tuple`: the predictions and the lists of references, as [`tokenize_caption`] writes them. Without a word in it
        a caption such as "." becomes "", which earns nothing.

    Raises:
        ValueError: Nothing to score, a prediction without references, or an empty caption.
    """
    if not len(predictions):
        raise ValueError("There are no captions to score.")
    for place, (prediction, own) in enumerate(zip(predictions, references, strict=True)):
        if not own:
            raise ValueError(f"Prediction {place} ({prediction!r}) has no reference: it needs at least one.")
        named = {f"Prediction {place}": prediction}
        named |= {f"Reference {number} of prediction {place}": reference for number, reference in enumerate(own)}
        for name, caption in named.items():
            if not caption or not caption.strip():
                raise ValueError(f"{name} is an empty caption: a caption has words, and one that says nothing is '.'.")
    return [*map(tokenize_caption, predictions)], [[*map(tokenize_caption, own)] for own in references]


def count_phrases(caption: str) -> list[Counter]:
    """How often each phrase of a tokenized caption occurs: of one word, of two, three and four, as tuples of words."""
    words = caption.split()
    return [Counter(zip(*(words[start:] for start in range(length)), strict=False)) for length in (1, 2, 3, 4)]
