"""The one door for users: text and videos in, the joint sequence of words and visual tokens out."""

import os
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, BatchFeature, PreTrainedConfig, ProcessorMixin
from transformers.processing_utils import ProcessingKwargs, Unpack
from transformers.tokenization_utils_base import TextInput
from transformers.utils import logging
from transformers.video_utils import VideoInput

from .backbone_videobert import Backbone, load_preprocessing
from .building_videobert import MACHINE_OPTIONS, build_backbone, build_recognizer
from .card_videobert import fill_empty_card, processor_card
from .codebook_videobert import VisualCodebook
from .codes_videobert import checked_ids, code_sizes, noted_in_row
from .description_videobert import (
    PICTURES,
    SPEECH,
    Findings,
    Listening,
    Progress,
    has_sound,
    look_at_video,
    named_video,
    sentences_heard,
    sentences_of_subtitles,
    told_in,
    unwatched,
)
from .names_videobert import blaming_settings, is_on_this_machine, local_name, model_name, saved_name
from .opening_videobert import is_one_video
from .sequence_videobert import joint_sequence, joint_tokenizer, sequence_ids, visual_token
from .speech_videobert import SpeechRecognizer
from .tasks_videobert import TASKS
from .video_processing_videobert import VideoBertVideoProcessor

logger = logging.get_logger(__name__)


class VideoBertProcessorKwargs(ProcessingKwargs, total=False):
    _defaults = {"text_kwargs": {"padding": True, "truncation": True, "return_tensors": "pt"}}


NETWORKS = ("asr_model", "backbone")
# Options of a standard video processor that choose frames, which here the clips do.
UNHEEDED = {"num_frames", "do_sample_frames", "video_metadata", "return_metadata"}
# What is given anew on loading as it is; the library would copy it, which a ready-made network may not survive.
GIVEN = ("asr_options", "backbone_options", "codebook", *NETWORKS)
# What must not be copied or written when the rest of a processor is.
HELD = (*GIVEN, "_recognizer", "_backbone", "_made_of")


