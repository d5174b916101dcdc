"""What happens when a visitor presses something: limits, work, and HTML; errors become sentences on the page."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

import gradio as gr
from endings import refused_by_us
from gradio.utils import get_upload_folder
from transformers.utils import logging

from app_parts import drawing
from app_parts.asking import Answers
from app_parts.limits import RateLimit
from app_parts.watching import Seen, StoppedError, Watcher, jpeg
from processing.codes_videobert import ids_of_clips, join_clips

logger = logging.get_logger(__name__)

UNFORESEEN = "This went wrong for a reason that nobody has foreseen. It stands in the log of this machine."
NO_VIDEO = "There is no video yet: drop one on the page, or take a sample."
NOT_GIVEN = "Nobody gave this file to the page; allowed are a video that was dropped on it, and its samples."
NO_CAPTIONER = (
    "This model has no captioner beside it, so it cannot say in whole sentences what a video shows. "
    "`examples/caption.py` trains one; `--captioner` names its folder."
)
EMPTY = '<p class="vb-empty">The video will be shown here: its frames, its visual tokens, and what is said in it.</p>'
WHOLE = "the whole video"
WITH, WITHOUT, OTHER = "with this video", "without video", "with another video"


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """What is refused inside is told to the visitor in its sentence; what nobody has foreseen is logged."""
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        told = str(error) if refused_by_us(error) else UNFORESEEN
        if told is UNFORESEEN:
            logger.exception("A question of the page went wrong.")
        raise gr.Error(escape(told), duration=None, title="Sorry", print_exception=False) from None


@dataclass
class Sample:
    """A video that visitors may take.

    Args:
        path (`Path`):
            A copy of it that the page may show.
        seen ([`Seen`]):
            Watched beforehand.
    """

    path: Path
    seen: Seen


class Desk:
    """Serves all visitors.

    Args:
        watcher ([`Watcher`]):
            Watches videos.
        answers ([`Answers`]):
            Asks the model.
        samples (`Mapping[str, Sample]`):
            By name.
        videos, questions ([`RateLimit`]):
            How many of them a visitor may have.
    """

    def __init__(
        self,
        watcher: Watcher,
        answers: Answers,
        samples: Mapping[str, Sample],
        videos: RateLimit,
        questions: RateLimit,
    ):
        self.watcher, self.answers, self.samples = watcher, answers, samples
        self._videos, self._questions = videos, questions
        self._uploads: dict[str, set[str]] = defaultdict(set)  # by session

    # --- the video ---------------------------------------------------------------------------------------------------

    def forget(self):
        """There is no video any more, or another one: (timeline, what was seen, parts, others, seconds)."""
        return EMPTY, None, gr.update(choices=[], value=None), gr.update(), gr.update(value=0, maximum=1)

    def look(self, path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()):  # noqa: B008
        """Watches the visitor's video."""
        with in_a_sentence():
            if path is None:
                raise ValueError(NO_VIDEO)
            if (sample := self._sample_of(path)) is not None:
                return self._show(sample.seen)
            if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
                raise ValueError(NOT_GIVEN)  # Gradio lets programs name all that it may show
            self._uploads[request.session_hash].add(path)
            self._videos.take(visitor(request))
            progress(0, desc="Opening the video")

            def tell(stage: str, count: int, clips: int | None) -> None:
                if clips:
                    progress((min(count, clips), clips), desc="Watching", unit="clips")
                else:
                    progress((0, None), desc="Listening")

            try:
                seen = self.watcher.look(path, request.session_hash, tell)
            except StoppedError:
                return self.stopped()
            return self._show(seen)

    def take(self, name: str):
        """A sample instead: its file for the player, and what [`Desk.look`] gives."""
        sample = self.samples[name]
        return str(sample.path), *self._show(sample.seen)

    def stop(self, request: gr.Request):
        """Ends what is watched for the visitor."""
        self.watcher.stop(request.session_hash)
        return self.stopped()

    def stopped(self):
        """What is shown then."""
        return "<p>Stopped.</p>", *self.forget()[1:]

    def leave(self, request: gr.Request) -> None:
        """The visitor has left: nothing of theirs is kept, unless somebody else gave the same file."""
        self.watcher.stop(request.session_hash)
        theirs = self._uploads.pop(request.session_hash, set())
        for path in theirs.difference(*self._uploads.values()):
            shutil.rmtree(Path(path).parent, ignore_errors=True)  # a folder of its own, named by what the file holds

    def _sample_of(self, path: str) -> Sample | None:
        """The sample that the player shows, if it does."""
        return next((one for one in self.samples.values() if one.path == Path(path)), None)

    def _show(self, seen: Seen):
        parts = [(part_name(one), number) for number, one in enumerate(self.answers.moments(seen.row))]
        others = [name for name, sample in self.samples.items() if sample.seen is not seen]
        clips = len(seen.clips)
        return (
            drawing.timeline(seen, self.codebook_picture),
            seen,
            gr.update(choices=[(WHOLE, -1), *parts], value=0 if parts else -1),
            gr.update(choices=others, value=others[0] if others else None),
            # Half of it, so that what is expected stands beside what comes.
            gr.update(
                maximum=max(clips, 1) * seen.clip_seconds,
                value=(clips + 1) // 2 * seen.clip_seconds,
                step=seen.clip_seconds,
            ),
        )

    # --- questions ---------------------------------------------------------------------------------------------------

    def fill(self, seen: Seen | None, text: str, part: int | None, other: str | None, request: gr.Request) -> str:
        """Words for the masks of a sentence, with a part of this video, without video, and with another one."""
        with self._asked(seen, request):
            ids = self._part(seen, part)
            shown = {WITH: ids, WITHOUT: None}
            if other in self.samples:
                name = f"{OTHER}, {other}"
                shown[name] = self.samples[other].seen.visual_ids[: len(ids)]  # as many clips
            return drawing.filled_masks(self.answers.fill(text, shown))

    def forecast(self, seen: Seen | None, seconds: float, text: str, request: gr.Request) -> str:
        """What comes after the first seconds."""
        with self._asked(seen, request):
            shown = ids_of_clips(seen.row, range(round(seconds / seen.clip_seconds)))
            answers = self.answers.forecast(shown, text)
            return drawing.future(answers, seen, lambda visual_id: self.any_picture(visual_id, seen))

    def caption(self, seen: Seen | None, request: gr.Request) -> str:
        """The video in words."""
        with self._asked(seen, request):
            return drawing.moments(self.answers.caption(seen.visual_ids), seen)

    def find(self, seen: Seen | None, text: str, request: gr.Request) -> str:
        """The moments that a text fits."""
        with self._asked(seen, request):
            return drawing.moments(self.answers.find(seen.row, text), seen)

    @contextmanager
    def _asked(self, seen: Seen | None, request: gr.Request) -> Iterator[None]:
        with in_a_sentence():
            if seen is None:
                raise ValueError(NO_VIDEO)
            self._questions.take(visitor(request))
            yield

    def _part(self, seen: Seen, part: int | None) -> list[int]:
        """The visual ids of a moment, or of the whole video."""
        moments = self.answers.moments(seen.row)
        if part is None or not 0 <= part < len(moments):
            return seen.visual_ids
        return moments[part]["visual_ids"]

    # --- pictures of visual tokens -----------------------------------------------------------------------------------

    def codebook_picture(self, visual_id: int) -> str | None:
        """What the codebook keeps of a visual id."""
        kept = self.watcher.codebook.frame(visual_id)
        return None if kept is None else jpeg(kept)

    def any_picture(self, visual_id: int, seen: Seen) -> str | None:
        """The same or, where there is none, a clip with this id: of the video or of a sample."""
        if (kept := self.codebook_picture(visual_id)) is not None:
            return kept
        for one in (seen, *(sample.seen for sample in self.samples.values())):
            for clip, picture in zip(one.clips, one.pictures, strict=False):
                if visual_id in join_clips([clip]):
                    return picture
        return None


def visitor(request: gr.Request) -> str:
    """Whose limits count: the address that the request comes from."""
    return request.client.host if request.client else "nobody"


def part_name(moment: Mapping) -> str:
    """A moment in a list."""
    said = f"“{moment['text']}”" if moment["text"] else "nobody speaks"
    return f"{moment['start']:.1f}–{moment['end']:.1f} s: {said}"
