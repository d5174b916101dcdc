"""How much of a codebook do videos use?"""

import datasets
import evaluate
import numpy as np

DESCRIPTION = """How much of a codebook do videos use: the share of its visual ids that occur, and the perplexity,
which is the number of ids that would be as hard to guess if all came equally often. For a tree, by level."""
INPUTS = """
Args:
    data (`list[list[int]]`):
        The visual ids of each video, none for one without clips.
    codebook_size (`int`):
        How many visual ids there are.
    branches (`int`, *optional*):
        Of a tree: how many children a node has. A visual id spells its path in base `branches`.

Returns:
    `dict`: `num_clips`, `leaves_used`, `share_used`, `perplexity`; with `branches` also `share_used_by_level` and
    `perplexity_by_level`, from the root's children to the leaves.
"""


class CodebookUsage(evaluate.Measurement):
    """Share of visual ids used, and perplexity."""

    def _info(self):
        return evaluate.MeasurementInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"data": datasets.Sequence(datasets.Value("int64"))}),
        )

    def _compute(self, data, codebook_size, branches=None):
        for video, ids in enumerate(data):
            for visual_id in ids:
                if not 0 <= visual_id < codebook_size:
                    raise ValueError(f"Video {video} has visual id {visual_id}, but ids are 0 to {codebook_size - 1}.")
        ids = np.array([visual_id for ids in data for visual_id in ids], dtype=int)
        if not len(ids):
            raise ValueError("There are no clips to count: no video has visual ids.")
        share, perplexity = measure(ids, codebook_size)
        results = {
            "num_clips": len(ids),
            "leaves_used": len(np.unique(ids)),
            "share_used": share,
            "perplexity": perplexity,
        }
        if branches is not None:
            levels = [measure(ids // width, codebook_size // width) for width in widths(codebook_size, branches)]
            results["share_used_by_level"], results["perplexity_by_level"] = map(list, zip(*levels, strict=True))
        return results


def measure(ids, size):
    """Share of `size` numbers that occur, and the perplexity of those that do."""
    counts = np.unique(ids, return_counts=True)[1]
    shares = counts / counts.sum()
    return len(counts) / size, float(np.exp(-(shares * np.log(shares)).sum()))


def widths(codebook_size, branches):
    """How many leaves lie under a node of each level, the highest first."""
    found = [1]
    while found[0] * branches < codebook_size and branches > 1:
        found.insert(0, found[0] * branches)
    if found[0] * branches != codebook_size:
        raise ValueError(f"codebook_size is {codebook_size}, which is not a power of branches, {branches}.")
    return found
