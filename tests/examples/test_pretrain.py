"""Pretraining: weights of the loss, exact resuming, and the whole way from rows to a folder that loads."""

import copy
import json
import shutil
from types import SimpleNamespace

import datasets
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from pretrain import main, own_material, parse_args
from safetensors.torch import load_file
from support.tiny_processor import make_video
from support.tiny_rows import (
    CODEBOOK_SIZE,
    OFFSET,
    cooking_rows,
    cooking_truth,
    row,
    save_rows,
    save_truth,
    tiny_processor,
    tiny_text_tokenizer,
    tiny_tokenizer,
)
from training import GroupedSampler, evaluate, example_sums, make_loader, make_optimizer, training_step, windows
from transformers import AutoModelForPreTraining, BertConfig, BertForPreTraining

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus import held_out_ids
from processing.training_data import AlignmentPairs, SegmentDataset, VideoBertDataCollator

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Accelerate keeps its state for the whole process; each test gets its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def tiny_model(**options):
    torch.manual_seed(0)
    config = VideoBertConfig(**SIZES, text_vocab_size=OFFSET, codebook_size=CODEBOOK_SIZE, **options)
    return VideoBertForPreTraining(config)


@pytest.fixture
def source(tmp_path):
    """Rows, truth, processor and a text BERT on disk, as options of pretrain.py."""
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(vocab_size=OFFSET, **SIZES)).save_pretrained(tmp_path / "bert")
    tiny_text_tokenizer().save_pretrained(tmp_path / "bert")
    tiny_processor().save_pretrained(tmp_path / "processor")
    rows = [*cooking_rows(12), row("broken", [], 0, error="broken.mp4: truncated")]
    names = {
        "corpus": save_rows(rows, tmp_path),
        "truth": save_truth(cooking_truth(rows), tmp_path),
        "processor": tmp_path / "processor",
        "text_model": tmp_path / "bert",
    }
    return [f"--{name}={path}" for name, path in names.items()]


def test_whole_way_from_rows_to_a_folder_that_loads(source, tmp_path):
    """Training on rows leaves a model that loads by itself, its processor, a card, figures and pictures."""
    folder = tmp_path / "run"
    options = ["--max_steps=40", "--learning_rate=1e-2", "--warmup_steps=2", "--eval_steps=20", "--max_length=64"]
    results = main([*source, f"--output_dir={folder}", *options, "--checkpointing_steps=20", "--checkpoints_kept=1"])
    assert json.loads((folder / "all_results.json").read_text()) == results
    for name in ("verb_top1", "verb_top1_token_probe", "text_accuracy", "alignment_loss", "seconds", "peak_memory_gb"):
        assert isinstance(results[name], float)
    for name in ("README.md", "losses.png", "timeline.png", "model.safetensors", "codebook/model.safetensors"):
        assert (folder / name).stat().st_size > 0
    assert str(tmp_path) not in (folder / "README.md").read_text()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_40"]
    assert list((folder / "logs").rglob("events*"))

    model, processor = AutoModelForPreTraining.from_pretrained(folder), VideoBertProcessor.from_pretrained(folder)
    assert model.config.vocab_size == len(processor.tokenizer)
    output = model(**processor(text="now let me show you how to [MASK] the lemon", videos=[3, 5, 5]))
    assert output.logits.shape[-1] == OFFSET + CODEBOOK_SIZE
    # The template's words are in every sentence: a model that learns at all knows them.
    assert results["text_accuracy"] > 0.5


@pytest.mark.parametrize("layout", ["packed", "grouped"])
def test_resuming_is_exact(source, tmp_path, layout):
    """Eight steps at once, or four, a checkpoint and four more, end in the same bits."""
    # 10 videos give 40 examples: 5 batches of 8 an epoch, so that 8 steps of two batches cross epochs, and the fourth
    # step ends within one.
    options = ["--max_steps=8", "--batch_size=8", "--gradient_accumulation_steps=2", "--checkpointing_steps=4"]
    options += ["--warmup_steps=1", "--learning_rate=1e-3", "--eval_steps=2", "--logging_steps=1", "--max_length=64"]
    options += [f"--layout={layout}"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    main([*source, f"--output_dir={whole}", *options])
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    shutil.copytree(whole / "checkpoints" / "step_4", resumed / "checkpoints" / "step_4")
    torch.manual_seed(99)
    main([*source, f"--output_dir={resumed}", *options, "--resume_from_checkpoint=latest"])
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def batches_of(sizes, seed=0):
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), OFFSET, max_length=64, seed=seed)
    collator = VideoBertDataCollator(tiny_tokenizer(), OFFSET, CODEBOOK_SIZE, 0.3, 0.3)
    examples, batches = [data[index] for index in range(sum(sizes))], []
    for size in sizes:
        batches.append(collator(examples[:size]))
        examples = examples[size:]
    return batches


