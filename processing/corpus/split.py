"""Which videos are held out: the one rule for building, codebook fitting, training and evaluation."""

import hashlib
from collections.abc import Iterable


def held_out_ids(video_ids: Iterable[str], share: float) -> set[str]:
    """About `share` of the videos, two at least, drawn by their names: a video that is added moves no other one."""
    draws = {video_id: int(hashlib.sha256(video_id.encode()).hexdigest()[:8], 16) / 2**32 for video_id in video_ids}
    return {video_id for video_id in draws if draws[video_id] < share} | set(sorted(draws, key=draws.get)[:2])
