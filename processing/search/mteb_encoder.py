"""A row on mteb's leaderboard of video embeddings (`pip install videobert[mteb]`).

    import mteb
    from processing.search.mteb_encoder import VideoBertEncoder

    tasks = mteb.get_tasks(["YouCook2T2VRetrieval", "YouCook2V2TRetrieval"])
    mteb.evaluate(VideoBertEncoder("runs/kitchen"), tasks)

mteb compares vectors, which is the first pass of our search alone.
"""

from __future__ import annotations

from os import PathLike

import numpy as np
from accelerate.utils import tqdm
from datasets import Video
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from transformers import AutoModelForPreTraining
from transformers.utils import logging

from ..names_videobert import public_name
from ..processing_videobert import VideoBertProcessor
from .embedding import WIDTH, known_words, moment_embeddings, text_embeddings

logger = logging.get_logger(__name__)


class VideoBertEncoder(AbsEncoder):
    """Text and videos to vectors whose dot product tells how well they fit.

    Args:
        model_name (`str` or `os.PathLike`):
            Folder or Hub id of a trained VideoBERT.
        revision (`str`, *optional*):
            Of the Hub id.
        device (`str`, *optional*, defaults to `"cpu"`):
            Where the model runs.
        processor_options:
            Of [`VideoBertProcessor.from_pretrained`], such as `backbone_options`.
    """

    def __init__(
        self,
        model_name: str | PathLike,
        revision: str | None = None,
        *,
        device: str | None = None,
        **processor_options,
    ):
        # Its class by the registration of modeling_videobert, which the rooms of processing do not import.
        self.model = AutoModelForPreTraining.from_pretrained(model_name, revision=revision).to(device or "cpu")
        self.processor = VideoBertProcessor.from_pretrained(model_name, revision=revision, **processor_options)
        name = public_name(self.model) or "model"
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": name if "/" in name else f"videobert/{name}",
                "revision": revision or "no_revision_available",
                "n_parameters": self.model.num_parameters(),
                "max_tokens": self.model.config.max_position_embeddings,
                "embed_dim": WIDTH,
                "framework": ["PyTorch"],
                "similarity_fn_name": ScoringFunction.DOT_PRODUCT,
                "modalities": ["text", "video"],
                "languages": ["eng-Latn"],
                "use_instructions": False,
                "open_weights": True,
            }
        )

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs) -> np.ndarray:
        """Vectors of N inputs, those of text and of video added up where a task shows both.

        Args:
            inputs (`torch.utils.data.DataLoader`):
                Of a data set with a column `text`, `video` or both.
            task_metadata, hf_split, hf_subset, prompt_type, kwargs:
                What mteb says besides, which changes nothing here.

        Returns:
            `np.ndarray` of shape (N, 256): float32. What cannot be read, or holds no known word, is 0, with a warning.

        Raises:
            ValueError: There is neither text nor video.
        """
        data = inputs.dataset
        columns = {"text", "video"} & set(data.column_names)
        if not columns:
            raise ValueError(f"The inputs have the columns {data.column_names}; allowed are text, video or both.")
        vectors = np.zeros((len(data), WIDTH), dtype=np.float32)
        if "text" in columns:
            texts = list(data["text"])
            places = [place for place, ids in enumerate(known_words(self.processor, texts)) if ids]
            vectors[places] += text_embeddings(self.model, self.processor, [texts[place] for place in places])
            self._warn(len(texts) - len(places), "texts hold no word that the model knows")
        if "video" in columns:
            # As files: their frames' true times would otherwise be lost.
            videos = data.cast_column("video", Video(decode=False))["video"]
            shown = [self._visual_ids(video) for video in tqdm(videos, desc="Videos")]
            places = [place for place, ids in enumerate(shown) if ids]
            vectors[places] += moment_embeddings(self.model, self.processor, [shown[place] for place in places])
            self._warn(len(shown) - len(places), "videos show no clip")
        return vectors

    def _visual_ids(self, video: dict) -> list[int]:
        row = self.processor.tokenize(video["bytes"] or video["path"], subtitles=[])
        if row["error"]:
            logger.warning(row["error"])
        return row["visual_ids"]

    @staticmethod
    def _warn(count: int, what: str) -> None:
        if count:
            logger.warning(f"{count} {what}; their vectors are 0.")
