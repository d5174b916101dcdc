"""Retrieval: how often is what was looked for among the first k, and where does it lie?"""

import statistics

import datasets
import evaluate

from .ranks import rank_by_scores, share_within

DESCRIPTION = """Retrieval: recall among the first 1, 5 and 10, and the median rank, with the number of items that were
searched: no figure means anything without it. Items that score the same as the right one count as better."""
CITATION = ""
INPUTS = """
Args:
    predictions (`list[list[float]]` or `list[int]`):
        For each query its similarity to each item; or the rank of the right item, 1 for the best.
    references (`list[int]`):
        For each query the number of the right item, from 0; with ranks, how many items were ranked.
    tops (`Sequence[int]`, *optional*, defaults to (1, 5, 10)):
        How many of the first are looked at.

Returns:
    `dict`: `r1`, `r5`, `r10`, what chance gives (`r1_chance`, …), `median_rank`, `num_queries` and `num_items`.
"""


class RetrievalAtK(evaluate.Metric):
    """Recall among the first k, and the median rank."""

    def _info(self):
        kinds = (datasets.Sequence(datasets.Value("float64")), datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=[
                datasets.Features({"predictions": kind, "references": datasets.Value("int64")}) for kind in kinds
            ],
        )

    def _infer_feature_from_batch(self, batch):
        # evaluate tells the two kinds of input apart by the first one.
        if not len(batch["predictions"]):
            raise ValueError("There are no queries to score.")
        return super()._infer_feature_from_batch(batch)

    def _compute(self, predictions, references, tops=(1, 5, 10)):
        ranked = isinstance(predictions[0], int)
        sizes = references if ranked else [len(row) for row in predictions]
        for query, (found, right, size) in enumerate(zip(predictions, references, sizes, strict=True)):
            if size != sizes[0]:
                raise ValueError(f"Query {query} searched {size} items, but query 0 searched {sizes[0]}.")
            if ranked and not 1 <= found <= size:
                raise ValueError(f"Query {query} has rank {found}, but ranks are 1 to {size}.")
            if not ranked and not 0 <= right < size:
                raise ValueError(f"The right item of query {query} is {right}, but items are 0 to {size - 1}.")
        ranks = predictions if ranked else list(map(rank_by_scores, predictions, references))
        results = {f"r{top}": share_within(ranks, top)[0] for top in tops}
        results |= {f"r{top}_chance": min(1.0, top / sizes[0]) for top in tops}
        return results | {
            "median_rank": float(statistics.median(ranks)),
            "num_queries": len(ranks),
            "num_items": sizes[0],
        }
