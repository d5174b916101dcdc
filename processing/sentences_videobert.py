"""Timed words to timed, punctuated sentences, and the one form of text that WordPiece sees."""

import re
import unicodedata
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, zip_longest

# A pause this long ends a sentence, whatever the punctuation says. A run of so many words, or of so many seconds if it
# has words enough for several sentences, is more than one.
SENTENCE_PAUSE = 2.0
SENTENCE_WORDS = 40
SENTENCE_SECONDS = 30.0
SEVERAL_SENTENCES = 8
SHORTEST_SENTENCE = 0.1
# Nobody says the same thing this often in a row, but a recogniser that lost its way does.
LOOP_REPEATS = 5
LOOP_WORDS = 10
# Scripts that put no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese. Each of their characters is
# placed in time by itself, and two of them count as a word.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff]"
)
CHARACTERS_OF_A_WORD = 2
# A noise is described in no more words than these.
NOISE_WORDS = 6

# What ends a sentence: also of scripts that put no space behind it.
WIDE_STOPS = ("。", "？", "！", "｡", "।", "؟")
STOPS = (".", "?", "!", *WIDE_STOPS)
# Abbreviations that end a sentence only if a capital letter follows ("for 5 min. Then ...") ...
UNITS = set("tbsp tbs tsp oz fl lb lbs pt qt gal pkg pc pcs ml cl dl kg mg cm mm in ft deg".split())
UNITS |= set("sec min mins hr hrs a.m p.m etc".split())
# ... and those that never do.
NEVER_END = set("approx mr mrs ms dr st vs e.g i.e ca temp med lg sm prof".split())


@dataclass
class Word:
    """A word as heard, with its punctuation, and when, in seconds.

    Args:
        text (`str`):
            The word. In scripts without spaces it is one character.
        start (`float`):
            When it begins.
        end (`float`):
            When it ends.
        glued (`bool`, *optional*, defaults to `False`):
            Whether it follows the word before it without a space.
    """

    text: str
    start: float
    end: float
    glued: bool = False


def normalize_text(text: str) -> str:
    """The one form of text that WordPiece sees, whether it was heard or read in subtitles.

    Characters are composed (NFC), quotes and dashes plain, an ellipsis is three dots; white space of any kind is one
    space; what cannot be printed, notes ("♪") and replacement characters are left out. Case and accents stay: whether
    they count is the tokenizer's business.

    Args:
        text (`str`):
            Any text.

    Returns:
        `str`: The same words; normalising it again changes nothing.
    """
    text = unicodedata.normalize("NFC", text).replace("…", "...").replace("\ufffd", "").replace("♪", "")
    text = text.translate(str.maketrans("‘’‚‛“”„‟‐‑‒–—―−", "''''\"\"\"\"-------"))
    text = "".join(" " if char.isspace() else char for char in text if char.isspace() or char.isprintable())
    return re.sub(" +", " ", text).strip()


def spread_words(text: str, start: float, end: float) -> list:
    """The words of a text that is said from `start` to `end`: they share its time by their characters."""
    return spread_units(split_words(text), start, end)


def split_words(text: str) -> list:
    """The words of a text, (text, glued) each; in scripts without spaces its characters, with the marks that belong
    to them."""
    return [(unit, i > 0) for part in normalize_text(text).split() for i, unit in enumerate(_split_characters(part))]


def spread_units(units: list, start: float, end: float) -> list:
    """Words of [`split_words`] that share the time from `start` to `end` by their characters."""
    edges = list(accumulate((len(text) + 1 for text, _ in units), initial=0))
    times = [start + (end - start) * edge / max(1, edges[-1]) for edge in edges]
    return [Word(text, *span, glued) for (text, glued), span in zip(units, pairwise(times), strict=True)]


def _split_characters(text: str) -> list:
    """Text without spaces, cut where a word may end in a script that has none."""
    if not UNSPACED.search(text):
        return [text]
    units = [text[:1]]
    for before, char in pairwise(text):
        if may_separate(before, char):
            units.append(char)
        else:
            units[-1] += char
    return units


