"""The index of a search: a `datasets.Dataset` of moments with their vectors, that belongs to one model."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, List, Value

from ..codebook.whole_files import remove_unfinished, write_whole
from .embedding import TEMPLATE, WIDTH, known_words, moment_embeddings, text_embeddings
from .scoring import score_pairs

# What tells one moment from another; the rest of it follows.
MOMENT = {
    "video_id": Value("string"),
    "start": Value("float64"),
    "end": Value("float64"),
    "text": Value("string"),
    "visual_ids": List(Value("int32")),
    "clip_seconds": Value("float64"),
}
FEATURES = Features({**MOMENT, "embedding": List(Value("float32"), length=WIDTH)})
# Of so many of the first pass the second one is asked: as many as two cores read in less than a tenth of a second.
CANDIDATES = 24
FAISS_NAME = "embedding.faiss"


class MomentIndex:
    """Moments of videos, to be found by text, and their sentences, to be found by video.

    Args:
        model ([`VideoBertForPreTraining`]):
            Made the vectors, or will.
        processor ([`VideoBertProcessor`]):
            Of the same model.
        moments ([`datasets.Dataset`], *optional*):
            With the columns of `FEATURES`; empty by default.
        faiss ([`datasets.Dataset`], *optional*):
            The same with a faiss index over the vectors, which are then searched there.
    """

    def __init__(self, model, processor, moments: Dataset | None = None, faiss: Dataset | None = None):
        self.model, self.processor = model, processor
        self.moments = Dataset.from_dict({name: [] for name in FEATURES}, FEATURES) if moments is None else moments
        # Apart, because from what has a faiss index no rows can be selected.
        self._faiss = faiss
        self._vectors: np.ndarray | None = None
        self._sentences: tuple[list[str], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.moments)

    def add(self, moments: Iterable[Mapping[str, Any]]) -> int:
        """Takes in the moments of some videos in the place of those that it has of them.

        Args:
            moments (`Iterable[Mapping]`):
                As of [`row_moments`], all moments of each video.

        Returns:
            `int`: How many vectors were made: only those of moments that were not there.
        """
        given = defaultdict(list)
        for moment in moments:
            given[moment["video_id"]].append({name: moment[name] for name in MOMENT})
        known, kept, new = defaultdict(list), [], []
        for place, video_id in enumerate(list(self.moments["video_id"])):
            if video_id in given:
                known[video_id].append(place)
            else:
                kept.append(place)
        rows = iter(self._rows([place for places in known.values() for place in places]))
        before = {video_id: [next(rows) for _ in places] for video_id, places in known.items()}
        for video_id, those in given.items():
            if before.get(video_id) == those:
                kept += known[video_id]
            else:
                new += those
        if new or len(kept) < len(self.moments):
            vectors = moment_embeddings(self.model, self.processor, [moment["visual_ids"] for moment in new])
            columns = {name: [moment[name] for moment in new] for name in MOMENT}
            added = Dataset.from_dict({**columns, "embedding": list(vectors)}, FEATURES)
            self.moments = datasets.concatenate_datasets([self.moments.select(sorted(kept)), added])
            self._faiss = self._vectors = self._sentences = None
        return len(new)

    def _rows(self, places: Iterable[int]) -> list[dict[str, Any]]:
        """Moments without their vectors."""
        columns = self.moments.select_columns(list(MOMENT))[[int(place) for place in places]]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def save(self, folder: str | PathLike, faiss: str | None = None) -> None:
        """Writes the index, whole or not at all.

        Args:
            folder (`str` or `os.PathLike`):
                Becomes a saved `datasets.Dataset`; what is there is replaced.
            faiss (`str`, *optional*):
                A description of a faiss index, such as `"HNSW32"`, that is built and saved with it. Without one every
                vector is looked at, which is exact.
        """
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder.parent)
        moments = self.moments.select(range(len(self)))
        moments.info.description = json.dumps({"fingerprint": model_fingerprint(self.model, self.processor)})

        def write(path: Path) -> None:
            moments.save_to_disk(path, num_shards=None if len(moments) else 1)  # of no shard nothing could be read
            if faiss is not None:
                add_faiss_index(moments, faiss)
                moments.save_faiss_index("embedding", path / FAISS_NAME)

        write_whole(folder, write)

    # --- searching ---------------------------------------------------------------------------------------------------

    @property
    def vectors(self) -> np.ndarray:
        """The vectors of all moments, (N, `WIDTH`) float32."""
        if self._vectors is None:
            table = self.moments.select_columns("embedding").with_format("arrow")[:]
            column = pa.chunked_array(table["embedding"].chunks, pa.list_(pa.float32(), WIDTH)).combine_chunks()
            self._vectors = column.flatten().to_numpy().reshape(-1, WIDTH)
        return self._vectors

    def search(self, text: str, top: int = 5, candidates: int = CANDIDATES) -> list[dict[str, Any]]:
        """The moments that a text fits best.

        Args:
            text (`str`):
                A sentence, or only words.
            top (`int`, *optional*, defaults to 5):
                How many.
            candidates (`int`, *optional*, defaults to `CANDIDATES`):
                Of how many, by the first pass, the model is asked again.

        Returns:
            `list[dict]`: Moments with their `score`, best first.

        Raises:
            ValueError: The index is empty, or the text holds no words.
        """
        self._check_asked(top)
        (vector,) = text_embeddings(self.model, self.processor, [text])
        places, first_pass = self._nearest(vector, max(top, candidates))
        found = self._rows(places)
        scores = score_pairs(
            self.model, self.processor, [text] * len(found), [one["visual_ids"] for one in found], first_pass
        )
        return [{**found[place], "score": float(scores[place])} for place in np.argsort(-scores, kind="stable")[:top]]

    def sentences(self, visual_ids: list[int], top: int = 5, candidates: int = CANDIDATES) -> list[dict[str, Any]]:
        """The sentences of the index that fit a moment best.

        Args:
            visual_ids (`list[int]`):
                What the moment shows.
            top, candidates:
                As of [`~MomentIndex.search`].

        Returns:
            `list[dict]`: `text` and `score`, best first.

        Raises:
            ValueError: The index is empty, or nothing is said in its videos.
        """
        self._check_asked(top)
        texts, vectors = self._known_sentences()
        first_pass = vectors @ moment_embeddings(self.model, self.processor, [visual_ids])[0]
        places = best_places(first_pass, max(top, candidates))
        chosen = [texts[place] for place in places]
        scores = score_pairs(self.model, self.processor, chosen, [visual_ids] * len(chosen), first_pass[places])
        order = np.argsort(-scores, kind="stable")[:top]
        return [{"text": chosen[place], "score": float(scores[place])} for place in order]

    def _check_asked(self, top: int) -> None:
        if not len(self):
            raise ValueError("The index is empty: there is no moment to find; add videos to it.")
        if top < 1:
            raise ValueError(f"top is {top}; allowed is 1 or more.")

    def _nearest(self, vector: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Places and dot products of the nearest moments."""
        count = min(count, len(self))
        if self._faiss is not None:
            found = self._faiss.search("embedding", vector, k=count)
            there = np.asarray(found.indices) >= 0  # faiss fills up with −1 where it finds fewer
            return np.asarray(found.indices)[there], np.asarray(found.scores)[there]
        products = self.vectors @ vector
        places = best_places(products, count)
        return places, products[places]

    def _known_sentences(self) -> tuple[list[str], np.ndarray]:
        if self._sentences is None:
            different = [*dict.fromkeys(self.moments["text"])]
            words = known_words(self.processor, different)
            texts = [text for text, ids in zip(different, words, strict=True) if ids]
            if not texts:
                raise ValueError("Nothing is said in the videos of the index: there is no sentence to find.")
            self._sentences = texts, text_embeddings(self.model, self.processor, texts)
        return self._sentences


