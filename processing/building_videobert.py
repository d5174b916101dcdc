"""Ears and eyes out of what a processor says of them: by name or ready-made, with options of how they run."""

import os
from collections.abc import Collection, Mapping

from .backbone_videobert import Backbone
from .network_videobert import model_type
from .speech_videobert import SpeechRecognizer

# How a network runs is a matter of the machine, not of the saved processor.
MACHINE_OPTIONS = ("device", "dtype", "batch_size", "compile")
HEARING_OPTIONS = ("language", "task", "engine", "device", "dtype", "batch_size")


def build_recognizer(asr_model, options: Mapping) -> SpeechRecognizer:
    """The ears of a processor.

    Args:
        asr_model (`str`, `Path` or a ready recogniser, *optional*):
            As of [`SpeechRecognizer`].
        options (`Mapping`):
            The processor's `asr_options`.

    Raises:
        ValueError: There is no such model, or options that do not exist or have no effect on it.
    """
    if asr_model is None:
        raise ValueError("The processor has no asr_model; give the id or folder of a Whisper checkpoint.")
    _refuse_unknown("asr_options", options, HEARING_OPTIONS)
    if not isinstance(asr_model, (str, os.PathLike)):
        _refuse_ready_made("asr_model", options.keys() & {"device", "dtype"})
    elif options.get("engine", "transformers") == "transformers":
        model_type(os.fspath(asr_model), "asr_model")  # said before the work on the pictures
    return SpeechRecognizer(asr_model, **options)


def build_backbone(backbone, options: Mapping) -> Backbone:
    """The eyes of a processor.

    Args:
        backbone (`str`, `Path` or a ready network, *optional*):
            As of [`Backbone`].
        options (`Mapping`):
            The processor's `backbone_options`.

    Raises:
        ValueError: There is no such model, or options that do not exist or have no effect on it.
    """
    if backbone is None:
        raise ValueError(
            "The processor has no backbone, so no eyes for raw video; give the id or folder of the network that made "
            "the features of its codebook, or give visual ids."
        )
    _refuse_unknown("backbone_options", options, MACHINE_OPTIONS)
    if not hasattr(backbone, "features"):
        return Backbone(backbone, **options)
    _refuse_ready_made("backbone", options)
    return backbone


def _refuse_unknown(name: str, options: Mapping, allowed: Collection[str]) -> None:
    if unknown := options.keys() - set(allowed):
        raise ValueError(f"{name} hold {', '.join(sorted(unknown))}; allowed are {', '.join(allowed)}.")


def _refuse_ready_made(name: str, options: Collection[str]) -> None:
    if options:
        raise ValueError(
            f"The {name} is ready-made; {', '.join(sorted(options))} must be chosen where it is made, not in the "
            "processor's options."
        )
