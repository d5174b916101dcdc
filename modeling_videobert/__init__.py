"""VideoBERT's network. Importing this package makes transformers' Auto classes know it."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSeq2SeqLM,
    AutoModelForVideoClassification,
)

from .captioner_videobert import VideoBertCaptionerConfig, VideoBertForCaptioning
from .configuration_videobert import VideoBertConfig
from .modeling_videobert import (
    VideoBertForMaskedLM,
    VideoBertForPreTraining,
    VideoBertForVideoClassification,
    VideoBertModel,
    VideoBertPreTrainedModel,
)

__version__ = "0.1.0"

AutoConfig.register(VideoBertConfig.model_type, VideoBertConfig, exist_ok=True)
# So that saving a model copies the code beside the weights.
VideoBertConfig.register_for_auto_class()
for auto_class, model_class in (
    (AutoModel, VideoBertModel),
    (AutoModelForPreTraining, VideoBertForPreTraining),
    (AutoModelForMaskedLM, VideoBertForMaskedLM),
    (AutoModelForVideoClassification, VideoBertForVideoClassification),
):
    auto_class.register(VideoBertConfig, model_class, exist_ok=True)
    model_class.register_for_auto_class(auto_class.__name__)
AutoConfig.register(VideoBertCaptionerConfig.model_type, VideoBertCaptionerConfig, exist_ok=True)
VideoBertCaptionerConfig.register_for_auto_class()
for captioning_class in (AutoModel, AutoModelForSeq2SeqLM):
    captioning_class.register(VideoBertCaptionerConfig, VideoBertForCaptioning, exist_ok=True)
VideoBertForCaptioning.register_for_auto_class("AutoModelForSeq2SeqLM")

__all__ = [
    "VideoBertCaptionerConfig",
    "VideoBertConfig",
    "VideoBertForCaptioning",
    "VideoBertForMaskedLM",
    "VideoBertForPreTraining",
    "VideoBertForVideoClassification",
    "VideoBertModel",
    "VideoBertPreTrainedModel",
]
