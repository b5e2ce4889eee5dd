#!/usr/bin/env python3
"""Counts the instructions that one request costs, by callgrind: repeatable where times are not.

    bench/instructions.py [--binary target/release/tidegate] [--filters FOLDER] [--shipped [--modules FOLDER]]
                          [--only TEXT] [--out result.json]

Each case runs twice with different numbers of requests; the difference is what requests cost, without the start.
Needs Linux, Python 3.9 and `valgrind`. FOLDER has noop.wasm and headers.wasm (bench/filters/build.sh prints it);
without it only the cases without a filter run. --shipped: the filters that come with the gateway as well (shipped.py).
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import shipped

FEW, MANY = 500, 2500
BODY = b"x" * 128
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 128\r\n\r\n" + BODY
KEPT = ANSWER.replace(b"\r\ncontent-length", b"\r\ncache-control: max-age=3600\r\ncontent-length")


def upstream():
    """A server that answers every request head with the same 128 bytes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve(connection):
        pending = b""
        while True:
            part = connection.recv(65536)
            if not part:
                return
            pending += part
            while b"\r\n\r\n" in pending:
                head, pending = pending.split(b"\r\n\r\n", 1)
                connection.sendall(KEPT if b" /keep " in head else ANSWER)

    def accept():
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def configuration(port, upstream_port, filters, routes, isolation="worker"):
    """`filters` are paths of modules, or plugins as they are written in a configuration."""
    plugins = [f if isinstance(f, dict) else {"module": f} for f in filters]
    chain = [{"plugin": f"f{i}"} for i in range(len(plugins))]
    paths = ["/"] if routes == 1 else [f"/svc/tenant{i:05d}" for i in range(routes - 1)] + ["/last"]
    return {
        "workers": 1,
        "listeners": [{"name": "plain", "address": f"127.0.0.1:{port}", "protocol": "http"}],
        "plugins": {f"f{i}": {**plugin, "isolation": isolation} for i, plugin in enumerate(plugins)},
        "routes": [{"name": "all", "rules": [
            {"matches": [{"path": {"prefix": path}}], "filters": chain, "forward": [{"upstream": "u"}]} for path in paths]}],
        "upstreams": {"u": {"servers": [f"127.0.0.1:{upstream_port}"]}},
    }


def connect(port, deadline=600):
    end = time.monotonic() + deadline
    while True:
        try:
            s = socket.create_connection(("127.0.0.1", port), timeout=30)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return s
        except OSError:
            if time.monotonic() > end:
                raise SystemExit("the gateway did not start under valgrind")
            time.sleep(0.1)


def ask(connection, path, n, headers):
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {path} HTTP/1.1\r\nhost: bench.test\r\nuser-agent: bench\r\n{fields}\r\n".encode()
    for _ in range(n):
        connection.sendall(request)
        got = b""
        while not got.endswith(BODY):
            part = connection.recv(65536)
            if not part:
                raise SystemExit("the gateway closed the connection: " + repr(got[:200]))
            got += part
        if not got.startswith(b"HTTP/1.1 200"):
            raise SystemExit("not the answer that was wanted: " + repr(got[:200]))


def count(binary, document, path, n, headers):
    work = tempfile.mkdtemp(prefix="instructions")
    try:
        config, out = os.path.join(work, "tidegate.yaml"), os.path.join(work, "callgrind.out")
        with open(config, "w") as f:
            json.dump(document, f)
        environment = dict(os.environ, TIDEGATE_CACHE=os.path.join(tempfile.gettempdir(), "instructions-cache"))
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", binary, "run", config],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        port = int(document["listeners"][0]["address"].rsplit(":", 1)[1])
        with connect(port) as connection:
            ask(connection, path, n, headers)
        process.terminate()
        process.wait(timeout=120)
        with open(out) as f:
            return int(re.search(r"^(?:summary|totals):\s*(\d+)", f.read(), re.M).group(1))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def plugin(builtin, folder):
    """A shipped filter, whose module may be another than the one in the binary."""
    name = builtin["module"].removeprefix("builtin:").replace("-", "_")
    return {**builtin, "module": os.path.abspath(os.path.join(folder, name + ".wasm"))} if folder else builtin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/tidegate")
    parser.add_argument("--filters", help="folder of noop.wasm and headers.wasm")
    parser.add_argument("--shipped", action="store_true", help="the filters that come with the gateway as well")
    parser.add_argument("--modules", help="folder whose modules take the place of those in the binary, with --shipped")
    parser.add_argument("--only", help="only cases whose name contains this")
    parser.add_argument("--out", help="write the counts as JSON here")
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed")
    wasm = lambda name: os.path.abspath(os.path.join(arguments.filters, name + ".wasm"))
    cases = {"exchange": ([], 1, "/"), "exchange, 10,000 routes": ([], 10_000, "/last")}
    if arguments.filters:
        cases |= {name: ([wasm(name)], 1, "/") for name in ("noop", "headers")}
        cases |= {f"noop, {isolation}": ([wasm("noop")], 1, "/", isolation) for isolation in ("connection", "request")}
    if arguments.shipped:
        cases |= {name: ([plugin(shipped.TIDEGATE[name](), arguments.modules)], 1, shipped.PATHS.get(name, "/"))
                  for name in sorted(shipped.TIDEGATE)}
    cases = {name: case for name, case in cases.items() if (arguments.only or "") in name}
    server, results = upstream(), {}
    for name, (filters, routes, path, *isolation) in cases.items():
        headers = shipped.HEADERS[name]() if name in shipped.HEADERS else {}
        document = configuration(free_port(), server, filters, routes, *isolation)
        if filters:
            # From here on the compiled modules are in the cache of this run.
            count(arguments.binary, document, path, 1, headers)
        few, many = (count(arguments.binary, document, path, n, headers) for n in (FEW, MANY))
        results[name] = round((many - few) / (MANY - FEW))
        print(f"{name:26} {results[name]:8,} instructions a request", flush=True)
    if arguments.out:
        with open(arguments.out, "w") as f:
            json.dump(results, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
