#!/usr/bin/env python3
"""Times single steps of the Wasm host and of finding a rule and a server, counts their instructions by callgrind, and compares with the bars.

    bench/micro/run.py [--binary target/release/tidegate-micro]

Without --binary it builds one. Needs Python 3.9, and `valgrind` for the instructions. Exit code 1: a bar is missed.
Times are those of the least disturbed of 60 rounds, so they may be compared with a bar on a busy machine too.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Nanoseconds for one step.
BARS = {"empty_callback": 60, "header_read": 150, "header_pairs_20": 1200, "property_read": 200}
# Of a pick among 10,000 servers, by whichever method.
PICK = 200
# Steps in one call, as the cases have them.
STEPS = 100
# Instances of their own live in a pool of more address space than valgrind has.
NOT_COUNTED = {"empty_isolated"}
FEW, MANY = 100, 600


def build():
    subprocess.run(["cargo", "build", "--release", "--package", "tidegate-micro"], cwd=ROOT, check=True)
    folder = os.environ.get("CARGO_TARGET_DIR", "target")
    return os.path.join(ROOT, folder, "release", "tidegate-micro")


def instructions(binary, case):
    """For one call: the difference of two runs, so that the start does not count."""
    counted = []
    with tempfile.TemporaryDirectory() as folder:
        for rounds in (FEW, MANY):
            command = ["valgrind", "--tool=callgrind", "--smc-check=all-non-file",
                       f"--callgrind-out-file={folder}/out", binary, case, str(rounds)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
            counted.append(int(re.search(r"Collected : (\d+)", said).group(1)))
    return (counted[1] - counted[0]) / (MANY - FEW)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary")
    arguments = parser.parse_args()
    binary = arguments.binary or build()
    has_valgrind = shutil.which("valgrind") is not None
    if not has_valgrind:
        print("valgrind is not installed: no instruction counts", file=sys.stderr)
    missed = []
    print(f"{'one step':<26}{'ns':>8}{'median':>8}{'bar':>8}{'instructions':>14}")
    for line in subprocess.run([binary], check=True, capture_output=True, text=True).stdout.splitlines():
        case, least, median = line.split()[:3]
        bar = PICK if case.startswith("pick") else BARS.get(case)
        steps = 1 if case.startswith(("empty", "route", "pick", "change")) else STEPS
        count = f"{instructions(binary, case) / steps:.0f}" if has_valgrind and case not in NOT_COUNTED else "-"
        print(f"{case:<26}{least:>8}{median:>8}{bar or '-':>8}{count:>14}")
        if bar and float(least) > bar:
            missed.append(f"{case}: {least} ns, at most {bar} allowed")
    print("\n".join(missed) or "every bar is met")
    sys.exit(1 if missed else 0)


main()
