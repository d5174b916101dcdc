"""What the pipelines have in common: one processor, and videos in every form that it reads."""

import os

from transformers.pipelines.base import ChunkPipeline


class VideoBertPipeline(ChunkPipeline):
    """A transformers pipeline that reads videos and text with a [`VideoBertProcessor`].

    It takes a video (a path, an address, the bytes of a file, frames, or visual ids), or `{"video": …, "text": …}` of
    which either may be missing, or a list, a generator or a dataset of them. One input gives one result, a list gives
    a list.

    One input may ask several sequences: `preprocess` yields them, with `is_last` on the last, and `postprocess` gets
    what `_forward` made of each.
    """

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = _load_video_processor = False

    def __call__(self, inputs=None, text: str | None = None, **kwargs):
        """
        Args:
            inputs:
                One or several videos, or dictionaries of `video` and `text`.
            text (`str`, *optional*):
                The text to each of them that has none of its own.
            kwargs:
                Parameters of the pipeline, `batch_size` and `num_workers`.

        Returns:
            the result, or a list of them.
        """
        if inputs is None:
            inputs = {}
        if isinstance(inputs, dict) or self.processor.is_one_video(inputs):
            return super().__call__(self._named(inputs, text), **kwargs)
        items = (self._named(item, text) for item in inputs)
        return super().__call__(list(items) if isinstance(inputs, (list, tuple)) else items, **kwargs)

    @staticmethod
    def _named(item, text: str | None) -> dict:
        """The `video` and the `text` of one input."""
        named = dict(item) if isinstance(item, dict) else {"video": item}
        unknown = sorted(set(named) - {"video", "text"})
        if unknown:
            raise ValueError(f"An input names {', '.join(unknown)}; allowed are video and text.")
        return {"video": named.get("video"), "text": text if named.get("text") is None else named["text"]}

    def _read(self, video) -> list[int]:
        """The visual ids of a video that has any.

        Raises:
            ValueError: There is no video, or it holds no clip.
        """
        if video is None:
            raise ValueError("There is no video; give a path, the bytes of a file, frames or visual ids.")
        offset = self.processor.visual_token_offset
        tokens = self.processor(videos=[video], truncation=False)["input_ids"][0].tolist()
        ids = [token - offset for token in tokens if token >= offset]
        if not ids:
            seconds = self.processor.video_processor.clip_seconds
            raise ValueError(f"The video {video!r:.80} holds no clip; allowed is at least one of {seconds} s.")
        return ids

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs):
        """As in transformers, which forgets the processor."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)
