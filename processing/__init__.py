"""From a video to ids, and from ids to batches. Importing it registers the processor with the Auto classes."""

import transformers
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoVideoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from modeling_videobert import VideoBertConfig
from modeling_videobert import __version__ as __version__
from modeling_videobert.configuration_videobert import CUSTOM_PIPELINES

from .backbone_videobert import Backbone
from .codebook_videobert import VisualCodebook, VisualCodebookConfig
from .i3d_videobert import I3DConfig, I3DModel
from .media_videobert import MediaError
from .processing_videobert import VideoBertProcessor
from .s3d_videobert import S3DConfig, S3DModel
from .sequence_videobert import joint_tokenizer
from .speech_videobert import SpeechRecognizer
from .subtitle_writing_videobert import write_subtitles
from .subtitles_videobert import find_subtitles, read_subtitles
from .tasks_videobert import TASKS
from .video_processing_videobert import VideoBertVideoProcessor

for model_class in (I3DModel, S3DModel, VisualCodebook):
    AutoConfig.register(model_class.config_class.model_type, model_class.config_class, exist_ok=True)
    AutoModel.register(model_class.config_class, model_class, exist_ok=True)
for model_class in (I3DModel, S3DModel):
    # So that saving one copies the code beside it.
    model_class.config_class.register_for_auto_class()
    model_class.register_for_auto_class("AutoModel")
AutoVideoProcessor.register(VideoBertConfig, VideoBertVideoProcessor, exist_ok=True)
AutoProcessor.register(VideoBertConfig, VideoBertProcessor, exist_ok=True)
VideoBertVideoProcessor.register_for_auto_class()
VideoBertProcessor.register_for_auto_class()
for task, (pipeline_class, auto_class) in TASKS.items():
    PIPELINE_REGISTRY.register_pipeline(task, pipeline_class, pt_model=getattr(transformers, auto_class))
    # So that saved models tell of it.
    implementation = f"{pipeline_class.__module__.rpartition('.')[2]}.{pipeline_class.__name__}"
    CUSTOM_PIPELINES[task] = {"impl": implementation, "pt": [auto_class]}

__all__ = [
    "Backbone",
    "I3DConfig",
    "I3DModel",
    "MediaError",
    "S3DConfig",
    "S3DModel",
    "SpeechRecognizer",
    "VideoBertProcessor",
    "VideoBertVideoProcessor",
    "VisualCodebook",
    "VisualCodebookConfig",
    "find_subtitles",
    "joint_tokenizer",
    "read_subtitles",
    "write_subtitles",
]
