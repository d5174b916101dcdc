"""A pretraining step of VideoBERT beside one of transformers' BERT: the same joint vocabulary, the same weights.

    python benchmarks/pretraining_step.py                        # both shapes, about ten minutes
    python benchmarks/pretraining_step.py --json results.json    # the figures in a file too
    python benchmarks/pretraining_step.py --smoke                # toy sizes, seconds: shows that it runs

Both sides compute forward and backward of the same examples with the same masks: sentences as long as those of YouCook
II's narration, 15 % of the tokens predicted as in BERT. `BertForMaskedLM`: padded batches of `--batch-size` examples,
the vocabulary head at every position. Ours: the sparse head, and as many examples a batch, packed into rows as
`VideoBertDataCollator` packs them, or grouped by length. Runs alternate, the figures are medians.

`small.ratio` and `base.ratio`: their time over ours in the layout that is faster on sdpa. `kitchen`: the small shape
with regimes and shares as `examples/pretrain.py` has them, where twice as much is predicted. `layouts`: both layouts
on each attention back end that trains here, the base for the default of `examples/pretrain.py`. `matmul_share`: needed
multiplications and additions of the base shape, a second, over those of one large matrix product on this machine.
`memory_ratio`: what a step adds to the memory of the process, at the base shape; the table also has the whole process.
`growth`: sequences of up to 64 … 512 tokens, small shape.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modeling_videobert import VideoBertConfig, VideoBertForMaskedLM
from processing.training_data.collator import first_fit

# layers, hidden size, heads, words, visual tokens
SHAPES = {
    "small": (4, 256, 4, 30522, 20736),
    "base": (12, 768, 12, 30522, 20736),
    "toy": (2, 64, 2, 400, 200),
}
# WordPieces in a sentence of YouCook II's narration: minimum, 10 %, … 90 %, 99 %.
SENTENCE_LENGTHS = (4, 7, 9, 11, 13, 16, 19, 23, 28, 35, 74)
# A visual token lasts 1.5 s, a WordPiece of running speech about 0.35 s.
VISUAL_TOKENS_PER_WORD = 0.25
OURS = ("grouped", "packed")
CLS, JOIN, SEP, MASK, FIRST_WORD = 101, 1, 102, 103, 104
# Weights of text alone, video alone and both; shares of words and visual tokens to predict.
BERT_MASKING = ((0.25, 0.25, 0.5), (0.15, 0.15))
KITCHEN_MASKING = ((0.1, 0.1, 0.8), (0.35, 0.25))


def draw_length(generator, scale):
    """Words in one to three joined sentences."""
    total = 0
    for _ in range(int(torch.randint(1, 4, (), generator=generator))):
        place = float(torch.rand((), generator=generator)) * (len(SENTENCE_LENGTHS) - 1)
        low = int(place)
        total += SENTENCE_LENGTHS[low] + (place - low) * (SENTENCE_LENGTHS[low + 1] - SENTENCE_LENGTHS[low])
    return total * scale


def draw_examples(count, max_length, words, clips, masking=BERT_MASKING):
    """Masked examples of the three regimes."""
    generator = torch.Generator().manual_seed(0)
    (text_only, video_only, _), (language, vision) = masking
    examples = []
    for _ in range(count):
        length = draw_length(generator, max_length / 128)
        regime = float(torch.rand((), generator=generator))
        num_words = 0 if regime < video_only else int(length)
        is_text = video_only <= regime < video_only + text_only
        num_clips = 0 if is_text else max(4, int(length * VISUAL_TOKENS_PER_WORD))
        num_clips = min(num_clips, max_length // 2)
        num_words = min(num_words, max_length - 3 - num_clips)
        parts = [torch.tensor([CLS]), torch.randint(FIRST_WORD, words, (num_words,), generator=generator)]
        parts += [torch.tensor([JOIN])] if num_words and num_clips else []
        parts += [torch.randint(words, words + clips, (num_clips,), generator=generator), torch.tensor([SEP])]
        ids = torch.cat(parts)
        shares = torch.where(ids >= words, vision, language)
        hidden = (ids >= FIRST_WORD) & (torch.rand(ids.shape, generator=generator) < shares)
        examples.append(
            {
                "input_ids": ids.masked_fill(hidden, MASK),
                "token_type_ids": (ids >= words).long(),
                "labels": ids.masked_fill(~hidden, -100),
            }
        )
    return examples


def pad(examples):
    """One example a row."""
    batch = {}
    for name in examples[0]:
        tensors, value = [example[name] for example in examples], -100 if name == "labels" else 0
        batch[name] = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    batch["attention_mask"] = (torch.arange(lengths.max()) < lengths[:, None]).long()
    return batch


def batches_of(examples, size):
    return [pad(examples[start : start + size]) for start in range(0, len(examples), size)]


def grouped(examples, size):
    """Neighbours in length share a batch."""
    return batches_of(sorted(examples, key=lambda example: len(example["input_ids"])), size)


def packed(examples):
    """One batch: rows as long as the longest example, with as many examples in each as fit."""
    lengths = [len(example["input_ids"]) for example in examples]
    lines = []
    for row in first_fit(lengths, max(lengths)):
        line = {name: torch.cat([examples[number][name] for number in row]) for name in examples[0]}
        numbers = torch.arange(1, len(row) + 1).repeat_interleave(torch.tensor([lengths[number] for number in row]))
        lines.append(line | {"sequence_ids": numbers})
    batch = pad(lines)
    batch.pop("attention_mask")
    return batch


def layouts_of(examples, size):
    """The same examples as BERT gets them, and in our two layouts."""
    return {
        "theirs": batches_of(examples, size),
        "grouped": grouped(examples, size),
        "packed": [packed(examples[start : start + size]) for start in range(0, len(examples), size)],
    }


def build(side, shape):
    """One of the two models; both start from the same random weights."""
    layers, hidden_size, heads, words, clips = SHAPES[shape]
    sizes = {
        "num_hidden_layers": layers,
        "hidden_size": hidden_size,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden_size,
        # Dropout draws other numbers for other layouts; without it the losses can be compared.
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if side == "ours":
        return VideoBertForMaskedLM(VideoBertConfig(text_vocab_size=words, codebook_size=clips, **sizes)).train()
    return BertForMaskedLM(BertConfig(vocab_size=words + clips, **sizes)).train()


def same_weights(ours, theirs):
    ours.videobert.load_state_dict(theirs.bert.state_dict())
    head = theirs.cls.predictions
    ours.cloze_head.dense.load_state_dict(head.transform.dense.state_dict())
    ours.cloze_head.LayerNorm.load_state_dict(head.transform.LayerNorm.state_dict())


def step(model, batches):
    """Forward and backward of all batches: the mean loss over all predicted tokens, and the seconds it took."""
    counts = [int((batch["labels"] != -100).sum()) for batch in batches]
    model.zero_grad()
    total, start = 0.0, time.perf_counter()
    for batch, count in zip(batches, counts, strict=True):
        loss = model(**batch).loss * (count / sum(counts))
        loss.backward()
        total += loss.item()
    return total, time.perf_counter() - start


def matmul_rate(size):
    """Multiplications and additions a second of one large matrix product."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    start = time.perf_counter()
    left @ right
    return 2 * size**3 / (time.perf_counter() - start)


