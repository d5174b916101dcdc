"""
What importing either package costs, beside transformers with the classes that it builds on.

    python tests/packaging/import_cost.py               # 3 imports of each, in turn, each in a process of its own
    python tests/packaging/import_cost.py --repeats 9

The price of a kind is the least processor time of its imports, on which other work on the machine tells least. Ends
with 1 if a package costs more than 1.5 × its peer.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1.5
FROM_TRANSFORMERS = re.compile(r"^from (transformers[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)
FILES_READ = """
import sys
import {package}
print(*(module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "{package}"), sep="\\n")
"""
MEASURE = """
import os
{statements}
spent = os.times()
print(spent.user + spent.system)
"""


def peers(package: str) -> str:
    """Import statements of all that the files which a package's import reads take from transformers."""
    texts = [path.read_text("utf-8") for path in map(Path, print_of(FILES_READ.format(package=package)).splitlines())]
    found = {match[0] for text in texts for match in FROM_TRANSFORMERS.finditer(text)}
    return "\n".join(["import transformers", *sorted(found)])


def print_of(code: str) -> str:
    """What a fresh process prints that runs this code and nothing else."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=environment).stdout


def cost(statements: str) -> float:
    """Processor seconds of a process that runs these import statements and nothing else."""
    return float(print_of(MEASURE.format(statements=statements)).splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="imports of each kind (default 3)")
    repeats = parser.parse_args().repeats
    too_dear = False
    for package in ("modeling_videobert", "processing"):
        kinds = {"own": f"import {package}", "peer": peers(package)}
        cheapest = {kind: float("inf") for kind in kinds}
        for _ in range(repeats):
            for kind, statements in kinds.items():
                cheapest[kind] = min(cheapest[kind], cost(statements))
        ratio = cheapest["own"] / cheapest["peer"]
        too_dear |= ratio > LIMIT
        print(
            f"import {package}: {cheapest['own']:.2f} s, the same classes of transformers {cheapest['peer']:.2f} s: "
            f"{ratio:.2f} × (at most {LIMIT} ×)",
            flush=True,
        )
    return int(too_dear)


if __name__ == "__main__":
    sys.exit(main())
