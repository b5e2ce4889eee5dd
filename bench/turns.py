#!/usr/bin/env python3
"""CPU time of a request in variants of the gateway that stand side by side and are asked in turns.

    bench/turns.py [--rounds 15] [--binary NAME=PATH]… CASE…

    bench/turns.py F.none F.noop F.headers
    bench/turns.py --binary before=/tmp/tidegate --binary now=target/release/tidegate A.h1.c64 F.noop

Cases are those of run.py that wrk asks. A round asks each variant for a second, in an order by chance; what the machine
does beside meets all of them alike, so the middle of the differences within the rounds says more than the difference of
two middles. A variant's time goes on until its next turn: what it does behind its answers is counted. Needs what run.py needs.
"""

import argparse
import os
import random
import shutil
import statistics
import sys
import time

import run as bench


def cpu_us(pid):
    """Microseconds that the threads of a process have run."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
                total += int(f.read().split()[0])
        except OSError:
            continue
    return total / 1000


class Turns:
    """Variants by their names, the first of which is what the others are compared with."""

    def __init__(self):
        self.stand, self.variants = bench.Bench(argparse.Namespace(seconds=1, warmup=1)), {}

    def add(self, name, case, binary=None, change=None, during=None):
        """`change` is given the context when its configuration is written, `during` the context and which turn it is."""
        if binary:
            os.environ["TIDEGATE_BIN"] = os.path.abspath(binary)
        peer = bench.Peer("tidegate")
        prepare = peer.module.prepare

        def prepared(ctx):
            prepare(ctx)
            if change:
                change(ctx)

        peer.module.prepare = prepared
        ctx, process, _ = self.stand.start(peer, case)
        self.variants[name] = (ctx, process, case, during)

    def run(self, rounds, seconds=1):
        """By name, microseconds of each round."""
        runs, since = {name: [] for name in self.variants}, {}

        def settle(name):
            _, process, _, _ = self.variants[name]
            now = cpu_us(process.pid)
            if name in since:
                before, requests = since[name]
                runs[name].append((now - before) / requests)
            return now

        # The first round warms up.
        for turn in range(rounds + 1):
            for name in random.sample(sorted(self.variants), len(self.variants)):
                ctx, _, case, during = self.variants[name]
                before = settle(name)
                if during:
                    during(ctx, turn)
                result = bench.wrk(ctx, case, seconds)
                if result["errors"]:
                    raise SystemExit(f"{name}: {result['errors']:.0f} requests failed")
                since[name] = before, max(result["requests"], 1)
        # What is written behind answers is, a moment later.
        time.sleep(0.5)
        for name in self.variants:
            settle(name)
        return {name: us[1:] for name, us in runs.items()}

    def close(self):
        for ctx, process, _, _ in self.variants.values():
            bench.stop(process)
            shutil.rmtree(ctx.work, ignore_errors=True)
        self.stand.close()


def compared(runs):
    """By name: the least, the middle, and how much more than the first it is, in the middle of the rounds and by the least."""
    first = next(iter(runs.values()))
    return {
        name: {
            "least": min(us), "median": statistics.median(us),
            "more": statistics.median(one - other for one, other in zip(us, first)),
            "more_of_least": min(us) - min(first),
        }
        for name, us in runs.items()
    }


def table(figures):
    print(f"{'us of CPU a request':24} {'least':>7} {'median':>7} {'more':>7} {'more, least':>12}")
    for name, of in figures.items():
        print(f"{name:24} {of['least']:7.2f} {of['median']:7.2f} {of['more']:+7.2f} {of['more_of_least']:+12.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="CASE")
    parser.add_argument("--binary", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    cases = {case["id"]: case for scenario in bench.scenarios().values() for case in scenario if case["tool"] is bench.wrk}
    unknown = [name for name in arguments.cases if name not in cases]
    if unknown:
        raise SystemExit(f"{unknown[0]}: no case that wrk asks; there are {', '.join(cases)}")
    binaries = dict(binary.split("=", 1) for binary in arguments.binary) or {"": None}
    turns = Turns()
    try:
        for name in arguments.cases:
            for label, binary in binaries.items():
                turns.add(f"{name} {label}".strip(), cases[name], binary)
        table(compared(turns.run(arguments.rounds)))
    finally:
        turns.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