def gradients_after_step(window):
    accelerator = Accelerator(cpu=True)
    model = tiny_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    kept = {}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict())
    losses = training_step(accelerator, model, optimizer, window, max_grad_norm=1e9)
    for name, value in model.state_dict().items():
        kept[name] = (before[name] - value) / 0.1
    return losses, kept


def test_accumulated_steps_weigh_every_predicted_token_alike():
    """Micro-batches of 1, 5 and 10 examples give the loss and the gradient of one batch of 16, not a mean of means."""
    (together,) = batches_of([16])
    expected_loss, expected = gradients_after_step([together])
    loss, found = gradients_after_step(batches_of([1, 5, 10]))
    torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-5, rtol=1e-3)


def test_fault_padding_counted_in_the_loss():
    """Padding the same examples to twice the length changes neither the loss nor any held-out figure."""
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), OFFSET, max_length=64)
    examples = [data[index] for index in range(8)]
    model = tiny_model().eval()
    figures = []
    for multiple in (1, 64):
        collator = VideoBertDataCollator(tiny_tokenizer(), OFFSET, CODEBOOK_SIZE, pad_to_multiple_of=multiple)
        batch = collator(examples)
        outputs = model(**batch)
        figures.append((outputs.loss, example_sums(outputs, batch, model.config)))
    torch.testing.assert_close(figures[0], figures[1], atol=1e-4, rtol=1e-4)


def test_held_out_figures_are_those_counted_by_hand():
    """Each objective has its own mean over what was asked, for any batch size."""
    accelerator, model = Accelerator(cpu=True), tiny_model()
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), OFFSET, max_length=64)
    collator = VideoBertDataCollator(tiny_tokenizer(), OFFSET, CODEBOOK_SIZE)
    loader = accelerator.prepare(make_loader(data.draw_epoch(0), collator, 5, 0))
    metrics = evaluate(accelerator, model, loader, model.config)
    assert model.training
    batch = collator([data[index] for index in range(len(data))])
    outputs = model.eval()(**batch)
    for task, asked in (("text", batch["token_type_ids"] == 0), ("visual", batch["token_type_ids"] == 1)):
        asked = asked & (batch["labels"] != -100)
        expected = torch.nn.functional.cross_entropy(outputs.logits[asked], batch["labels"][asked]).item()
        assert metrics[f"{task}_loss"] == pytest.approx(expected, abs=1e-4)
    judged = batch["alignment_labels"] != -100
    right = outputs.alignment_logits.argmax(-1)[judged] == batch["alignment_labels"][judged]
    assert metrics["alignment_accuracy"] == pytest.approx(right.float().mean().item())


def test_evaluation_names_within_the_modality_where_training_does():
    """By hand: only the scores of the token's own modality take part; the joint softmax gives another loss."""
    accelerator, data = Accelerator(cpu=True), SegmentDataset(cooking_rows(), tiny_tokenizer(), OFFSET, max_length=64)
    loader = accelerator.prepare(
        make_loader(data.draw_epoch(0), VideoBertDataCollator(tiny_tokenizer(), OFFSET, CODEBOOK_SIZE), 99, 0)
    )
    model = tiny_model(predict_within_modality=True)
    metrics = evaluate(accelerator, model, loader, model.config)
    (batch,) = loader
    logits, labels = model.eval()(**batch).logits, batch["labels"]
    for task, tokens in (("text", slice(0, OFFSET)), ("visual", slice(OFFSET, OFFSET + CODEBOOK_SIZE))):
        asked = (labels >= tokens.start) & (labels < tokens.stop)
        scores, target = logits[asked][:, tokens], labels[asked] - tokens.start
        expected = torch.nn.functional.cross_entropy(scores, target).item()
        assert metrics[f"{task}_loss"] == pytest.approx(expected, abs=1e-4)
        assert metrics[f"{task}_accuracy"] == pytest.approx((scores.argmax(-1) == target).float().mean().item())
        joint = torch.nn.functional.cross_entropy(logits[asked], labels[asked]).item()
        assert abs(joint - expected) > 0.01


