from setuptools import find_packages, setup

setup(
    name="videobert",
    version="0.1.0",
    description="VideoBERT (Sun et al., ICCV 2019) for the Hugging Face stack: pretraining on video and language",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["modeling_videobert*", "processing*"]),
    package_data={"processing": ["model_card.md"]},
    # Lower bounds are the versions this was run with; torch, torchaudio and torchcodec must fit each other.
    install_requires=[
        "accelerate>=1.15",
        "charset-normalizer>=3.4",
        "datasets>=5.2",
        "evaluate>=0.4.6",
        "huggingface_hub>=2.4",
        "numpy>=2",
        "psutil>=5.9",
        "silero-vad>=6.2.3",
        "torch>=2.14",
        "torchaudio>=2.11",
        "torchcodec>=0.17",
        "torchvision>=0.29",
        "transformers>=5.23,<6",
    ],
    extras_require={
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
        "demo": ["matplotlib>=3.10", "pillow", "piper-tts>=1.8", "tensorboard>=2.20"],
        # Image networks of timm as backbone.
        "timm": ["timm>=1.0.20"],
        "test": [
            "h5py>=3.12",
            "hypothesis>=6",
            "parameterized>=0.9",
            "pytest>=8",
            "pytest-timeout>=2",
            "ruff>=0.14",
            "scikit-learn>=1.7",
            "setuptools>=77",  # builds the wheel that is looked at
            "timm>=1.0.20",
        ],
    },
)
