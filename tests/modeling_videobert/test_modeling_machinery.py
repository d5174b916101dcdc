"""What the library promises of a model: checkpointing, mixed precision, export, compilation, placement; and that bad
input is named."""

import pytest
import torch
from accelerate import infer_auto_device_map
from support.tiny_videobert import joint_example, masked, padded, tiny_config, tiny_model
from transformers.utils import logging

from modeling_videobert import (
    VideoBertConfig,
    VideoBertForMaskedLM,
    VideoBertForPreTraining,
    VideoBertForVideoClassification,
    VideoBertModel,
)
from modeling_videobert.cloze_videobert import FusedCrossEntropy


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    examples = [joint_example(words, clips, generator) for words, clips in [(4, 5), (6, 0), (0, 7), (3, 9)]]
    return masked(padded(examples), 0.4, generator) | {"alignment_labels": torch.tensor([1, -100, -100, 0])}


@pytest.fixture
def inputs(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def gradients(model, batch):
    model(**batch).loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_no_gradient(batch):
    """Recomputing activations saves memory and nothing else."""
    plain, saving = (tiny_model(VideoBertForPreTraining).train() for _ in range(2))
    # transformers 5.23 gave it the new name.
    getattr(saving, "activation_checkpointing_enable", saving.gradient_checkpointing_enable)()
    runs = []
    saving.videobert.encoder.layer[0].intermediate.register_forward_hook(lambda *_: runs.append(1))
    expected, got = gradients(plain, batch), gradients(saving, batch)
    assert len(runs) == 2  # forward, and again for backward
    assert expected.keys() == got.keys()
    for name, grad in got.items():
        torch.testing.assert_close(grad, expected[name], msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sparse", [True, False])
def test_autocast(batch, sparse, dtype):
    """Mixed precision reaches the vocabulary head too, and loss and gradients stay close to full precision."""
    model = tiny_model(VideoBertForPreTraining, sparse_prediction=sparse, initializer_range=0.05).train()
    expected = {name: grad.clone() for name, grad in gradients(model, batch).items()}
    full = model(**batch).loss.item()
    model.zero_grad()
    with torch.autocast("cpu", dtype=dtype):
        output = model(**batch)
    assert output.loss.dtype == torch.float32 and output.alignment_logits.dtype == dtype
    assert output.loss.item() == pytest.approx(full, rel=0.02)
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == torch.float32
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(parameter.grad, expected[name], atol=0.1 * scale + 1e-4, rtol=0.1, msg=name)


def test_autocast_reaches_the_fused_loss(batch, monkeypatch):
    """Autocast does not know the fused loss; left alone, the largest product of the step would stay in float32."""
    fused, dtypes = FusedCrossEntropy.apply, set()

    def spy(hidden_states, weight, bias, *others):
        dtypes.update((hidden_states.dtype, weight.dtype, bias.dtype))
        return fused(hidden_states, weight, bias, *others)

    monkeypatch.setattr(FusedCrossEntropy, "apply", spy)
    model = tiny_model(VideoBertForPreTraining).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**batch)
    assert dtypes == {torch.bfloat16}


def test_encoder_can_be_exported(inputs):
    """`torch.export` with free batch size and length, bounded by the positions."""
    model = tiny_model(VideoBertModel)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=64)
    shapes = {name: {0: batch, 1: length} for name in inputs}
    program = torch.export.export(model, (), inputs, dynamic_shapes=shapes).module()
    shorter = {name: value[:2, :6] for name, value in inputs.items()}
    for given in (inputs, shorter):
        torch.testing.assert_close(
            program(**given).last_hidden_state, model(**given).last_hidden_state, atol=1e-5, rtol=0
        )


def test_encoder_compiles_to_one_graph(inputs):
    """No check of ours and no packed mask breaks the graph."""
    model = tiny_model(VideoBertModel)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    sequence_ids = inputs.pop("attention_mask")
    for given in (inputs | {"attention_mask": sequence_ids}, inputs | {"sequence_ids": sequence_ids}):
        expected = model(**given).last_hidden_state
        torch.testing.assert_close(compiled(**given).last_hidden_state, expected, atol=1e-5, rtol=0)


def test_compiled_training_step(batch):
    """The whole training step runs compiled, with the sparse head's changing sizes."""
    model = tiny_model(VideoBertForPreTraining).train()
    expected = gradients(model, batch)["cloze_head.dense.weight"].clone()
    model.zero_grad()
    output = torch.compile(model, backend="aot_eager")(**batch)
    output.loss.backward()
    torch.testing.assert_close(model.cloze_head.dense.weight.grad, expected, atol=1e-5, rtol=1e-4)


def test_layers_are_never_split_over_devices():
    """accelerate places whole layers: `_no_split_modules` names the classes that are really in the model."""
    model = tiny_model(VideoBertForPreTraining, num_hidden_layers=6)
    names = {type(module).__name__ for module in model.modules()}
    assert model._no_split_modules and set(model._no_split_modules) <= names
    device_map = infer_auto_device_map(
        model, {"cpu": "150KB", "disk": "1GB"}, no_split_module_classes=model._no_split_modules
    )
    assert set(device_map.values()) == {"cpu", "disk"}
    layers = [name for name in device_map if ".layer." in name]
    assert layers and all(name.split(".layer.")[1].isdigit() for name in layers)


def test_longer_positions(inputs):
    """A checkpoint of 512 positions can be lengthened without changing what it says of short sequences."""
    model = tiny_model(VideoBertModel)
    expected = model(**inputs).last_hidden_state
    model.resize_position_embeddings(100)
    assert torch.equal(model(**inputs).last_hidden_state, expected)
    assert model(torch.full((1, 100), 5)).last_hidden_state.shape == (1, 100, 32)