def useful_operations(examples, shape):
    """What forward and backward need in matrix products, by the definition: no padding, no unasked positions."""
    layers, hidden_size, _, words, clips = SHAPES[shape]
    total = 0
    for example in examples:
        length, asked = len(example["input_ids"]), int((example["labels"] != -100).sum())
        total += layers * (2 * length * 12 * hidden_size**2 + 4 * length**2 * hidden_size)
        total += 2 * asked * (hidden_size**2 + hidden_size * (words + clips))
    return 3 * total  # backward is two such products for each of forward's


def alternate(models, layouts, repeats):
    """Losses, and the seconds of each of `repeats` rounds after a first one that warms up."""
    losses, seconds = {}, {name: [] for name in layouts}
    for repeat in range(-1, repeats):
        for name, batches in layouts.items():
            losses[name], took = step(models[name], batches)
            if repeat >= 0:
                seconds[name].append(took)
    return losses, seconds


def compare(shape, max_length, options, masking=BERT_MASKING):
    """BERT against ours in both layouts, in turn."""
    words, clips = SHAPES[shape][3:]
    examples = draw_examples(options.examples, max_length, words, clips, masking)
    tokens = sum(len(example["input_ids"]) for example in examples)
    layouts = layouts_of(examples, options.batch_size)
    theirs, ours = build("theirs", shape), build("ours", shape)
    same_weights(ours, theirs)
    losses, seconds = alternate({"theirs": theirs, "grouped": ours, "packed": ours}, layouts, options.repeats)
    best = min(OURS, key=lambda name: statistics.median(seconds[name]))
    pairs = zip(seconds["theirs"], seconds[best], strict=True)
    return {
        "ratio": statistics.median(slow / fast for slow, fast in pairs),
        "layout": best,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "milliseconds_per_1000_tokens": 1e6 * statistics.median(seconds[best]) / tokens,
        "loss_difference": max(abs(losses[name] - losses["theirs"]) for name in OURS),
        "matmul_share": matmul_share(ours, layouts[best], examples, shape, options),
        "mean_length": tokens / len(examples),
        "padding": 1 - tokens / sum(batch["input_ids"].numel() for batch in layouts["theirs"]),
    }


