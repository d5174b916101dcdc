"""The one door for users: text and videos in, the joint sequence of words and visual tokens out."""

import os
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, BatchFeature, ProcessorMixin
from transformers.processing_utils import ProcessingKwargs, Unpack
from transformers.utils import logging

from .backbone_videobert import Backbone, load_preprocessing
from .codebook_videobert import VisualCodebook
from .description_videobert import (
    Listening,
    has_sound,
    look_at_video,
    named_video,
    sentences_heard,
    sentences_of_subtitles,
    told_in,
)
from .sequence_videobert import JOIN_TOKEN, joint_sequence, joint_tokenizer, visual_token
from .speech_videobert import SpeechRecognizer
from .video_processing_videobert import VideoBertVideoProcessor

logger = logging.get_logger(__name__)


class VideoBertProcessorKwargs(ProcessingKwargs, total=False):
    _defaults = {"text_kwargs": {"padding": True, "truncation": True, "return_tensors": "pt"}}


NETWORKS = ("asr_model", "backbone")
# What must not be copied or written when the rest of a processor is.
HELD = ("codebook", "asr_options", *NETWORKS, "_recognizer", "_backbone")
# Of the options of speech: how it is heard on this machine, which is no matter of the saved processor.
MACHINE_OPTIONS = ("device", "dtype")


