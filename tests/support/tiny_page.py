"""The folder of a model that a page can be made of, in milliseconds: nobody is heard, and a random network sees."""

from support.saved_videobert import save_videobert
from support.tiny_processor import save_tiny_backbone, save_tiny_text_model


def save_tiny_page(folder):
    """Returns the model's folder; its networks lie beside it."""
    model = folder / "model"
    save_videobert(model, save_tiny_text_model(folder / "text_model"), save_tiny_backbone(folder / "backbone"))
    return model
