"""transformers' own common suite for processors, run against ours."""

import json
import tempfile
import unittest

import torch
from support.transformers_suites import suite
from transformers import BertTokenizer, VideoMAEConfig, VideoMAEImageProcessor, VideoMAEModel

from processing import VideoBertProcessor, VideoBertVideoProcessor, joint_tokenizer
from processing.codebook.fitting import fit_codebook

common = suite("test_processing_common")
WORDS = "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] lower newer upper older longer string".split()
SIZE = {"height": 32, "width": 32}


class VideoBertProcessorTest(common.ProcessorTesterMixin, unittest.TestCase):
    processor_class = VideoBertProcessor
    # A video comes out as visual tokens among the words, not as pixels.
    videos_input_name = "input_ids"

    @classmethod
    def setUpClass(cls):
        """A network and a codebook stand behind the processor, so that videos become visual tokens."""
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        VideoMAEModel(VideoMAEConfig(image_size=32, num_frames=4, **sizes)).save_pretrained(cls.folder.name)
        VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=SIZE).save_pretrained(cls.folder.name)
        super().setUpClass()

    @classmethod
    def _setup_tokenizer(cls):
        return joint_tokenizer(BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}), 9)

    @classmethod
    def _setup_video_processor(cls):
        return VideoBertVideoProcessor(size={"shortest_edge": 32}, crop_size=SIZE)

    @classmethod
    def prepare_processor_dict(cls):
        return {"backbone": cls.folder.name, "codebook": fit_codebook(torch.randn(60, 16), 2, 3, progress=False)}

    def _check_modality_outputs(self, inputs, modality):
        """The video is in the sequence: it has tokens of type 1."""
        self.assertEqual(torch.as_tensor(inputs["token_type_ids"]).max().item(), 1)

    def test_processor_to_json_string(self):
        """The codebook has weights of its own, so the JSON names its folder and not its content."""
        told = json.loads(self.get_processor().to_json_string())
        self.assertEqual((told["backbone"], told["codebook"]), (self.folder.name, "codebook"))