class VideoBertProcessor(ProcessorMixin):
    """Turns videos and text into what VideoBERT reads (paper, sections 3.2 and 4.2).

    Text alone needs neither speech model nor video network: both are kept by id and built at the first video.

    Args:
        video_processor ([`VideoBertVideoProcessor`]): Cuts a video into clips and prepares their pixels.
        tokenizer ([`BertTokenizer`]): The joint vocabulary of `joint_tokenizer`.
        asr_model (`str`, *optional*): Hub id or folder of a Whisper checkpoint, or a ready pipeline of one.
        backbone (`str`, *optional*): Network, or networks joined by `+`, on whose features the codebook was fitted:
            ids as of [`Backbone`]; or a ready one.
        codebook ([`VisualCodebook`], *optional*): Feature to visual id. Saved with the processor, in `codebook/`.
        asr_options (`dict`, *optional*):
            Options of [`SpeechRecognizer`]: `language`, `task`, `engine`, `batch_size`, and the machine's `device` and
            `dtype`, which are not saved.
    """

    valid_processor_kwargs = VideoBertProcessorKwargs

    def __init__(self, video_processor, tokenizer, asr_model=None, backbone=None, codebook=None, asr_options=None):
        super().__init__(video_processor, tokenizer)
        self.asr_model, self.backbone, self.codebook = asr_model, backbone, codebook
        self.asr_options = asr_options
        # How the networks run is a matter of the machine, not of the saved processor.
        self.device, self.dtype, self.batch_size, self.compile = None, "float32", 4, False
        self._recognizer, self._backbone = None, None

    # --- saving: the networks are referred to, the codebook's weights are ours ---------------------------------------

    def to_dict(self):
        held = {name: self.__dict__.pop(name) for name in HELD}
        try:
            output = super().to_dict()
        finally:
            self.__dict__.update(held)
        # Names the subfolder that holds the weights.
        names = {name: named_model(getattr(self, name)) for name in NETWORKS}
        hearing = {name: value for name, value in (self.asr_options or {}).items() if name not in MACHINE_OPTIONS}
        held = {"asr_options": hearing or None, "codebook": None if self.codebook is None else "codebook"}
        return output | names | held

    def save_pretrained(self, save_directory, **kwargs):
        if self.codebook is not None:
            self.codebook.save_pretrained(Path(save_directory) / "codebook")
        for name in NETWORKS:
            if getattr(self, name) is not None and named_model(getattr(self, name)) is None:
                logger.warning(f"The {name} is ready-made and has no name: it is not saved, give it again on loading.")
        saved = super().save_pretrained(save_directory, **kwargs)
        # The library leaves a note on where the code lies, which a processor that was loaded does not have.
        vars(self).pop("auto_map", None)
        return saved

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        # The library copies what it is given, which a ready-made network may not survive.
        given = {name: kwargs.pop(name) for name in ("asr_options", *NETWORKS) if name in kwargs}
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        vars(processor).update(given)
        if isinstance(processor.codebook, str):
            hub = {key: kwargs[key] for key in ("cache_dir", "revision", "token", "local_files_only") if key in kwargs}
            processor.codebook = VisualCodebook.from_pretrained(
                pretrained_model_name_or_path, subfolder=processor.codebook, **hub
            )
        return processor

    @classmethod
    def from_models(cls, text_model, asr_model=None, backbone=None, codebook=None, asr_options=None):
        """A new processor out of models chosen by Hub id or folder.

        Args:
            text_model (`str`): A BERT checkpoint, for its WordPieces.
            asr_model (`str`, *optional*): A Whisper checkpoint.
            asr_options (`dict`, *optional*): What the recogniser is to know besides, such as `{"language": "de"}`.
            backbone (`str`, *optional*): Video or image networks, as of [`Backbone`]; each prepares the clips the way
                its own processor says.
            codebook ([`VisualCodebook`], *optional*): Without one, [`~VideoBertProcessor.add_codebook`] follows later.
        """
        if backbone is not None and named_model(backbone) is None:
            raise ValueError("The ready-made backbone has no name_or_path, which says how its clips are prepared.")
        pixels = {} if backbone is None else load_preprocessing(named_model(backbone))
        tokenizer = AutoTokenizer.from_pretrained(text_model)
        processor = cls(VideoBertVideoProcessor(**pixels), tokenizer, asr_model, backbone, asr_options=asr_options)
        if codebook is not None:
            processor.add_codebook(codebook)
        return processor

    def add_codebook(self, codebook):
        """Takes a fitted codebook, and its visual tokens into the tokenizer of a text checkpoint."""
        self.codebook = codebook
        self.tokenizer = joint_tokenizer(self.tokenizer, codebook.codebook_size)

    # --- the joint sequence ------------------------------------------------------------------------------------------

    @property
    def visual_token_offset(self):
        """Id of the first visual token."""
        return self.tokenizer.convert_tokens_to_ids(visual_token(0))

    def __call__(self, text=None, videos=None, **kwargs: Unpack[VideoBertProcessorKwargs]):
        """The joint sequence `[CLS] words [>] visual tokens [SEP]`, or of words or visual tokens alone.

        Args:
            text (`str` or `list[str]`, *optional*): One text, or one for each video.
            videos (*optional*): One video or a list of them: a path, the bytes of a file, frames `(T, 3, H, W)`, or
                visual ids (a list or 1-d tensor of integers) where a video has been tokenised already.
            kwargs: `padding`, `truncation`, `max_length`, `pad_to_multiple_of`, `return_tensors`, as for tokenizers.

        Returns:
            [`BatchFeature`]: `input_ids`, `attention_mask` and `token_type_ids` (0 language, 1 vision), int64 of shape
            `(batch, length)`.

        Raises:
            ValueError: Neither text nor videos, unequal numbers of them, or a visual id outside the codebook.
        """
        if text is None and videos is None:
            raise ValueError("The processor was given neither text nor videos; it needs at least one of them.")
        options = self._merge_kwargs(self.valid_processor_kwargs, self.tokenizer.init_kwargs, **kwargs)["text_kwargs"]
        texts = None if text is None else [text] if isinstance(text, str) else list(text)
        visual_ids = None if videos is None else [self._visual_ids(video) for video in self._as_list(videos)]
        batch = len(texts if texts is not None else visual_ids)
        if None not in (texts, visual_ids) and len(texts) != len(visual_ids):
            raise ValueError(f"There are {len(texts)} texts and {len(visual_ids)} videos; they must be as many.")
        words = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts is not None else [[]] * batch
        limit = options.pop("max_length", None) or self.tokenizer.model_max_length
        rows = {"input_ids": [], "token_type_ids": []}
        for text_ids, video_ids in zip(words, visual_ids if visual_ids is not None else [[]] * batch, strict=True):
            ids, types = joint_sequence(
                text_ids, video_ids, max_length=limit if options["truncation"] else None, **self.sequence_ids()
            )
            rows["input_ids"].append(ids)
            rows["token_type_ids"].append(types)
        keys = ("padding", "pad_to_multiple_of", "return_tensors")
        padding = {key: options[key] for key in keys if key in options}
        if padding["padding"] == "max_length":
            padding["max_length"] = limit
        padded = self.tokenizer.pad(rows, **padding)
        return BatchFeature(dict(padded))

    def sequence_ids(self):
        """The ids that `joint_sequence` needs to know."""
        return {
            "cls_id": self.tokenizer.cls_token_id,
            "join_id": self.tokenizer.convert_tokens_to_ids(JOIN_TOKEN),
            "sep_id": self.tokenizer.sep_token_id,
            "visual_token_offset": self.visual_token_offset,
        }

    @property
    def model_input_names(self):
        return ["input_ids", "attention_mask", "token_type_ids"]

    @staticmethod
    def _as_list(videos):
        """One video becomes a list of one: a path, bytes, an array, or a flat list of visual ids."""
        single = isinstance(videos, (str, os.PathLike, bytes)) or hasattr(videos, "read")
        single = single or (isinstance(videos, (np.ndarray, torch.Tensor)) and videos.ndim in (1, 4))
        single = single or (
            isinstance(videos, (list, tuple)) and len(videos) > 0 and isinstance(videos[0], (int, np.integer))
        )
        return [videos] if single else list(videos)

    def _visual_ids(self, video):
        is_ids = isinstance(video, (list, tuple)) or (
            isinstance(video, (np.ndarray, torch.Tensor)) and video.ndim == 1
        )
        if not is_ids:
            return self._vocabulary().encode(self.features(video)).tolist()
        ids, size = [int(i) for i in video], self._vocabulary().codebook_size
        for i in ids:
            if not 0 <= i < size:
                raise ValueError(f"Visual id {i} is outside the codebook, whose ids are 0 to {size - 1}.")
        return ids

    # --- from a video to a row ---------------------------------------------------------------------------------------

    def tokenize(self, video, video_id=None, subtitles=None, sound_track=None):
        """The whole way of one video: speech, clips, features, visual ids.

        Args:
            video: A path or the bytes of a file.
            video_id (`str`, *optional*): Name of the row; by default the file's name without its ending.
            subtitles (`str`, `Path` or `list[dict]`, *optional*): What is said, instead of hearing it: see
                [`read_subtitles`].
            sound_track (`int`, *optional*): Which sound track is heard, counted from 0; by default the one in the
                language of `asr_options`, else the one that players take.

        Returns:
            `dict`: The row: `video_id, duration, clip_seconds, has_speech, sentences, visual_ids, codebook, error`. A
            video that cannot be read has an `error` that says why, and whatever could be read of it.
        """
        codebook = self._vocabulary()
        (described,) = self.describe([video], [video_id], [subtitles], sound_track)
        features = described.pop("features")
        return {**described, "visual_ids": codebook.encode(features).tolist(), "codebook": codebook.fingerprint}

    def describe(self, videos, video_ids=None, subtitles=None, sound_track=None):
        """Speech and features of several videos; as [`~VideoBertProcessor.tokenize`], before the codebook.

        Speech of all of them is recognised in one batch, which is faster than one by one, and read in blocks, so that
        hours of it need little memory.

        Args:
            videos (`list`): Paths or bytes.
            video_ids (`list[str]`, *optional*): Names of the rows.
            subtitles (`list`, *optional*): For each video its subtitles, or `None` where it is to be heard.
            sound_track (`int`, *optional*): Which sound track is heard; see [`~VideoBertProcessor.tokenize`].

        Returns:
            `list[dict]`: Rows with `features` `(clips, D)` float32 in the place of `visual_ids`.
        """
        names = video_ids or [None] * len(videos)
        given = subtitles or [None] * len(videos)
        heard = [i for i, video in enumerate(videos) if given[i] is None and has_sound(video)]
        recognizer = self._speech() if heard else None  # said before the work on the pictures, if there is none
        listening, network = self._listening(sound_track), self._network()
        seen = [
            look_at_video(video, name, self.video_processor, network, listening)
            for video, name in zip(videos, names, strict=True)
        ]
        for (row, problems), video, source in zip(seen, videos, given, strict=True):
            if source is not None:
                with told_in(problems, video, ValueError):
                    row["sentences"] = sentences_of_subtitles(video, source, row["video_id"], problems, listening)
        if heard:
            durations = [seen[i][0]["duration"] or None for i in heard]
            listened = [videos[i] for i in heard], [seen[i][1] for i in heard], durations
            for i, sentences in zip(heard, sentences_heard(recognizer, *listened, listening), strict=True):
                seen[i][0]["sentences"] = sentences
        for row, problems in seen:
            row["has_speech"] = bool(row["sentences"])
            # Opened for its pictures and for its sound, a file tells of the same damage twice.
            row["error"] = "; ".join(dict.fromkeys(problems)) or None
        return [row for row, _ in seen]

    def _listening(self, sound_track=None):
        return Listening((self.asr_options or {}).get("language"), sound_track)

    def transcribe(self, video, subtitles=None, word_times=False, sound_track=None):
        """The timed sentences of one video, seconds from its first displayed frame.

        Args:
            video: A path or the bytes of a file.
            subtitles (`str`, `Path` or `list[dict]`, *optional*): What is said, instead of hearing it: see
                [`read_subtitles`].
            word_times (`bool`, *optional*, defaults to `False`): Whether sentences tell when each word is said.
            sound_track (`int`, *optional*): Which sound track is heard; see [`~VideoBertProcessor.tokenize`].

        Returns:
            `list[dict]`: `{"text", "start", "end"}`, in order, not overlapping; with `word_times` also `"words"`, of
            the same form. Empty where nobody speaks and where there is no sound.

        Raises:
            MediaError: The file cannot be read.
            ValueError: The subtitles cannot be read, or the recogniser does not know the language.
        """
        listening = self._listening(sound_track)
        if subtitles is not None:
            problems, name = [], named_video(video)
            sentences = sentences_of_subtitles(video, subtitles, name, problems, listening, word_times)
            for problem in problems:
                logger.warning(problem)
            return sentences
        with listening.open_sound(video) as media:
            if not media.has_audio:
                return []
            return self._speech().transcribe([media.iter_speech()], [media.duration or None], word_times)[0]

    def features(self, video):
        """Features `(clips, D)` of one video: a path, bytes, or frames `(T, 3, H, W)`."""
        return self._network().features(self.video_processor.iter_clips(video))

    def decode(self, token_ids, **kwargs):
        """Ids back to text, visual tokens written as `<v_…>`."""
        return self.tokenizer.decode(token_ids, **kwargs)

    def _vocabulary(self):
        if self.codebook is None:
            raise ValueError(
                "The processor has no codebook, which visual ids come from; fit one and `add_codebook` it."
            )
        return self.codebook

    def _speech(self):
        if self._recognizer is None:
            if self.asr_model is None:
                raise ValueError("The processor has no asr_model; give the id or folder of a Whisper checkpoint.")
            options = {"device": self.device} | (self.asr_options or {})
            self._recognizer = SpeechRecognizer(self.asr_model, **options)
        return self._recognizer

    def _network(self):
        if self._backbone is None:
            if self.backbone is None:
                raise ValueError("The processor has no backbone; give the id or folder of a video network.")
            if hasattr(self.backbone, "features"):  # ready-made
                self._backbone = self.backbone
            else:
                self._backbone = Backbone(self.backbone, self.device, self.dtype, self.batch_size, self.compile)
        return self._backbone


def named_model(model):
    """The id or folder of a model that may be given ready-made, by which it can be loaded again; `None` if it does not
    know where it is from."""
    model = getattr(model, "model", model)
    name = getattr(model, "name_or_path", model)
    return os.fspath(name) if isinstance(name, (str, os.PathLike)) else None