class VideoBertProcessor(ProcessorMixin):
    """Turns videos and text into what VideoBERT reads (paper, sections 3.2 and 4.2).

    Text alone needs neither speech model nor video network: both are kept by id and built at the first video.

    Args:
        video_processor ([`VideoBertVideoProcessor`]):
            Cuts a video into clips and prepares their pixels.
        tokenizer ([`BertTokenizer`]):
            The joint vocabulary of `joint_tokenizer`.
        asr_model (`str`, *optional*):
            Hub id or folder of a Whisper checkpoint, or a ready pipeline of one.
        backbone (`str`, *optional*):
            Network, or networks joined by `+`, on whose features the codebook was fitted: ids as of [`Backbone`]; or a
            ready one.
        codebook ([`VisualCodebook`], *optional*):
            Feature to visual id. Saved with the processor, in `codebook/`.
        asr_options (`dict`, *optional*):
            Options of [`SpeechRecognizer`]: `language`, `task` and `engine`, and how it runs on this machine, which is
            not saved: `device`, `dtype`, `batch_size`.
        backbone_options (`dict`, *optional*):
            How the backbone runs on this machine, which is not saved: `device`, `dtype`, `batch_size` and `compile`
            of [`Backbone`].

    Options and networks that are changed later take effect with the next video.
    """

    valid_processor_kwargs = VideoBertProcessorKwargs
    # By task the pipelines that read with it, whose code goes where its own goes.
    tasks = TASKS
    is_one_video = staticmethod(is_one_video)

    def __init__(
        self,
        video_processor,
        tokenizer,
        asr_model=None,
        backbone=None,
        codebook=None,
        asr_options: dict | None = None,
        backbone_options: dict | None = None,
    ):
        super().__init__(video_processor, tokenizer)
        self.asr_model, self.backbone, self.codebook = asr_model, backbone, codebook
        self.asr_options, self.backbone_options = asr_options, backbone_options
        self._recognizer, self._backbone = None, None
        # By network what it was built from: whether that is still what is wanted.
        self._made_of = {}

    def __getstate__(self) -> dict:
        """What another process gets: it builds the networks that are known by name itself."""
        return {**vars(self), "_recognizer": None, "_backbone": None, "_made_of": {}}

    # --- saving: the networks are referred to, the codebook's weights are ours ---------------------------------------

    def to_dict(self) -> dict:
        held = {name: self.__dict__.pop(name) for name in HELD}
        try:
            output = super().to_dict()
        finally:
            self.__dict__.update(held)
        hearing = {name: value for name, value in (self.asr_options or {}).items() if name not in MACHINE_OPTIONS}
        output |= {name: saved_name(getattr(self, name)) for name in NETWORKS}
        # Names the subfolder that holds the weights.
        return output | {"asr_options": hearing or None, "codebook": None if self.codebook is None else "codebook"}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs):
        """As in transformers. The codebook is saved too; speech recogniser and backbone are referred to by name, a
        folder of this machine by one that its owner finds again, never by the path of a home."""
        if self.codebook is not None:
            self.codebook.save_pretrained(Path(save_directory) / "codebook")
        self._tell_of_networks()
        saved = super().save_pretrained(save_directory, **kwargs)
        # The library leaves a note on where the code lies, which a processor that was loaded does not have.
        vars(self).pop("auto_map", None)
        return saved

    def _upload_modified_files(self, working_dir, repo_id, *args, **kwargs):
        """A push brings a card; the library would leave an empty form."""
        fill_empty_card(working_dir, processor_card(self, repo_id))
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def _tell_of_networks(self):
        """Says which networks others do not get with what is saved."""
        given = {name: getattr(self, name) for name in NETWORKS if getattr(self, name) is not None}
        for name in [name for name in given if model_name(given[name]) is None]:
            logger.warning(f"The {name} is ready-made and has no name: it is not saved, give it again on loading.")
            del given[name]
        folders = {name: saved_name(network) for name, network in given.items() if is_on_this_machine(network)}
        if folders:
            told = ", ".join(f"{name} {folder!r}" for name, folder in folders.items())
            logger.warning_once(
                f"What the processor refers to lies on this machine only ({told}); others must pass "
                f"{' and '.join(f'{name}=…' for name in folders)} to from_pretrained."
            )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs):
        """As in transformers; `asr_model`, `backbone`, `codebook`, `asr_options` and `backbone_options` that are given
        here are taken instead of the saved ones."""
        given = {name: kwargs.pop(name) for name in GIVEN if name in kwargs}
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        processor.asr_model, processor.backbone = local_name(processor.asr_model), local_name(processor.backbone)
        vars(processor).update(given)
        if isinstance(processor.codebook, str):
            hub = {key: kwargs[key] for key in ("cache_dir", "revision", "token", "local_files_only") if key in kwargs}
            hub["subfolder"] = processor.codebook
            settings, _ = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **hub)
            # AutoModel does not find the code of our own, which lies in the folder above; it knows what is registered.
            ours = settings.get("model_type") == VisualCodebook.config_class.model_type
            processor.codebook = (VisualCodebook if ours else AutoModel).from_pretrained(
                pretrained_model_name_or_path, **hub
            )
        return processor

    @classmethod
    def from_models(
        cls,
        text_model: str,
        asr_model=None,
        backbone=None,
        codebook=None,
        asr_options: dict | None = None,
        backbone_options: dict | None = None,
    ):
        """A new processor out of models chosen by Hub id or folder.

        Args:
            text_model (`str`):
                A BERT checkpoint, for its WordPieces.
            asr_model (`str`, *optional*):
                A Whisper checkpoint.
            backbone (`str`, *optional*):
                Video or image networks, as of [`Backbone`]; each prepares the clips the way its own processor says.
            codebook ([`VisualCodebook`], *optional*):
                Without one, [`~VideoBertProcessor.add_codebook`] follows later.
            asr_options (`dict`, *optional*):
                What the recogniser is to know besides, such as `{"language": "de"}`.
            backbone_options (`dict`, *optional*):
                How the backbone runs, such as `{"dtype": "bfloat16"}`.

        Raises:
            ValueError: A model that cannot be found, or does not say how its clips are prepared.
        """
        if backbone is not None and model_name(backbone) is None:
            raise ValueError("The ready-made backbone has no name_or_path, which says how its clips are prepared.")
        pixels = {} if backbone is None else load_preprocessing(model_name(backbone))
        tokenizer = AutoTokenizer.from_pretrained(text_model)
        processor = cls(
            VideoBertVideoProcessor(**pixels), tokenizer, asr_model, backbone, None, asr_options, backbone_options
        )
        if codebook is not None:
            processor.add_codebook(codebook)
        return processor

    def add_codebook(self, codebook):
        """Takes a fitted codebook, and its visual tokens into the tokenizer of a text checkpoint."""
        self.codebook = codebook
        self.tokenizer = joint_tokenizer(self.tokenizer, codebook.codebook_size, code_sizes(codebook))

    # --- the joint sequence ------------------------------------------------------------------------------------------

    @property
    def visual_token_offset(self) -> int:
        """Id of the first visual token."""
        return self.tokenizer.convert_tokens_to_ids(visual_token(0))

    def __call__(
        self,
        text: TextInput | list[TextInput] | None = None,
        videos: VideoInput | None = None,
        **kwargs: Unpack[VideoBertProcessorKwargs],
    ) -> BatchFeature:
        """The joint sequence `[CLS] words [>] visual tokens [SEP]`, or of words or visual tokens alone.

        Args:
            text (`str` or `list[str]`, *optional*):
                One text, or one for each video.
            videos (*optional*):
                One video or a list of them: a path, the bytes of a file, frames `(T, 3, H, W)`, or visual ids (a list
                or 1-d array of integers, as in a row) where a video has been tokenised already. A video without any
                clip has no visual ids, and its sequence is its text.
            kwargs:
                `padding`, `truncation`, `max_length`, `pad_to_multiple_of`, `return_tensors`, as for tokenizers; and
                how the videos of this call are looked at (`fps`, `clip_seconds`, `size`, …), instead of the
                `video_processor`'s own way.

        Returns:
            [`BatchFeature`]: `input_ids`, `attention_mask` and `token_type_ids` (0 language, 1 vision), int64 of shape
            `(batch, length)`.

        Raises:
            ValueError: Neither text nor videos, unequal numbers of them, a visual id outside the codebook, or options
                of videos that have no effect.
        """
        if text is None and videos is None:
            raise ValueError("The processor was given neither text nor videos; it needs at least one of them.")
        merged = self._merge_kwargs(self.valid_processor_kwargs, self.tokenizer.init_kwargs, **kwargs)
        options = merged["text_kwargs"]
        looking = self._changed_options(merged["videos_kwargs"], options)
        texts = None if text is None else [text] if isinstance(text, str) else list(text)
        visual_ids = None if videos is None else [self._visual_ids(video, looking) for video in self._as_list(videos)]
        batch = len(texts if texts is not None else visual_ids)
        if None not in (texts, visual_ids) and len(texts) != len(visual_ids):
            raise ValueError(f"There are {len(texts)} texts and {len(visual_ids)} videos; they must be as many.")
        words = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts is not None else [[]] * batch
        limit = options.pop("max_length", None) or self.tokenizer.model_max_length
        rows = {"input_ids": [], "token_type_ids": []}
        special_ids = sequence_ids(self.tokenizer)
        for text_ids, video_ids in zip(words, visual_ids if visual_ids is not None else [[]] * batch, strict=True):
            ids, types = joint_sequence(
                text_ids, video_ids, max_length=limit if options["truncation"] else None, **special_ids
            )
            rows["input_ids"].append(ids)
            rows["token_type_ids"].append(types)
        keys = ("padding", "pad_to_multiple_of", "return_tensors")
        padding = {key: options[key] for key in keys if key in options}
        if padding["padding"] == "max_length":
            padding["max_length"] = limit
        padded = self.tokenizer.pad(rows, **padding)
        return BatchFeature(dict(padded))

    def _changed_options(self, options, text_options) -> dict:
        """Those options of videos, without what is said to the tokenizer too, that are not the processor's own."""
        changed = {
            name: value
            for name, value in options.items()
            if name not in text_options and getattr(self.video_processor, name, None) != value
        }
        for name in UNHEEDED & changed.keys():
            raise ValueError(
                f"{name}={changed[name]!r} has no effect here: a video is cut into clips of clip_seconds, "
                "looked at fps times a second."
            )
        return changed

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "token_type_ids"]

    def _as_list(self, videos) -> list:
        return [videos] if self.is_one_video(videos) else list(videos)

    def _visual_ids(self, video, looking) -> list[int]:
        is_ids = isinstance(video, (list, tuple)) or (
            isinstance(video, (np.ndarray, torch.Tensor)) and video.ndim == 1
        )
        if not is_ids:
            return self._vocabulary().encode(self.features(video, **looking)).tolist()
        for name, value in looking.items():
            raise ValueError(f"{name}={value!r} has no effect on visual ids, whose video has been looked at already.")
        return checked_ids(video, code_sizes(self._vocabulary()))

    # --- from a video to a row ---------------------------------------------------------------------------------------

    def tokenize(
        self,
        video: str | os.PathLike | bytes,
        video_id: str | None = None,
        subtitles: str | os.PathLike | list[dict] | None = None,
        sound_track: int | None = None,
    ) -> dict:
        """The whole way of one video: speech, clips, features, visual ids.

        Args:
            video:
                A path or the bytes of a file.
            video_id (`str`, *optional*):
                Name of the row; by default the file's name without its ending.
            subtitles (`str`, `Path` or `list[dict]`, *optional*):
                What is said, instead of hearing it: see [`read_subtitles`].
            sound_track (`int`, *optional*):
                Which sound track is heard, counted from 0; by default the one in the language of `asr_options`, else
                the one that players take.

        Returns:
            `dict`: The row: `video_id, duration, clip_seconds, has_speech, sentences, visual_ids, codebook, error,
            notes`, and where a clip has several visual ids `tokens_per_clip`. A video that cannot be read has an
            `error` that says why, and whatever could be read of it.
        """
        codebook = self._vocabulary()
        (described,) = self.describe([video], [video_id], [subtitles], sound_track)
        features = described.pop("features")
        return {**described, "visual_ids": codebook.encode(features).tolist(), **noted_in_row(codebook)}

    def describe(
        self,
        videos: list[str | os.PathLike | bytes],
        video_ids: list[str] | None = None,
        subtitles: list | None = None,
        sound_track: int | None = None,
        on_progress: Progress = unwatched,
    ) -> list[dict]:
        """Speech and features of several videos; as [`~VideoBertProcessor.tokenize`], before the codebook.

        Speech of all of them is recognised in one batch, which is faster than one by one, and read in blocks, so that
        hours of it need little memory.

        Args:
            videos (`list`):
                Paths or bytes.
            video_ids (`list[str]`, *optional*):
                Names of the rows.
            subtitles (`list`, *optional*):
                For each video its subtitles, or `None` where it is to be heard.
            sound_track (`int`, *optional*):
                Which sound track is heard; see [`~VideoBertProcessor.tokenize`].
            on_progress (`Callable[[str], None]`, *optional*):
                Called with the stage, `"pictures"` or `"speech"`, at every clip and every block of sound, from
                whichever thread reads them, and when a video's pictures or the speech of all are done.

        Returns:
            `list[dict]`: Rows with `features` `(clips, D)` float32 in the place of `visual_ids`.

        Raises:
            SettingsError: A network cannot be had as it is asked for, which is no video's fault.
        """
        names = video_ids or [None] * len(videos)
        given = subtitles or [None] * len(videos)
        heard = []
        for i, video in enumerate(videos):
            if given[i] is None and has_sound(video):
                heard.append(i)
            on_progress(PICTURES)
        with blaming_settings():
            recognizer = self._speech() if heard else None  # said before the work on the pictures, if there is none
            listening, network = self._listening(sound_track), self._network()
        on_progress(PICTURES)
        seen = []
        for video, name in zip(videos, names, strict=True):
            seen.append(look_at_video(video, name, self.video_processor, network, listening, on_progress))
            on_progress(PICTURES)
        for (row, met), video, source in zip(seen, videos, given, strict=True):
            if source is not None:
                with told_in(met.problems, video, ValueError):
                    row["sentences"] = sentences_of_subtitles(video, source, row["video_id"], met, listening)
        if heard:
            durations = [seen[i][0]["duration"] or None for i in heard]
            listened = [videos[i] for i in heard], [seen[i][1] for i in heard], durations
            said = sentences_heard(recognizer, *listened, listening, on_progress)
            for i, sentences in zip(heard, said, strict=True):
                seen[i][0]["sentences"] = sentences
            on_progress(SPEECH)
        for row, met in seen:
            row["has_speech"] = bool(row["sentences"])
            met.tell(row)
        return [row for row, _ in seen]

    def _listening(self, sound_track: int | None = None) -> Listening:
        options = self.asr_options or {}
        return Listening(options.get("language"), sound_track, options.get("task") == "translate")

    def transcribe(
        self,
        video: str | os.PathLike | bytes,
        subtitles: str | os.PathLike | list[dict] | None = None,
        word_times: bool = False,
        sound_track: int | None = None,
    ) -> list[dict]:
        """The timed sentences of one video, seconds from its first displayed frame.

        Args:
            video:
                A path or the bytes of a file.
            subtitles (`str`, `Path` or `list[dict]`, *optional*):
                What is said, instead of hearing it: see [`read_subtitles`].
            word_times (`bool`, *optional*, defaults to `False`):
                Whether sentences tell when each word is said.
            sound_track (`int`, *optional*):
                Which sound track is heard; see [`~VideoBertProcessor.tokenize`].

        Returns:
            `list[dict]`: `{"text", "start", "end"}`, in order, not overlapping; with `word_times` also `"words"`, of
            the same form. Empty where nobody speaks and where there is no sound.

        Raises:
            MediaError: The file cannot be read.
            ValueError: The subtitles cannot be read, or the recogniser does not know the language.
        """
        listening = self._listening(sound_track)
        if subtitles is not None:
            met, name = Findings(), named_video(video)
            sentences = sentences_of_subtitles(video, subtitles, name, met, listening, word_times)
            for found in met.problems + met.notes:
                logger.warning(found)
            return sentences
        with listening.open_sound(video) as media:
            if not media.has_audio:
                return []
            notes, duration = [], media.duration or None
            (sentences,) = self._speech().transcribe([media.iter_speech()], [duration], word_times, [notes])
        for note in notes:
            logger.warning(f"{media.name}: {note}")
        return sentences

    def features(self, video: str | os.PathLike | bytes | np.ndarray | torch.Tensor, **options) -> torch.Tensor:
        """Features `(clips, D)` of one video: a path, bytes, or frames `(T, 3, H, W)`.

        Args:
            video:
                The video.
            options:
                Of how it is looked at, such as `fps`, instead of the video processor's own.
        """
        cutter = self.video_processor
        if options:
            cutter = cutter.from_dict(cutter.to_dict(), **options)
        return self._network().features(cutter.iter_clips(video))

    def decode(self, token_ids: list[int] | torch.Tensor, **kwargs) -> str:
        """Ids back to text, visual tokens written as `<v_…>`."""
        return self.tokenizer.decode(token_ids, **kwargs)

    def _vocabulary(self):
        if self.codebook is None:
            raise ValueError(
                "The processor has no codebook, which visual ids come from; fit one and `add_codebook` it."
            )
        return self.codebook

    def _speech(self) -> SpeechRecognizer:
        wanted = (self.asr_model, dict(self.asr_options or {}))
        if self._recognizer is None or self._made_of.get("asr_model", wanted) != wanted:
            self._recognizer = build_recognizer(*wanted)
            self._made_of["asr_model"] = wanted
        return self._recognizer

    def _network(self) -> Backbone:
        wanted = (self.backbone, dict(self.backbone_options or {}))
        if self._backbone is None or self._made_of.get("backbone", wanted) != wanted:
            self._backbone = build_backbone(*wanted)
            self._made_of["backbone"] = wanted
        return self._backbone
