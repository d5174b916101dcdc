"""Protects `build_corpus_datatrove.py`: what is submitted to Slurm, and that a job finds its work in what it loads."""

import json
import sys

import pytest

pytest.importorskip("datatrove")

import dill
from build_corpus_datatrove import main

STAGES = ("contents", "features", "finish")
SBATCH = """#!/bin/sh
echo "$@" >> {said}
echo "Submitted batch job $(wc -l < {said})"
"""


def test_three_jobs_one_after_the_other(tiny_text_model, tiny_backbone, tmp_path, monkeypatch):
    """The second and the third wait for the one before, also where a task of it was killed; the tasks of the first
    note what their files hold."""
    (tmp_path / "bin").mkdir()
    commands = {"sbatch": SBATCH.format(said=tmp_path / "said"), "scontrol": "#!/bin/sh\necho node\n"}
    for name, script in commands.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("SLURM_NODELIST", "node")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "videos").mkdir()
    for number in range(5):
        (tmp_path / "videos" / f"{number}.mp4").write_text(f"no video {number}")
    models = ["--text_model", tiny_text_model, "--backbone", tiny_backbone]
    words = ["--engine", "slurm", "--partition", "gpu", "--gpus_per_task", "1", "--tasks", "2"]
    words += ["--residual_codes", "4"]
    output = tmp_path / "corpus"
    monkeypatch.setattr(
        sys, "argv", ["x", *words, "--videos", str(tmp_path / "videos"), "--output", str(output), *models]
    )
    main()
    jobs = [line for line in (tmp_path / "said").read_text().splitlines() if "RUN_OFFSET" in line]
    waits = [[word for word in job.split() if "dependency" in word] for job in jobs]
    # Each is followed by one that adds up its statistics: 2 and 4.
    assert waits == [[], ["--dependency=afterany:1"], ["--dependency=afterany:3"]]
    scripts = {stage: (output / "datatrove" / stage / "launch_script.slurm").read_text() for stage in STAGES}
    assert ["--array=0-1" in script for script in scripts.values()] == [True, True, False]
    assert "--array=0-0" in scripts["finish"]
    assert ["gpus" in script for script in scripts.values()] == [False, True, True]
    (last,) = dill.loads((output / "datatrove" / "finish" / "executor.pik").read_bytes()).pipeline
    assert last.fitting["residual_codes"] == 4 and last.fitting["levels_as_tokens"] is False
    executor = dill.loads((output / "datatrove" / "contents" / "executor.pik").read_bytes())
    for task, names in enumerate((["0", "2", "4"], ["0", "1", "2", "3", "4"])):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        executor.run()
        assert sorted(json.loads((output / "features" / "videos.json").read_text())) == names
