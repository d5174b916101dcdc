"""Examples that ask what a forecast is asked: whole time lines, and what comes after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from ..forecasting_videobert import HORIZONS, forecast_sequence
from ..sequence_videobert import IGNORED, sequence_ids, visual_code_sizes


class FutureDataset(Dataset):
    """Every place of every row: the clips so far, and those to come, which the collator hides and asks for.

    Time is as it is in a forecast: nothing is left out between clips, and where the video ends sooner, the hidden
    places that are left over ask nothing, so that their number gives nothing away.

    Args:
        rows (`Sequence[Mapping]`):
            Rows; those of fewer than 2 clips give no example.
        tokenizer (`PreTrainedTokenizerBase`):
            The joint vocabulary.
        max_length (`int`, *optional*):
            Longest sequence.
        seed (`int`, *optional*, defaults to 0):
            Not negative; the collator's draws start from it.

    Raises:
        ValueError: No row has 2 clips.
    """

    def __init__(self, rows: Sequence[Mapping], tokenizer, max_length: int | None = None, seed: int = 0):
        self.tokenizer, self.max_length, self.seed = tokenizer, max_length, seed
        self._ids, self._each = [list(row["visual_ids"]) for row in rows], len(visual_code_sizes(tokenizer))
        clips = [len(ids) // self._each for ids in self._ids]
        self._places = [(number, cut) for number, count in enumerate(clips) for cut in range(1, count)]
        if not self._places:
            raise ValueError(
                f"None of the {len(self._ids)} rows has 2 clips or more; a forecast is learned from those."
            )
        self._offset = sequence_ids(tokenizer)["visual_token_offset"]
        # In shared memory, so that workers that outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw other masks from now on; workers that are running follow."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> list[dict]:
        """One place of one row.

        Returns:
            `list[dict]`: One example as of [`SegmentDataset`], and in `future` how many clips are to be hidden.
        """
        index = range(len(self))[index]
        number, cut = self._places[index]
        asked, ids, each = max(HORIZONS), self._ids[number], self._each
        input_ids, types = forecast_sequence(ids[: cut * each], asked, self.tokenizer, self.max_length)
        coming = self._offset + np.array(ids[cut * each : (cut + asked) * each])
        first = len(input_ids) - 1 - asked * each
        input_ids[first : first + len(coming)] = coming.tolist()
        shown = {"input_ids": input_ids, "token_type_ids": types, "future": len(coming) // each}
        return [{**shown, "alignment_label": IGNORED, "masked": True, "seed": (self.seed, int(self._epoch), index)}]