def matmul_share(model, batches, examples, shape, options):
    """Steps and large products in turn, so that both see the machine in the same state."""
    needed = useful_operations(examples, shape)
    shares = []
    for _ in range(options.repeats):
        rate = max(matmul_rate(options.matmul_size) for _ in range(3))
        shares.append(needed / step(model, batches)[1] / rate)
    return statistics.median(shares)


def compare_layouts(shape, options):
    """Seconds of a step in both layouts on every attention back end that trains on this machine."""
    words, clips = SHAPES[shape][3:]
    layouts = layouts_of(draw_examples(options.examples, options.max_length, words, clips), options.batch_size)
    layouts.pop("theirs")
    model, figures = build("ours", shape), {}
    for attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        _, seconds = alternate(dict.fromkeys(OURS, model), layouts, options.repeats)
        figures[attention] = {name: statistics.median(values) for name, values in seconds.items()}
    return figures


def resident_megabytes(field):
    """Memory of this process: now (`VmRSS`), or the most since the mark was last put down (`VmHWM`)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def step_memory(side, shape, layout, options):
    """What one step adds to the memory of a process that holds the model. Runs in a process of its own."""
    words, clips = SHAPES[shape][3:]
    examples = draw_examples(options.examples, options.max_length, words, clips)
    batches = layouts_of(examples, options.batch_size)["theirs" if side == "theirs" else layout]
    model = build(side, shape)
    gc.collect()
    before = resident_megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # puts the mark down: building a model takes more than holding it
    step(model, batches)
    peak = resident_megabytes("VmHWM")
    print(json.dumps({"step": peak - before, "process": peak}))


def memory(shape, layout, options):
    figures = {}
    for side in ("theirs", "ours"):
        command = [sys.executable, __file__, "--memory-of", side, shape, layout]
        for name in ("examples", "batch_size", "max_length"):
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures[side] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--smoke", action="store_true", help="toy sizes")
    parser.add_argument("--examples", type=int, default=64, help="examples in a step")
    parser.add_argument("--batch-size", type=int, default=32, help="examples in a forward pass, as in pretrain.py")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", nargs=3, metavar=("SIDE", "SHAPE", "LAYOUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.matmul_size = 256 if options.smoke else 2048
    lengths = (64, 128) if options.smoke else (64, 128, 256, 512)
    if options.smoke:
        options.examples, options.repeats = 8, 1
    if options.memory_of:
        return step_memory(*options.memory_of, options)

    names = {"small": "toy", "base": "toy"} if options.smoke else {"small": "small", "base": "base"}
    figures = {name: compare(shape, options.max_length, options) for name, shape in names.items()}
    figures["kitchen"] = compare(names["small"], options.max_length, options, KITCHEN_MASKING)
    figures["memory"] = memory(names["base"], figures["base"]["layout"], options)
    figures["layouts"] = {name: compare_layouts(names[name], options) for name in names}
    figures["growth"] = {str(length): compare(names["small"], length, options) for length in lengths}
    figures["loss_difference"] = max(figures[name]["loss_difference"] for name in names)
    figures["matmul_share"] = figures["base"]["matmul_share"]
    figures["memory_ratio"] = figures["memory"]["ours"]["step"] / max(1e-9, figures["memory"]["theirs"]["step"])
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def show(figures):
    print(f"{'':12}{'BERT, s':>10}{'ours, s':>10}{'ratio':>8}{'layout':>10}{'matmul':>8}{'ms/1k':>8}{'padding':>9}")
    lines = {name: figures[name] for name in ("small", "base", "kitchen")}
    lines |= {f"≤ {length} tokens": line for length, line in figures["growth"].items()}
    for name, line in lines.items():
        print(
            f"{name:12}{line['seconds']['theirs']:10.3f}{line['seconds'][line['layout']]:10.3f}{line['ratio']:8.2f}"
            f"{line['layout']:>10}{line['matmul_share']:8.0%}{line['milliseconds_per_1000_tokens']:8.1f}"
            f"{line['padding']:9.0%}"
        )
    for shape, backends in figures["layouts"].items():
        for attention, seconds in backends.items():
            print(f"{shape}, {attention}: packed {seconds['packed']:.3f} s, grouped {seconds['grouped']:.3f} s")
    for what in ("step", "process"):
        theirs, ours = (figures["memory"][side][what] for side in ("theirs", "ours"))
        print(f"memory of the {what}: BERT {theirs:.0f} MB, ours {ours:.0f} MB, ratio {ours / max(1e-9, theirs):.2f}")
    print(f"largest difference between the losses: {figures['loss_difference']:.1e}")


if __name__ == "__main__":
    main()