def test_grouped_batches_are_of_about_one_length_and_resume_exactly():
    """The order comes from seed and epoch alone, every example comes once, and the batches that the collator makes of
    it hold hardly any padding, because it goes by the lengths that this epoch's examples really have."""
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), OFFSET, pairs=AlignmentPairs(share=0), max_length=64)
    first, second = GroupedSampler(data, 4, seed=3), GroupedSampler(data, 4, seed=3)
    list(first)
    for chosen in (data, first, second):
        chosen.set_epoch(1)
    order = list(first)
    assert order == list(second) and sorted(order) == list(range(len(data)))
    second.set_epoch(2)
    assert order != list(second)
    padding = {}
    for grouped in (True, False):
        collator = VideoBertDataCollator(tiny_tokenizer(), OFFSET, CODEBOOK_SIZE)
        masks = [batch["attention_mask"] for batch in make_loader(data, collator, 4, 0, seed=3, grouped=grouped)]
        padding[grouped] = 1 - sum(mask.sum() for mask in masks) / sum(mask.numel() for mask in masks)
    assert padding[True] < 0.6 * padding[False]


@pytest.mark.parametrize("layout", ["packed", "flat"])
def test_a_packed_step_is_a_padded_step(layout):
    """The same examples in fewer rows give the same losses and gradients, both objectives."""
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), OFFSET, max_length=64)
    examples, steps = [data[index] for index in range(12)], []
    for chosen in ("padded", layout):
        collator = VideoBertDataCollator(tiny_tokenizer(), OFFSET, CODEBOOK_SIZE, 0.3, 0.3, layout=chosen)
        steps.append(gradients_after_step([collator(examples)]))
    (expected_loss, expected), (loss, found) = steps
    torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=1e-5)
    assert loss[2] > 0
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-5, rtol=1e-3)


def test_held_out_examples_stay_the_same():
    """A curve over training compares the same examples: an untouched model has the same figures every time."""
    accelerator, model = Accelerator(cpu=True), tiny_model()
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), OFFSET, max_length=64)
    collator = VideoBertDataCollator(tiny_tokenizer(), OFFSET, CODEBOOK_SIZE)
    loader = accelerator.prepare(make_loader(data.draw_epoch(0), collator, 5, 0))
    first, second, third = (evaluate(accelerator, model, loader, model.config) for _ in range(3))
    assert first == second == third


def test_windows_keep_every_batch():
    """The last, smaller window of an epoch is used too."""
    assert list(windows(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_frozen_and_bare_parameters():
    """What is frozen is not in the optimiser, and biases and norms do not decay."""
    model = tiny_model(freeze_input_embeddings=True)
    optimizer = make_optimizer(model, 1e-3, 0.1)
    decaying, bare = optimizer.param_groups
    trained = {id(one) for group in optimizer.param_groups for one in group["params"]}
    assert id(model.get_input_embeddings().weight) not in trained
    assert (decaying["weight_decay"], bare["weight_decay"]) == (0.1, 0.0)
    assert all(one.ndim == 1 for one in bare["params"]) and all(one.ndim > 1 for one in decaying["params"])


def test_options_that_contradict_are_refused(capsys):
    """Rows mean nothing without the processor that made them."""
    with pytest.raises(SystemExit):
        parse_args(["--corpus", "rows"])
    assert "--corpus needs --processor" in capsys.readouterr().err


def test_adding_a_video_moves_no_other_between_training_and_held_out():
    """Else a resumed run would be judged on what it was trained on."""
    names = [f"video{number}" for number in range(200)]
    before, after = held_out_ids(names, 0.1), held_out_ids([*names, "another"], 0.1)
    assert before - {"another"} == after - {"another"} and 8 <= len(before) <= 35
    assert len(held_out_ids(names[:5], 0.01)) == 2


def test_a_processor_of_another_vocabulary_is_refused(source, tmp_path):
    """The ids of visual tokens would silently mean other tokens to the model."""
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(vocab_size=OFFSET + 7, **SIZES)).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=f"begin at {OFFSET} in the processor and at {OFFSET + 7}"):
        main([*source[:-1], f"--text_model={tmp_path / 'other'}", f"--output_dir={tmp_path / 'run'}", "--max_steps=1"])


