"""What is shown on the page, as HTML: lists and tables, which a screen reader reads as they are seen.

A button with `data-time` lets the player go there (`page.js`). All that comes from a video or a visitor is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from app_parts.watching import Seen

LANES = 2  # of sentences, by turns, so that neighbours do not cover each other
TokenPicture = Callable[[int], str | None]  # from a visual id to a JPEG in base64


def timeline(seen: Seen, token_picture: TokenPicture) -> str:
    """Frames, visual tokens and sentences over time.

    Args:
        seen ([`Seen`]):
            The video.
        token_picture (`Callable[[int], str | None]`):
            What the codebook keeps of a visual id, if it does.
    """
    step, row = seen.clip_seconds, seen.row
    clips = "".join(
        f'<li><button data-time="{step * number:.2f}" title="Go to {step * number:.1f} s">'
        f"{frame(seen.pictures, number, step)}{tokens(clip, token_picture)}"
        f'<span class="vb-when">{step * number:.1f} s</span></button></li>'
        for number, clip in enumerate(seen.clips)
    )
    name, said = escape(seen.name), "".join(sentences(row["sentences"], step))
    if said:
        said = f'<ol class="vb-said" aria-label="Sentences">{said}</ol>'
    return (
        f'<section class="vb-timeline" aria-label="Timeline of {name}">{notes(seen)}'
        f'<div class="vb-scroll" role="region" tabindex="0" aria-label="Clips and sentences in the order of time">'
        f'<ol class="vb-clips" aria-label="Clips">{clips}</ol>'
        f"{said}</div></section>"
    )


def notes(seen: Seen) -> str:
    """How much was seen and heard, and what was wrong."""
    row, count = seen.row, len(seen.clips)
    kinds, seconds = len(set(seen.visual_ids)), row["duration"] or 0
    told = [
        f"<strong>{escape(seen.name)}</strong>: {seconds:.1f} s, {count} clips of {seen.clip_seconds:g} s as "
        f"{kinds} different visual tokens, {len(row['sentences'])} sentences."
    ]
    told += [escape(row[kind]) for kind in ("error", "notes") if row[kind]]
    return f'<div role="status">{"".join(f"<p>{one}</p>" for one in told)}</div>'


def sentences(said: Sequence[Mapping], clip_seconds: float) -> list[str]:
    """A box for each sentence at its time, in lanes by turns; it may be as wide as its lane is free."""
    boxes = []
    for number, one in enumerate(said):
        after = said[number + LANES]["start"] if number + LANES < len(said) else one["end"] + 3 * clip_seconds
        start, room = one["start"] / clip_seconds, max(after, one["end"]) - one["start"]
        spoken = (one["end"] - one["start"]) / max(room, 1e-6)
        place = f"--start: {start:.3f}; --room: {room / clip_seconds:.3f}; --lane: {number % LANES}"
        boxes.append(
            f'<li style="{place}; --spoken: {100 * spoken:.0f}%">'
            f'<button data-time="{max(0, one["start"]):.2f}" title="{escape(one["text"])}">'
            f'<span class="vb-when">{one["start"]:.1f}–{one["end"]:.1f} s</span> '
            f"<span>{escape(one['text'])}</span></button></li>"
        )
    return boxes


def frame(pictures: Sequence[str], number: int, clip_seconds: float) -> str:
    """The picture of a clip, or an empty place."""
    if number >= len(pictures):
        return '<span class="vb-frame">no picture</span>'
    when = f"Frame at {clip_seconds * (number + 0.5):.1f} s"
    return f'<img class="vb-frame" alt="{when}" src="data:image/jpeg;base64,{escape(pictures[number])}">'


def tokens(clip: int | Sequence[int], token_picture: TokenPicture) -> str:
    """The visual token of a clip, or those of all its codes."""
    return "".join(token(one, token_picture(one)) for one in ([clip] if isinstance(clip, int) else clip))


def token(visual_id: int, picture: str | None) -> str:
    """A visual token: its picture with its number or, without one, a patch in a colour of its own with the number."""
    if picture is None:
        # Steps of the golden ratio keep neighbouring ids apart.
        hue = visual_id * 0.618 % 1 * 360
        return (
            f'<span class="vb-token vb-patch" style="--hue: {hue:.0f}" aria-label="Visual token {visual_id}">'
            f"<b>{visual_id}</b></span>"
        )
    return (
        f'<span class="vb-token"><img alt="What visual token {visual_id} looks like" '
        f'src="data:image/jpeg;base64,{escape(picture)}"><b>{visual_id}</b></span>'
    )


def filled_masks(masks: Sequence[Mapping[str, Sequence[tuple[str, float]]]]) -> str:
    """For each mask of a sentence a bar chart of words for each way in which it was asked."""
    parts = []
    for number, charts in enumerate(masks, start=1):
        tables = "".join(bars(name, words) for name, words in charts.items())
        parts.append(f'<h3>Mask {number} of {len(masks)}</h3><div class="vb-charts">{tables}</div>')
    return "".join(parts)


def bars(title: str, words: Sequence[tuple[str, float]]) -> str:
    """A bar chart that is a table: words, bars and probabilities."""
    lines = "".join(
        f'<tr><th scope="row">{escape(word)}</th>'
        f'<td class="vb-bar" aria-hidden="true"><span style="width: {100 * score:.1f}%"></span></td>'
        f"<td>{100 * score:.1f} %</td></tr>"
        for word, score in words
    )
    return f'<table class="vb-bars"><caption>{escape(title)}</caption><tbody>{lines}</tbody></table>'


def future(answers: Sequence[Mapping], seen: Seen, token_picture: TokenPicture) -> str:
    """What is expected at each horizon: tokens with their pictures, words, and what came if the video goes on.

    Args:
        answers (`Sequence[Mapping]`):
            As of [`VideoForecastingPipeline`].
        seen ([`Seen`]):
            The video, whole.
        token_picture (`Callable[[int], str | None]`):
            From a visual id to its picture, if there is one.
    """
    columns = []
    for one in answers:
        shown = "".join(
            f"<li>{tokens(clip, token_picture)} <span>{100 * score:.0f} %</span></li>"
            for clip, score in zip(one["visual_ids"], one["scores"], strict=True)
        )
        said = " · ".join(
            f"{escape(mask[0]['token_str'])} {100 * mask[0]['score']:.0f} %" for mask in one.get("words", ())
        )
        ahead = f"{one['horizon']} clip{'s' if one['horizon'] > 1 else ''} ahead"
        columns.append(
            f'<section><h3>{ahead}</h3><p class="vb-when">{one["start"]:.1f}–{one["end"]:.1f} s</p>'
            f'<ol class="vb-expected">{shown}</ol>{f"<p>{said}</p>" if said else ""}{came(one, seen)}</section>'
        )
    return f'<div class="vb-future">{"".join(columns)}</div>'


def came(one: Mapping, seen: Seen) -> str:
    """The clip that a horizon is about, if the video has it."""
    number = round(one["start"] / seen.clip_seconds)
    if number >= len(seen.clips):
        return ""
    return (
        f'<p class="vb-came">What came:</p><button data-time="{one["start"]:.2f}">'
        f"{frame(seen.pictures, number, seen.clip_seconds)}{tokens(seen.clips[number], lambda _: None)}</button>"
    )


def moments(found: Sequence[Mapping], seen: Seen) -> str:
    """Stretches of a video, each a button that goes there."""
    if not found:
        return "<p>There is nothing to be said of it.</p>"
    lines = []
    for one in found:
        middle = int((one["start"] + one["end"]) / 2 / seen.clip_seconds)
        lines.append(
            f'<li><button data-time="{one["start"]:.2f}">{frame(seen.pictures, middle, seen.clip_seconds)}'
            f'<span><span class="vb-when">{one["start"]:.1f}–{one["end"]:.1f} s</span> '
            f"{escape(one['text']) or '<i>nobody speaks</i>'}</span></button></li>"
        )
    return f'<ol class="vb-moments">{"".join(lines)}</ol>'
