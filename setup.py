import re
from pathlib import Path

from setuptools import find_packages, setup

# Read, not imported: a build has none of the dependencies.
VERSION = re.search(r'^__version__ = "(.+)"$', Path("modeling_videobert/__init__.py").read_text("utf-8"), re.MULTILINE)

setup(
    name="videobert",
    version=VERSION[1],
    description="VideoBERT (Sun et al., ICCV 2019) for the Hugging Face stack: pretraining on video and language",
    long_description=Path("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["modeling_videobert*", "processing*"]),
    package_data={"processing": ["model_card.md"]},
    # `make oldest` runs the tests with every lower bound; torch, torchvision and torchcodec must fit each other.
    install_requires=[
        "accelerate>=1.15",
        "charset-normalizer>=3.4.9",
        "datasets>=5.2",
        "evaluate>=0.4.6",
        "fsspec>=2024.6",
        "huggingface_hub>=2.4",
        "numpy>=2",
        "pillow>=11",
        "psutil>=5.9",
        "silero-vad>=6.2.3,<7",  # voice_videobert.py calls the layers of its network
        "torch>=2.14",
        "torchcodec>=0.17",
        "torchvision>=0.29",
        "transformers>=5.20,<6",
    ],
    extras_require={
        # The page that people try, and the browser's driver for its tests.
        "app": ["gradio>=6.31"],
        "app-test": ["gradio>=6.31", "playwright>=1.65"],
        # The documents as a site, and the notebook that it shows.
        "docs": [
            "ipykernel>=7.4",
            "mkdocs>=1.6.1",
            "mkdocs-material>=9.8",
            "mkdocstrings[python]>=1.0",
            "nbclient>=0.11",
        ],
        # Types, hooks before a commit, and environments of the oldest and newest versions.
        "quality": ["mypy>=2.4", "pre-commit>=4.7", "pre-commit-hooks>=6", "uv>=0.13"],
        # Another engine for the same speech recognisers.
        "faster-whisper": ["faster-whisper>=1.2"],
        # Peers that the scripts in benchmarks/ compare with; one that is missing is left out of its table.
        "benchmarks": [
            "av>=18.1",
            "decord>=0.6",
            "faiss-cpu>=1.15",
            "faster-whisper>=1.2",
            "opencv-python-headless>=5.0",
            "scikit-learn>=1.7",
        ],
        # Searching very many moments; without it every vector is looked at.
        "faiss": ["faiss-cpu>=1.15"],
        # Features in HDF5.
        "features": ["h5py>=3.12"],
        # A row among mteb's video embeddings.
        "mteb": ["mteb>=2.26"],
        # Starting the tasks of a corpus on Slurm.
        "scale": ["datatrove>=0.10.1"],
        # What `make demo` needs besides. Piper (GPL-3) is the kitchen's narrator; the package never imports it.
        "demo": ["matplotlib>=3.10", "piper-tts>=1.8", "tensorboard>=2.20"],
        # Image networks of timm as backbone.
        "timm": ["timm>=1.0.20"],
        "test": [
            "h5py>=3.12",
            "hypothesis>=6.100",
            "parameterized>=0.9",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "ruff>=0.14",
            "scikit-learn>=1.7",
            "setuptools>=77",  # builds the wheel that is looked at
            "timm>=1.0.20",
            # Resamples what is spoken. Nothing that the packages do needs it; it refuses a torch that is younger.
            "torchaudio>=2.11",
            "torch<2.15",
        ],
    },
)