def may_separate(before: str, char: str) -> bool:
    """Whether a word may end between two characters without a space: if one of them is of a script that has none, and
    neither is a mark or a punctuation that belongs to the other."""
    kinds = unicodedata.category(before), unicodedata.category(char)
    if kinds[0] in ("Ps", "Pi") or (kinds[1][0] in "MPSZ" and kinds[1] not in ("Ps", "Pi")):
        return False
    wide_mark = kinds[0][0] == "P" and unicodedata.east_asian_width(before) in "WF"
    return wide_mark or bool(UNSPACED.match(before) or UNSPACED.match(char))


def count_words(texts: list) -> float:
    """How many words these are, as far as characters of scripts without spaces can be counted as such."""
    return sum(1 / CHARACTERS_OF_A_WORD if UNSPACED.search(text) else 1 for text in texts)


def join_words(words: list) -> str:
    """The text of words, with a space before each that has one."""
    return "".join(word.text if word.glued else f" {word.text}" for word in words).strip()


def drop_noises(words: list) -> list:
    """The words of one cue, or of one piece of sound, without what was heard but not said: "[Music]" anywhere,
    "(upbeat music)" where it is all of the cue or of a sentence: other parentheses, "(about 2 tbsp)", are said. The
    full stop after a noise, "Stir it [laughs].", is that of the word before it."""
    kept, i = [], 0
    while i < len(words):
        size = _noise_size(words, i)
        if size == 0:
            kept.append(words[i])
        elif kept and kept[-1].text[-1].isalnum():
            noise = words[i + size - 1].text
            kept[-1] = replace(kept[-1], text=kept[-1].text + noise[len(noise.rstrip(".,!?")) :])
        i += max(1, size)
    return kept


def _noise_size(words: list, i: int) -> int:
    """How many words at `i` are a noise in brackets that are closed within a few words and the same sentence."""
    closing = {"[": "]", "(": ")", "【": "】", "（": "）"}.get(words[i].text[0])
    if closing is None:
        return 0
    for end, word in enumerate(words[i : i + NOISE_WORDS], i + 1):
        if word.text.rstrip(".,!?。，！？").endswith(closing):
            return end - i if closing in "]】" or _is_sentence(words, i, end) else 0
        if word.text.endswith(STOPS):
            break
    return 0


def _is_sentence(words: list, start: int, end: int) -> bool:
    """Whether the words from `start` to `end` stand alone between two sentences."""
    if start > 0 and not ends_sentence(words[start - 1].text, words[start].text, cased=False):
        return False
    return end == len(words) or words[end - 1].text.endswith(STOPS) or not words[end].text[0].islower()


def drop_loops(words: list) -> list:
    """Words without endless repetitions, into which a recogniser falls that lost its way; one round is kept."""
    bare = [_without_punctuation(word.text) for word in words]
    longest = LOOP_WORDS * (CHARACTERS_OF_A_WORD if any(word.glued for word in words) else 1)
    kept, i = [], 0
    while i < len(words):
        size, repeats = max(((size, _repeats(bare, i, size)) for size in range(1, longest + 1)), key=lambda x: x[1])
        if repeats < LOOP_REPEATS:
            size, repeats = 1, 1
        kept += words[i : i + size]
        i += size * repeats
    return kept


def _without_punctuation(text: str) -> str:
    """The letters of a word, with the vowel signs that some scripts write as marks of a letter."""
    return "".join(char for char in text.lower() if unicodedata.category(char)[0] not in "PSZC")


def _repeats(words: list, i: int, size: int) -> int:
    """How often in a row the `size` words at `i` are said."""
    repeats = 1
    while words[i + repeats * size : i + (repeats + 1) * size] == words[i : i + size]:
        repeats += 1
    return repeats


