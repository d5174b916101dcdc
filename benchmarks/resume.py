"""Is a run that was killed and resumed the run that was never interrupted? And does it wait for its batches?

    python benchmarks/resume.py                        # all cases and the waiting at the base shape, about ten minutes
    python benchmarks/resume.py --json results.json    # the figures in a file too
    python benchmarks/resume.py --smoke                # fewer steps and a toy shape: shows that it runs

Each case trains a small model on made rows with `examples/pretrain.py`, kills the whole process group with SIGKILL
once a certain checkpoint is written, resumes from the latest, and compares losses and weights with those of a run
that nobody killed. `bit_identical` is 1 where all are equal to the last bit. Cases: 1 and 2 processes, 0 and 2
workers, and 2 micro-batches a step, so that the kill falls into a window. `two_processes_difference`: the largest
difference, relative to the loss, between 1 process and 2 with half of the batch each, without dropout.

`loader_wait_share`: the share of its steps' time that a run at the base shape (12 × 768) waits for batches.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from safetensors.torch import load_file
from support.tiny_run import save_source

ROOT = Path(__file__).resolve().parents[1]
# processes, workers, micro-batches a step
CASES = [(1, 0, 1), (1, 2, 1), (2, 0, 1), (2, 2, 1), (1, 0, 2), (2, 2, 2)]
BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 128,
}


def command(processes, source, folder, *options):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    script = str(ROOT / "examples" / "pretrain.py")
    return [sys.executable, *(launch if processes > 1 else []), script, *source, f"--output_dir={folder}", *options]


def environment():
    """On the CPU, where `accelerate launch --num_processes 2` would run one process."""
    paths = [str(ROOT), str(ROOT / "examples")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def train(processes, source, folder, *options):
    done = subprocess.run(
        command(processes, source, folder, *options), env=environment(), capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"The run in {folder} failed:\n{done.stderr[-4000:]}")


def train_and_kill(processes, source, folder, step, *options):
    """Kill a run, its launcher and workers once it has written the checkpoint of this step."""
    log = open(folder.with_suffix(".log"), "w")
    running = subprocess.Popen(
        command(processes, source, folder, *options), env=environment(), stdout=log, stderr=log, start_new_session=True
    )
    while not (folder / "checkpoints" / f"step_{step}").is_dir():
        if running.poll() is not None:
            raise RuntimeError(f"The run in {folder} ended before step {step}: see {log.name}")
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    log.close()


def last_state(folder, steps):
    """Weights and progress at the end."""
    last = folder / "checkpoints" / f"step_{steps}"
    progress = json.loads((last / "progress.json").read_text())["progress"]
    return load_file(last / "model.safetensors"), progress


def same(first, second):
    weights = first[0].keys() == second[0].keys() and all(first[0][name].equal(second[0][name]) for name in first[0])
    return int(weights and first[1] == second[1])


def check_case(case, source, folder, steps):
    processes, workers, micro_batches = case
    options = [f"--num_workers={workers}", f"--gradient_accumulation_steps={micro_batches}", "--batch_size=4"]
    options += [f"--max_steps={steps}", "--logging_steps=2", f"--eval_steps={steps // 2}"]
    options += ["--checkpointing_steps=1", f"--checkpoints_kept={steps}"]
    whole, killed = folder / "whole", folder / "killed"
    train(processes, source, whole, *options)
    train_and_kill(processes, source, killed, 3, *options)
    resumed_from = max(int(path.name.split("_")[1]) for path in (killed / "checkpoints").glob("step_*"))
    train(processes, source, killed, *options, "--resume_from_checkpoint=latest")
    return {"bit_identical": same(last_state(whole, steps), last_state(killed, steps)), "resumed_from": resumed_from}


def compare_processes(folder, steps):
    """One process with the whole batch against two with half of it."""
    source = save_source(folder / "source", videos=24, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    options = [f"--max_steps={steps}", f"--checkpointing_steps={steps}", "--logging_steps=1"]
    states = []
    for processes, batch_size in ((1, 8), (2, 4)):
        train(processes, source, folder / str(processes), *options, f"--batch_size={batch_size}")
        states.append(last_state(folder / str(processes), steps)[1])
    pairs = list(zip(states[0]["history"], states[1]["history"], strict=True))
    pairs += zip(states[0]["held_out"], states[1]["held_out"], strict=True)
    relative = [
        abs(first[name] - second[name]) / max(1e-9, abs(first[name]))
        for first, second in pairs
        for name in first
        if name.endswith("loss")
    ]
    return max(relative)


def measure_waiting(folder, steps, shape):
    """What a run at this shape waits for its batches, on all cores."""
    source = save_source(folder / "source", videos=120 if shape else 24, **shape)
    options = [
        f"--max_steps={steps}",
        "--batch_size=32",
        f"--eval_steps={steps}",
        f"--checkpointing_steps={steps + 1}",
    ]
    train(1, source, folder / "run", *options)
    return json.loads((folder / "run" / "all_results.json").read_text())["loader_wait_share"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--smoke", action="store_true", help="fewer cases and a toy shape")
    options = parser.parse_args()
    steps, cases = (8, CASES[-1:]) if options.smoke else (20, CASES)
    folder = Path(tempfile.mkdtemp(prefix="resume_"))
    figures = {"cases": {}}
    try:
        source = save_source(folder, videos=24)
        for case in cases:
            name = "{} processes, {} workers, {} micro-batches".format(*case)
            place = folder / name.replace(", ", "_").replace(" ", "_")
            place.mkdir()
            figures["cases"][name] = check_case(case, source, place, steps)
            print(f"{name}: {figures['cases'][name]}", flush=True)
        figures["bit_identical"] = min(one["bit_identical"] for one in figures["cases"].values())
        figures["two_processes_difference"] = compare_processes(folder / "processes", steps)
        shape = {} if options.smoke else BASE
        figures["loader_wait_share"] = measure_waiting(folder / "waiting", 4 if options.smoke else 12, shape)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"bit-identical: {figures['bit_identical']}")
    print(f"1 and 2 processes differ by {figures['two_processes_difference']:.1e} of the loss")
    print(f"waiting for batches: {figures['loader_wait_share']:.1%} of a step")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
