"""Scripts that use a Hub in a process of their own: huggingface_hub reads the Hub's address when it is imported."""

import subprocess
import sys

import torch

WITHOUT = """
import importlib.abc, json, sys, torch

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("modeling_videobert", "processing"):
            raise ImportError("not installed here")

sys.meta_path.insert(0, Absent())
"""

# Arguments: repository, revision, file of results, and a video or visual ids.
PULL = (
    WITHOUT
    + """
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoProcessor, pipeline

repo, revision, result, video = sys.argv[1:5]
options = {"trust_remote_code": True} | ({"revision": revision} if revision != "main" else {})
config = AutoConfig.from_pretrained(repo, **options)
processor = AutoProcessor.from_pretrained(repo, **options)
cloze = AutoModelForMaskedLM.from_pretrained(repo, **options).eval()
encoder = AutoModel.from_pretrained(repo, **options).eval()
inputs = processor(text="cut the [MASK]", videos=video)
with torch.no_grad():
    found = {"logits": cloze(**inputs).logits, "hidden": encoder(**inputs).last_hidden_state}
found |= {"ids": inputs["input_ids"], "frame": processor.codebook.frame(3), "size": config.codebook_size}
fill = pipeline("fill-mask", model=repo, tokenizer=repo, top_k=2, **options)
found["filled"] = [one["token"] for one in fill("cut the [MASK] [>] <v_00003>")]
ours = pipeline("video-fill-mask", model=repo, **options)
# Of one row alone, a product may differ in its last bit from one process to the next.
found["filled about a video"] = [one["token"] for one in ours(video, text="cut the [MASK]")]
found["fingerprint"], found["row"] = processor.codebook.fingerprint, processor.tokenize(video)
torch.save(found, result)
"""
)

# Besides, what was pulled goes to another repository.
PULL_AND_PUSH = (
    PULL
    + """
cloze.push_to_hub(sys.argv[5])
processor.push_to_hub(sys.argv[5])
"""
)


def run_script(script, *arguments, env, code=0, folder=None):
    """A script in a process of its own, isolated from this checkout if it is to be; what it printed and complained."""
    isolated = ["-I"] if script.startswith(WITHOUT) else []
    done = subprocess.run(
        [sys.executable, *isolated, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"OMP_NUM_THREADS": str(torch.get_num_threads()), **env},
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout, done.stderr