def test_fewer_tokens(tmp_path):
    """A vocabulary that was cut is still a vocabulary: it can be saved and opened."""
    model = tiny_model(VideoBertForPreTraining)
    model.resize_token_embeddings(150)
    assert (model.config.vocab_size, model.config.codebook_size) == (150, 30)
    model.save_pretrained(tmp_path)
    assert VideoBertForPreTraining.from_pretrained(tmp_path).get_input_embeddings().weight.shape[0] == 150


def test_packed_rows_have_one_mask(inputs):
    """Nothing that is given is silently ignored."""
    packed = inputs | {"sequence_ids": inputs["attention_mask"]}
    with pytest.raises(ValueError, match="Both attention_mask and sequence_ids"):
        tiny_model(VideoBertModel)(**packed)
    with pytest.raises(ValueError, match="a row to classify holds one example"):
        tiny_model(VideoBertForVideoClassification)(**packed)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"input_ids": torch.tensor([[101, 160]])}, "input_ids holds 160; allowed are 0 … 159"),
        ({"input_ids": torch.tensor([[101, -1]])}, "input_ids holds -1; allowed are 0 … 159"),
        ({"token_type_ids": torch.tensor([[0, 2]])}, "token_type_ids holds 2; allowed are 0 … 1"),
        ({"position_ids": torch.tensor([[0, 64]])}, "position_ids holds 64; allowed are 0 … 63"),
        ({"input_ids": torch.zeros(0, 2, dtype=torch.long)}, r"The batch is empty: its shape is \(0, 2\)"),
        ({"input_ids": torch.zeros(2, 0, dtype=torch.long)}, r"The batch is empty: its shape is \(2, 0\)"),
        ({"input_ids": torch.zeros(1, 65, dtype=torch.long)}, "The sequence has 65 tokens; allowed are 64"),
    ],
)
def test_bad_input_is_named(change, message):
    """One clear sentence with both numbers, not an index error in a kernel."""
    with pytest.raises(ValueError, match=message):
        tiny_model(VideoBertModel)(**({"input_ids": torch.tensor([[101, 5]])} | change))


def test_the_joint_vocabulary():
    """Words first, then visual tokens: the sizes follow from each other and contradictions are refused."""
    assert VideoBertConfig().vocab_size == 30522 + 20736
    assert tiny_config(visual_token_offset=128).vocab_size == 168
    assert tiny_config(vocab_size=192).vocab_size == 192  # rows to spare
    with pytest.raises(ValueError, match="codebook_size is 0; allowed is at least 1"):
        tiny_config(codebook_size=0)
    with pytest.raises(ValueError, match="visual_token_offset is 100, inside the text vocabulary"):
        tiny_config(visual_token_offset=100)
    with pytest.raises(ValueError, match="vocab_size is 130; 40 visual tokens from id 120 on need 160"):
        tiny_config(vocab_size=130)
    with pytest.raises(Exception, match="codebook_size"):
        tiny_config(codebook_size="many")


def test_classifier_reads_cls_and_the_mean_of_the_visual_outputs(batch, inputs):
    """By hand: words and padding stay out of the mean; without vision the mean is zero."""
    model = tiny_model(VideoBertForVideoClassification, num_labels=3)
    padding = inputs["attention_mask"] == 0
    inputs["token_type_ids"] = inputs["token_type_ids"].masked_fill(padding, 1)  # whatever padding is called
    hidden_states = model.videobert(**inputs).last_hidden_state
    for row, logits in enumerate(model(**inputs).logits):
        visual = hidden_states[row, (inputs["token_type_ids"][row] == 1) & ~padding[row]]
        mean = visual.mean(0) if len(visual) else torch.zeros(32)
        torch.testing.assert_close(logits, model.classifier(torch.cat([hidden_states[row, 0], mean])))
    inputs["input_ids"] = torch.where(batch["labels"] == -100, batch["input_ids"], batch["labels"])
    told = {name: value for name, value in inputs.items() if name != "token_type_ids"}
    torch.testing.assert_close(model(**told).logits, model(**inputs).logits)  # unmasked ids say what is vision
    loss = model(**inputs, labels=torch.tensor([0, 1, 2, 0])).loss
    expected = torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([0, 1, 2, 0]))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("model_class", [VideoBertModel, VideoBertForPreTraining, VideoBertForMaskedLM])
def test_the_model_knows_which_ids_are_visual(model_class):
    """A call without token types gives what those of the processor give, packed or not; spare rows are no vision."""
    model = tiny_model(model_class, vocab_size=170)
    ids = torch.tensor([[101, 110, 103, 1, 130, 159, 102, 165]])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 0, 0]])
    for more in ({}, {"sequence_ids": torch.tensor([[1, 1, 1, 1, 1, 1, 1, 2]])}):
        found, expected = model(input_ids=ids, **more), model(input_ids=ids, token_type_ids=types, **more)
        assert torch.equal(found[0], expected[0])
    embedded = model(inputs_embeds=model.get_input_embeddings()(ids))[0]
    assert torch.equal(embedded, model(input_ids=ids, token_type_ids=torch.zeros_like(types))[0])


def test_loading_tells_of_missing_weights_alone(tmp_path, caplog, monkeypatch):
    """Heads of other tasks are left out without a word; a head that starts with random weights is told of."""
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    tiny_model(VideoBertForPreTraining).save_pretrained(tmp_path)
    for model_class in (VideoBertModel, VideoBertForMaskedLM, VideoBertForPreTraining):
        model_class.from_pretrained(tmp_path)
    assert "LOAD REPORT" not in caplog.text
    VideoBertForVideoClassification.from_pretrained(tmp_path)
    assert "classifier.weight" in caplog.text and "UNEXPECTED" not in caplog.text
