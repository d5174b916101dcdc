"""What can be asked of a model by `pipeline(task, model=…)`: the one table of the pipelines.

A new one is a file of its own, its import here and its line in the table. It then travels with every processor, is
named in every saved configuration of a model that it can ask, and is known where this package is imported.
"""

from .captioning_videobert import VideoCaptioningPipeline
from .fill_mask_videobert import VideoFillMaskPipeline
from .forecasting_videobert import VideoForecastingPipeline

# By task the pipeline's class and the Auto class that loads its model.
TASKS = {
    "video-captioning": (VideoCaptioningPipeline, "AutoModelForSeq2SeqLM"),
    "video-fill-mask": (VideoFillMaskPipeline, "AutoModelForMaskedLM"),
    "video-forecasting": (VideoForecastingPipeline, "AutoModelForMaskedLM"),
}
