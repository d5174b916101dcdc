"""Protects our row on mteb's leaderboard: mteb itself runs the encoder, in both directions, on its kind of videos."""

from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from support.saved_videobert import save_videobert
from support.tiny_processor import make_video

mteb = pytest.importorskip("mteb", reason="mteb is an option (pip install -e '.[mteb]')")

from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from processing.search.embedding import moment_embeddings, text_embeddings  # noqa: E402
from processing.search.mteb_encoder import VideoBertEncoder  # noqa: E402

TEXTS = ["cut the lemon", "let me show you", "how to"]


@pytest.fixture(scope="module")
def encoder(tiny_text_model, tiny_backbone, tmp_path_factory):
    return VideoBertEncoder(save_videobert(tmp_path_factory.mktemp("model"), tiny_text_model, tiny_backbone))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    sources = ("testsrc=s=64x48:r=25:d=3", "testsrc2=s=64x48:r=25:d=3", "color=gray:s=64x48:r=25:d=3")
    for number, source in enumerate(sources):
        make_video(folder / f"{number}.mp4", source)
    return [str(folder / f"{number}.mp4") for number in range(3)]


def task(kind, queries, corpus):
    """A retrieval task of mteb, made on the spot; query i belongs to document i."""

    class Made(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Made{kind.upper()}Retrieval",
            description="Three made videos.",
            dataset={"path": "made", "revision": "1"},
            type="Any2AnyRetrieval",
            category=kind,
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            modalities=["video", "text"],
        )

        def load_data(self, **kwargs):
            relevant = {str(number): {str(number): 1} for number in range(3)}
            split = RetrievalSplitData(queries=queries, corpus=corpus, relevant_docs=relevant, top_ranked=None)
            self.dataset, self.data_loaded = {"default": {"test": split}}, True

    return Made()


def columns(name, values):
    data = datasets.Dataset.from_dict({"id": [str(number) for number in range(3)], name: values})
    return data.cast_column("video", datasets.Video()) if name == "video" else data


@pytest.mark.parametrize("kind", ["t2v", "v2t"])
def test_mteb_scores_what_our_vectors_say(kind, encoder, videos):
    """The share of first hits that mteb finds is that of our own dot products."""
    sides = {"t": columns("text", TEXTS), "v": columns("video", videos)}
    result = mteb.evaluate(encoder, task(kind, sides[kind[0]], sides[kind[2]]), cache=None, co2_tracker=False)
    (scores,) = result.task_results[0].scores["test"]
    shown = [encoder.processor.tokenize(video, subtitles=[])["visual_ids"] for video in videos]
    products = text_embeddings(encoder.model, encoder.processor, TEXTS)
    products = products @ moment_embeddings(encoder.model, encoder.processor, shown).T
    best = (products if kind == "t2v" else products.T).argmax(axis=1)
    # mteb rounds its scores.
    assert scores["recall_at_1"] == pytest.approx((best == np.arange(3)).mean(), abs=1e-4)


def test_what_says_nothing_is_no_error(encoder):
    """A benchmark of thousands must not end at one text in another script; its vector is 0."""
    loader = SimpleNamespace(dataset=columns("text", ["cut the lemon", "日本", "how"]))
    vectors = encoder.encode(loader, task_metadata=None, hf_split="test", hf_subset="default")
    assert vectors.any(axis=1).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="allowed are text, video or both"):
        encoder.encode(
            SimpleNamespace(dataset=columns("sound", [1, 2, 3])), task_metadata=None, hf_split="", hf_subset=""
        )


def test_its_card_is_what_mteb_wants(encoder):
    """Dot products, and a name with an owner; nothing of this machine."""
    card = encoder.mteb_model_meta
    assert card.similarity_fn_name == "dot" and card.embed_dim == 256 and card.modalities == ["text", "video"]
    assert card.name.startswith("videobert/")
