"""Stems of English words by the Porter2 algorithm (M. F. Porter, 2001): "chops" and "chopping" have the stem chop."""

from __future__ import annotations

import re
from functools import lru_cache

VOWEL = "[aeiouy]"
# Behind the first vowel and the consonant that follows it: what may be taken away.
REGION = re.compile(f"{VOWEL}[^aeiouy](.*)")
REGION_OF_SOME = re.compile("(?:gener|commun|arsen)(.*)")
IRREGULAR = {
    "skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl",
    "ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl", "sky": "sky", "news": "news",
    "howe": "howe", "atlas": "atlas", "cosmos": "cosmos", "bias": "bias", "andes": "andes",
}  # fmt: skip
LEFT_ALONE = {"inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"}
STEP_2 = {
    "ization": "ize", "ational": "ate", "fulness": "ful", "ousness": "ous", "iveness": "ive", "tional": "tion",
    "biliti": "ble", "lessli": "less", "entli": "ent", "ation": "ate", "alism": "al", "aliti": "al", "ousli": "ous",
    "iviti": "ive", "fulli": "ful", "enci": "ence", "anci": "ance", "abli": "able", "izer": "ize", "ator": "ate",
    "alli": "al", "bli": "ble", "ogi": "og", "li": "",
}  # fmt: skip
STEP_3 = {
    "ational": "ate", "tional": "tion", "alize": "al", "icate": "ic", "iciti": "ic", "ative": "", "ical": "ic",
    "ness": "", "ful": "",
}  # fmt: skip
STEP_4 = "ement ance ence able ible ment ant ent ism ate iti ous ive ize ion al er ic".split()


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """The stem of a word in lower case."""
    if len(word) <= 2 or word in IRREGULAR:
        return IRREGULAR.get(word, word)
    # A consonant y is written Y.
    word = re.sub(f"(^|{VOWEL})y", lambda match: match[1] + "Y", word.removeprefix("'"))
    found = REGION_OF_SOME.match(word) or REGION.search(word)
    first = len(word) - len(found[1]) if found else len(word)
    found = REGION.search(word, first)
    second = len(word) - len(found[1]) if found else len(word)
    word = strip_plural(word)
    if word not in LEFT_ALONE:
        word = strip_past(word, first)
        if re.search(r".[^aeiouy][yY]$", word):
            word = word[:-1] + "i"
        word = exchange(word, STEP_2, first)
        word = exchange(word, STEP_3, first, second)
        word = strip_ending(word, second)
        word = strip_last(word, first, second)
    return word.lower()


def strip_plural(word: str) -> str:
    """pans → pan, berries → berri, glasses → glass."""
    word = re.sub("('s'|'s|')$", "", word)
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and re.search(f"{VOWEL}.+s$", word):
        return word[:-1]
    return word


def strip_past(word: str, first: int) -> str:
    """chopped, chopping → chop; sliced → slice; agreed → agree."""
    if found := re.search("eed(ly)?$", word):
        return word[: found.start()] + "ee" if found.start() >= first else word
    found = re.search("(ed|ing)(ly)?$", word)
    if not found or not re.search(VOWEL, word[: found.start()]):
        return word
    word = word[: found.start()]
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if re.search(r"(bb|dd|ff|gg|mm|nn|pp|rr|tt)$", word):
        return word[:-1]
    return word + "e" if first >= len(word) and ends_short(word) else word


def ends_short(word: str) -> bool:
    """Whether it ends with a short syllable, as "chop" and "at" do."""
    return bool(re.search("[^aeiouy][aeiouy][^aeiouywxY]$|^[aeiouy][^aeiouy]$", word))


def exchange(word: str, endings: dict[str, str], first: int, second: int = 0) -> str:
    """The longest of the endings becomes another, if it lies in the region."""
    for ending in endings:
        if word.endswith(ending):
            rest = word[: -len(ending)]
            allowed = {"ogi": rest.endswith("l"), "li": rest[-1:] in tuple("cdeghkmnrt"), "ative": len(rest) >= second}
            return rest + endings[ending] if len(rest) >= first and allowed.get(ending, True) else word
    return word


def strip_ending(word: str, second: int) -> str:
    """adjustment → adjust, if the ending lies in the second region."""
    for ending in STEP_4:
        if word.endswith(ending):
            rest = word[: -len(ending)]
            return rest if len(rest) >= second and (ending != "ion" or rest.endswith(("s", "t"))) else word
    return word


def strip_last(word: str, first: int, second: int) -> str:
    """The e that is not heard, and one of two l."""
    rest = word[:-1]
    if word.endswith("e") and (len(rest) >= second or (len(rest) >= first and not ends_short(rest))):
        return rest
    return rest if word.endswith("ll") and len(rest) >= second else word
