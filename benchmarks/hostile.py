"""What becomes of hostile files: videos, subtitles, features and stills as an attacker makes them.

    python benchmarks/hostile.py                       # all of them, and a table
    python benchmarks/hostile.py --json results.json   # the counts in a file too
    python benchmarks/hostile.py --kinds lists links   # some kinds
    python benchmarks/hostile.py --errors              # and what the row of each file says

The files are made on the spot (`tests/support/hostile_files`) and built into a corpus as any others, in a process of
its own with a deadline and a limit of memory; the networks are made up, the decoders real. A file ends as

- `row`: it could be read, in whole or in part, without an error,
- `error`: a row that says what is wrong,
- `refused`: not opened at all, for a reason in the log (hidden, links out of the folder and to nowhere),
- `held`, `hung`, `crashed`: a row that says how its process was ended,
- `unforeseen`: a row with an exception that nobody has foreseen,
- `lost` or `secret`: nothing tells of it, or its row holds what lies elsewhere. There must be none.

`visits` counts connections to a listener on this machine, where all addresses lead, `connects` those that any process
of the build tried by strace, where that is installed, and `opened` what was opened of a folder outside.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from support.hostile_files import KINDS
from support.hostile_files.world import World

ENDS = ("row", "error", "refused", "held", "hung", "crashed", "unforeseen", "lost", "secret")
ALL = [*KINDS, "features", "stills"]
TRACED = "VIDEOBERT_TRACED"
INTERNET = re.compile(r"connect\(\d+, \{sa_family=AF_INET")


def run(folder: Path, kinds: list[str]) -> tuple[list, dict]:
    """What became of each file, and who was visited."""
    from support.hostile_files.run import run_features, run_stills, run_videos  # once, when the script is traced

    world, outcomes, opened = World(folder / "world"), [], []
    if videos := [kind for kind in kinds if kind in KINDS]:
        outcomes += run_videos(world, folder / "videos", videos)
        opened += world.opened
    for kind, run_others in {"features": run_features, "stills": run_stills}.items():
        if kind in kinds:
            outcomes += run_others(world, folder / kind)
            opened += world.opened
    world.close()
    return outcomes, {"visits": world.listener.visits, "opened": len(opened), "connects": count_connects()}


def count_connects() -> int | None:
    """How many connections to the internet strace has seen; `None` without it."""
    if TRACED not in os.environ:
        return None
    return len(INTERNET.findall(Path(os.environ[TRACED]).read_text(errors="replace")))


def begin_traced() -> None:
    """Starts this script anew under strace, if it is there."""
    if TRACED in os.environ or not (strace := shutil.which("strace")):
        return
    number, log = tempfile.mkstemp(prefix="connects")
    os.close(number)
    options = ["-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "-e", "signal=none", "-o", log]
    os.execve(strace, [strace, *options, sys.executable, *sys.argv], {**os.environ, TRACED: log})


def print_table(counts: dict[str, Counter]) -> None:
    print("".join(f"{name:>12}" for name in ("kind", *ENDS)))
    for kind, ends in counts.items():
        print(f"{kind:>12}" + "".join(f"{ends[end] or '·':>12}" for end in ENDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=ALL, default=ALL, help="of files; default: all")
    parser.add_argument("--errors", action="store_true", help="print what each row says")
    parser.add_argument("--json", type=Path, help="file for the counts")
    options = parser.parse_args()
    begin_traced()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, visits = run(Path(folder), options.kinds)
    if options.errors:
        for outcome in outcomes:
            print(f"{outcome.end:>8} {outcome.name!r}: {outcome.told}")
    counts = {}
    for outcome in outcomes:
        counts.setdefault(outcome.kind, Counter())[outcome.end] += 1
    print_table(counts)
    total = sum(counts.values(), Counter())
    results = {"files": len(outcomes), **{end: total[end] for end in ENDS}, **visits}
    print(json.dumps(results))
    if options.json:
        told = {**results, "kinds": {kind: dict(ends) for kind, ends in counts.items()}}
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    bad = total["lost"] + total["secret"] + visits["visits"] + visits["opened"] + (visits["connects"] or 0)
    sys.exit(f"{bad} files were lost, or led elsewhere." if bad else 0)


if __name__ == "__main__":
    main()
