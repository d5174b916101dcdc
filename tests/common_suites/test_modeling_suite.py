"""transformers' own common modelling suite, run against every VideoBERT class."""

import unittest

import torch
from support.transformers_suites import announce, suite

from modeling_videobert import (
    VideoBertConfig,
    VideoBertForMaskedLM,
    VideoBertForPreTraining,
    VideoBertForVideoClassification,
    VideoBertModel,
)

common, configuration, training = (
    suite(f"test_{name}") for name in ("modeling_common", "configuration_common", "training_mixin")
)
announce(
    VideoBertConfig.model_type,
    MODEL="VideoBertModel",
    MODEL_FOR_PRETRAINING="VideoBertForPreTraining",
    MODEL_FOR_MASKED_LM="VideoBertForMaskedLM",
    MODEL_FOR_VIDEO_CLASSIFICATION="VideoBertForVideoClassification",
)


class VideoBertModelTester:
    """What the suite asks of a model: a small configuration and inputs to match."""

    batch_size, seq_length, is_training = 5, 7, True
    hidden_size, num_hidden_layers, num_attention_heads = 32, 2, 4
    # By this name the suite asks which class to overfit: the one that pretrains.
    causal_lm_class = VideoBertForPreTraining

    def get_config(self):
        return VideoBertConfig(
            text_vocab_size=70,
            codebook_size=29,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )

    def prepare_config_and_inputs_for_common(self):
        config, shape = self.get_config(), (self.batch_size, self.seq_length)
        input_ids = torch.randint(2, config.vocab_size, shape)
        attention_mask = torch.ones(shape, dtype=torch.long)
        attention_mask[1:, -1] = 0
        token_type_ids = (input_ids >= config.visual_token_offset).long()
        return config, {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
        }


class VideoBertModelTest(common.ModelTesterMixin, training.TrainingTesterMixin, unittest.TestCase):
    all_model_classes = (
        VideoBertModel,
        VideoBertForPreTraining,
        VideoBertForMaskedLM,
        VideoBertForVideoClassification,
    )
    model_tester = None

    # Checks that the suite leaves to those who want them.
    test_resize_position_embeddings = True
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = VideoBertModelTester()
        self.config_tester = configuration.ConfigTester(self, config_class=VideoBertConfig, hidden_size=32)

    def test_config(self):
        """The configuration survives JSON, saving, loading and odd inputs."""
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        """The suite knows no labels for pretraining models; ours want two kinds."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and model_class is VideoBertForPreTraining:
            inputs["labels"] = torch.zeros_like(inputs["input_ids"])
            inputs["alignment_labels"] = torch.zeros(self.model_tester.batch_size, dtype=torch.long)
        return inputs