def test_a_new_run_puts_old_checkpoints_aside(source, tmp_path):
    """They would pass for its own when it is resumed."""
    old = tmp_path / "run" / "checkpoints" / "step_9000"
    old.mkdir(parents=True)
    options = ["--max_steps=1", "--checkpointing_steps=1", "--warmup_steps=0", "--max_length=64"]
    main([*source, f"--output_dir={tmp_path / 'run'}", *options])
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_1"]
    assert list((tmp_path / "run").glob("checkpoints_before_*/step_9000"))


def test_own_videos_with_bad_ones_among_them(tiny_backbone, tmp_path, capsys):  # noqa: F811
    """Silent videos, a text file named .mp4 and a truncated one: the run ends with a model and says what is wrong."""
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(vocab_size=OFFSET, **SIZES)).save_pretrained(tmp_path / "bert")
    tiny_text_tokenizer().save_pretrained(tmp_path / "bert")
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(6):
        make_video(videos / f"video{number}.mp4", f"testsrc=s=64x48:r=10:d={4 + number}")
    (videos / "text.mp4").write_text("this is no video")
    (videos / "truncated.mp4").write_bytes((videos / "video5.mp4").read_bytes()[:2000])
    options = [
        "--levels=1",
        "--branches=4",
        "--max_steps=2",
        "--warmup_steps=1",
        "--max_length=32",
        "--test_share=0.3",
    ]
    names = [
        f"--videos={videos}",
        f"--text_model={tmp_path / 'bert'}",
        f"--backbone={tiny_backbone}",
        "--backbone_dtype=bfloat16",
        "--backbone_batch_size=2",
        "--asr_model=none",
    ]
    main([*names, f"--output_dir={tmp_path / 'run'}", *options])
    rows = datasets.load_from_disk(tmp_path / "run" / "corpus" / "rows")
    assert sorted(rows["video_id"]) == ["text", "truncated", *(f"video{number}" for number in range(6))]
    complaints = capsys.readouterr().err
    assert "text.mp4" in complaints and "truncated.mp4" in complaints
    for name in ("README.md", "all_results.json", "losses.png", "timeline.png", "codebook/model.safetensors"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_a_folder_without_videos_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no video"):
        main([f"--videos={tmp_path}", f"--output_dir={tmp_path / 'run'}", "--text_model=none"])


@pytest.mark.parametrize("source", ["", "--corpus rows --processor folder"])
@pytest.mark.parametrize("option", ["--language de", "--asr_engine faster-whisper", "--subtitles none"])
def test_options_of_hearing_without_videos_are_refused(source, option, capsys):
    """Neither the kitchen nor rows are heard with them; nobody should believe that they were."""
    with pytest.raises(SystemExit):
        parse_args([*source.split(), *option.split()])
    assert f"{option.split()[0]} is about how --videos are heard" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, wanted", [("", "en"), ("--language de", "de"), ("--language de --asr_task translate", "en")]
)
def test_subtitles_are_in_the_language_that_is_heard(tmp_path, monkeypatch, options, wanted):
    """They stand for what the recogniser would write: what is spoken, or English where it translates."""

    class Asked(Exception):
        pass

    def asked(videos, source, language):
        raise Asked(language)

    monkeypatch.setattr("pretrain.find_subtitles", asked)
    monkeypatch.setattr("pretrain.VideoBertProcessor.from_models", lambda *models, **options: SimpleNamespace())
    (tmp_path / "a.mp4").touch()
    arguments = ["--videos", str(tmp_path), "--output_dir", str(tmp_path / "out"), *options.split()]
    with pytest.raises(Asked, match=wanted):
        own_material(parse_args(arguments))
