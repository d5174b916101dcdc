"""Protects figures of features beside the kept rows: the right clips are looked at, the same rows get other words."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kept_features():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        from quality import kept_features

        yield kept_features


@pytest.fixture(scope="module")
def material(kept_features):
    """Eight kept videos, and features that say which clip of which video they are of."""
    from quality_kitchen import kept_material

    material = kept_material()
    material.train_rows, material.test_rows = (
        rows.select(range(4)) for rows in (material.train_rows, material.test_rows)
    )
    rows, features = [*material.train_rows, *material.test_rows], {}
    for number, row in enumerate(rows):
        count = len(row["visual_ids"])
        noise = torch.randn(count, 1024, generator=torch.Generator().manual_seed(number))
        noise[:, 0], noise[:, 1] = number, torch.arange(count)
        features[row["video_id"]] = noise
    return material, features


def test_a_step_is_the_mean_of_its_clips(kept_features, material):
    """Those whose middle lies in it; of a step between two middles there is nothing."""
    material, features = material
    (video_id,) = material.test_rows["video_id"][:1]
    times = ((3.0, 7.5), (0.0, 0.8), (0.0, 0.75))  # clips of 1.5 s
    steps = [{"video_id": video_id, "start": start, "end": end} for start, end in times]
    assert kept_features.step_features(steps, features, material)[:, :2].tolist() == [[4, 3], [4, 0], [0, 0]]


@pytest.mark.parametrize(
    ("codes", "sizes"), [({"residual_codes": 2}, (256, 256)), ({"levels_as_tokens": True}, (16, 256))]
)
def test_rows_get_the_words_of_another_codebook(kept_features, material, codes, sizes):
    """Two a clip, in order, and nothing else of the rows changes; they belong to the processor that comes along."""
    from processing.corpus import check_rows

    material, features = material
    other = kept_features.with_codes(material, features, codes, 0)
    assert other.processor.codebook.code_sizes == sizes
    for before, after in zip(
        [*material.train_rows, *material.test_rows], [*other.train_rows, *other.test_rows], strict=True
    ):
        ids = other.processor.codebook.encode(features[before["video_id"]])
        assert after["visual_ids"] == ids.tolist() and len(ids) == 2 * len(before["visual_ids"])
        assert all(before[name] == after[name] for name in before if name not in ("visual_ids", "codebook"))
    check_rows(other.train_rows, other.processor)
    held_out = {video_id: features[video_id].flip(0) for video_id in material.test_rows["video_id"]}
    again = kept_features.with_codes(material, features | held_out, codes, 0)  # of them nothing is learned
    assert again.processor.codebook.fingerprint == other.processor.codebook.fingerprint


def test_ids_are_counted_clip_by_clip(kept_features, material):
    """Those of the centroids are the kept ones, those of noise are not."""
    material, features = material
    codebook, rows = material.processor.codebook, [*material.train_rows, *material.test_rows]
    centroids = {row["video_id"]: codebook.decode(row["visual_ids"]) + codebook.mean for row in rows}
    assert kept_features.ids_as_kept(material, centroids) > 0.95
    assert kept_features.ids_as_kept(material, features) < 0.05


def test_a_probe_names_what_features_tell(kept_features, material):
    """More often where the clips tell verb and object among noise than where all is noise; many words are new."""
    material, features = material
    told = {video_id: noise[:, 2:10].clone() for video_id, noise in features.items()}
    before = kept_features.raw_probes(material, told)
    for row in [*material.train_rows, *material.test_rows]:
        middles = 1.5 * torch.arange(len(told[row["video_id"]])) + 0.75
        for step in material.truth[row["video_id"]]:
            shown = (step["start"] <= middles) & (middles < step["end"])
            for place, asked in enumerate(("verb", "object")):
                told[row["video_id"]][shown, 2 * place : 2 * place + 2] = turned(step[asked])
    after = kept_features.raw_probes(material, told)
    assert all(after[name] > before[name] + 0.1 for name in after), (before, after)


def turned(word):
    """A direction for a word."""
    angle = torch.tensor(sum(map(ord, word)) * 2.4)
    return 5 * torch.stack([angle.sin(), angle.cos()])