def read_index(folder: str | PathLike, model, processor) -> MomentIndex:
    """An index from disk.

    Args:
        folder (`str` or `os.PathLike`):
            Where [`~MomentIndex.save`] wrote it.
        model ([`VideoBertForPreTraining`]):
            The model that it was made with.
        processor ([`VideoBertProcessor`]):
            And its processor.

    Returns:
        [`MomentIndex`]

    Raises:
        ValueError: There is none, it is damaged, or it is of another model.
    """
    folder = Path(folder)
    if not (folder / "dataset_info.json").is_file():
        raise ValueError(f"{folder} holds no index; make one first.")
    try:
        moments = datasets.load_from_disk(str(folder))
        made_by = json.loads(moments.info.description)["fingerprint"]
    except (ValueError, KeyError, TypeError, OSError) as error:  # of JSON and of Arrow, which do not name their file
        raise ValueError(f"{folder} is damaged: it is no index ({error}).") from error
    if made_by != (own := model_fingerprint(model, processor)):
        raise ValueError(
            f"The index {folder} was made by the model {made_by[:12]}… and is asked with {own[:12]}…; give the model "
            "that it was made by, or make it again in another folder."
        )
    faiss = None
    if (folder / FAISS_NAME).is_file():
        faiss = moments.select(range(len(moments)))
        faiss.load_faiss_index("embedding", folder / FAISS_NAME)
    return MomentIndex(model, processor, moments, faiss)


def model_fingerprint(model, processor) -> str:
    """Tells models and codebooks apart, wherever they lie: a hash of all that a vector depends on."""
    digest = hashlib.sha256(f"{TEMPLATE} {WIDTH} {processor.codebook.fingerprint}".encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def best_places(scores: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` highest scores are, highest first; of equal ones the first."""
    count = min(count, len(scores))
    lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
    places = np.flatnonzero(scores >= lowest)
    return places[np.argsort(-scores[places], kind="stable")][:count]


def add_faiss_index(moments: Dataset, description: str) -> None:
    """Builds a faiss index over the vectors, by their dot product."""
    import faiss  # an option, and imported before torch it makes forked workers hang

    moments.add_faiss_index("embedding", string_factory=description, metric_type=faiss.METRIC_INNER_PRODUCT)
