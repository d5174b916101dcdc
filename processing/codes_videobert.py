"""How many visual ids a clip has: one, as in the paper, or by option of the codebook several codes.

The codebook decides it; the joint vocabulary and the rows that are made with it carry it on. Visual ids lie flat, clip
after clip. Who turns their places into clips, or into times, asks here.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence

# The ids of a clip: one, or a tuple of its codes.
Clip = int | tuple[int, ...]


def code_sizes(codebook) -> tuple[int, ...]:
    """How many ids the first, the second, … code of a clip has, each behind those of the code before.

    Args:
        codebook ([`VisualCodebook`]):
            Or what stands in for it, with one visual id a clip where it says nothing else.
    """
    return tuple(getattr(codebook, "code_sizes", None) or (codebook.codebook_size,))


def codes_per_clip(codebook) -> int:
    """Visual ids of a clip in a codebook, or in what stands in for it."""
    return len(getattr(codebook, "code_sizes", (1,)))


def code_choices(sizes: Sequence[int]) -> tuple[int, ...]:
    """How many ids each code of a clip may have after the ones before it: all of its own or, of a path down a tree,
    those of the children. Levels of a tree of b branches have b, b², b³, … ids; residual codes have as many as the
    first one.

    Args:
        sizes (`Sequence[int]`):
            How many ids each code has at all.
    """
    levels = tuple(sizes[0] ** level for level in range(1, len(sizes) + 1))
    return (sizes[0],) * len(sizes) if tuple(sizes) == levels else tuple(sizes)


def noted_in_row(codebook) -> dict[str, str | int]:
    """What a row notes of the codebook of its visual ids: `codebook`, and `tokens_per_clip` where it is not 1."""
    return {"codebook": codebook.fingerprint} | noted_count(codes_per_clip(codebook))


def noted_count(count: int) -> dict[str, int]:
    """What says how many visual ids a clip has: `tokens_per_clip`, or nothing where it is 1."""
    return {"tokens_per_clip": count} if count > 1 else {}


def tokens_per_clip(row: Mapping) -> int:
    """Visual ids of each clip of a row."""
    return row.get("tokens_per_clip") or 1


def num_clips(row: Mapping) -> int:
    """Clips of a row."""
    return len(row["visual_ids"]) // tokens_per_clip(row)


def ids_of_clips(row: Mapping, clips: range) -> list[int]:
    """The visual ids of some clips of a row, all of each clip."""
    ids, each = row["visual_ids"], tokens_per_clip(row)
    if each == 1:
        return list(ids[clips.start : clips.stop : clips.step])
    return [visual_id for clip in clips for visual_id in ids[clip * each : (clip + 1) * each]]


def clips_of(row: Mapping) -> list[Clip]:
    """The clips of a row, or of a stretch of one, in the order of time."""
    return split_clips(row["visual_ids"], tokens_per_clip(row))


def split_clips(visual_ids: Sequence[int], each: int) -> list[Clip]:
    """Visual ids by clip: the ids themselves where a clip has one, otherwise a tuple a clip.

    Raises:
        ValueError: They are no whole clips.
    """
    check_whole(len(visual_ids), each)
    if each == 1:
        return list(visual_ids)
    return [tuple(visual_ids[start : start + each]) for start in range(0, len(visual_ids), each)]


def join_clips(clips: Iterable[Clip]) -> list[int]:
    """The way back: clips to flat visual ids."""
    return [visual_id for clip in clips for visual_id in (clip if isinstance(clip, tuple) else (clip,))]


def beginnings(clip: Clip) -> list[Clip]:
    """A clip, and it without its last code, without its last two, …; of one visual id there is no less."""
    return [clip[:count] for count in range(len(clip), 0, -1)] if isinstance(clip, tuple) else [clip]


def check_whole(count: int, each: int) -> None:
    """Raise `ValueError` unless so many visual ids are whole clips."""
    if count % each:
        raise ValueError(
            f"There are {count} visual ids; a clip has {each} in this codebook, so the last is cut short."
        )


def checked_ids(visual_ids: Sequence, sizes: Sequence[int]) -> list[int]:
    """Visual ids as plain integers.

    Args:
        visual_ids (`Sequence[int]`):
            Those of whole clips.
        sizes (`Sequence[int]`):
            How many ids each code of a clip has in their codebook.

    Raises:
        ValueError: Something else than integers, an id that the codebook does not have or not for this code of a
            clip, or a clip that is cut short.
    """
    try:
        ids = [operator.index(one) for one in visual_ids]
    except TypeError as error:
        raise ValueError(f"Visual ids must be integers; {visual_ids!r:.80} holds others.") from error
    for one in ids:
        if not 0 <= one < sum(sizes):
            raise ValueError(f"Visual id {one} is outside the codebook, whose ids are 0 to {sum(sizes) - 1}.")
    check_whole(len(ids), len(sizes))
    for place, one in enumerate(ids):
        code = place % len(sizes)
        first, count = sum(sizes[:code]), sizes[code]
        if not first <= one < first + count:
            raise ValueError(
                f"Visual id {one} stands for code {code + 1} of clip {place // len(sizes)}, "
                f"whose ids are {first} to {first + count - 1}."
            )
    return ids