def make_sentences(words: list, duration: float | None = None, word_times: bool = False) -> list:
    """Words to sentences: at final punctuation, at long pauses, and within runs that nobody punctuated.

    Args:
        words (`list[Word]`):
            In order, on the video's clock.
        duration (`float`, *optional*):
            Seconds of the video.
        word_times (`bool`, *optional*, defaults to `False`):
            Whether a sentence lists its words with their times.

    Returns:
        `list[dict]`: `{"text", "start", "end"}` with 0 <= start < end <= duration, in order, not overlapping, and
        `"words"` of the same form if asked for. What is said before the first frame or after the last one is left out.
    """
    return place_sentences(split_sentences(words), duration, word_times)


def place_sentences(groups: list, duration: float | None = None, word_times: bool = False) -> list:
    """As [`make_sentences`], of words that are grouped to sentences already."""
    sentences, clock = [], 0.0
    last = float("inf") if duration is None else duration
    for group in groups:
        start, end = max(group[0].start, clock), max(word.end for word in group)
        if end <= 0 or start >= last:
            continue
        start = round(start, 3)
        end = min(round(max(end, start + SHORTEST_SENTENCE), 3), last)
        if end <= start:
            continue
        text = join_words(group)
        if text.rstrip("\"')」』”）")[-1:] not in STOPS:
            text = text.rstrip(",;:-，、；：") + "."
        sentence = {"text": text, "start": float(start), "end": float(end)}
        if word_times:
            sentence["words"] = [_inside(word, start, end) for word in group]
        sentences.append(sentence)
        clock = end
    return sentences


def _inside(word: Word, start: float, end: float) -> dict:
    """A word with its times, no further than its sentence goes."""
    first, last = (round(float(min(max(time, start), end)), 3) for time in (word.start, word.end))
    return {"text": word.text, "start": first, "end": last}


def split_sentences(words: list) -> list:
    """Groups of words, one a sentence."""
    cased = any(char.isupper() for word in words for char in word.text)
    groups, group = [], []
    for word, following in zip_longest(words, words[1:]):
        group.append(word)
        ends = following is None or following.start - word.end >= SENTENCE_PAUSE
        if ends or ends_sentence(word.text, following.text, cased):
            groups += _cut_run(group)
            group = []
    return groups


def ends_sentence(word: str, following: str, cased: bool = True) -> bool:
    """Whether a sentence ends between two words. "2 tbsp. of", "approx. 5 min.", "No. 1" do not end one.

    Args:
        word (`str`):
            A word with its punctuation.
        following (`str`):
            The word after it.
        cased (`bool`, *optional*, defaults to `True`):
            Whether sentences begin with capital letters in this text.

    Returns:
        `bool`: Whether one ends.
    """
    bare = word.rstrip("\"')]」』）")
    if bare.endswith(("?", "!", *WIDE_STOPS)):
        return True
    if bare[-1:] != ".":
        return False
    first = following.lstrip("\"'([")[:1]
    name = bare.rstrip(".").lstrip("\"'([").lower()
    if name in NEVER_END or (name == "no" and first.isdigit()):
        return False
    if name in UNITS or bare.endswith(".."):
        return first.isupper()
    return not (cased and first.islower())


def _cut_run(group: list) -> list:
    """A run of words too long for a sentence, cut at its longest pause, else at a comma, else where there is a space,
    else in the middle, again and again."""
    count, seconds = count_words([word.text for word in group]), group[-1].end - group[0].start
    if count <= SENTENCE_WORDS and (seconds <= SENTENCE_SECONDS or count < SEVERAL_SENTENCES):
        return [group]
    quarter = len(group) // 4

    def pause(i):
        length = round(group[i].start - group[i - 1].end, 1)
        return length, group[i - 1].text[-1] in ",;:，、；：", not group[i].glued, -abs(2 * i - len(group))

    cut = max(range(quarter, len(group) - quarter), key=pause)
    return _cut_run(group[:cut]) + _cut_run(group[cut:])
