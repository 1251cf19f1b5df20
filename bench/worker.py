"""A process of its own for each peer: two pools of threads in one process would stall each other.

`python -m bench.worker PEER THREADS` answers requests, a JSON object a line: {"do": "time", "layer": "64 32 16 64 3 1 1", "pass": "forward"}.
Those of `net_peers` take the name of a net for the layer, and "step" or "losses" for the pass; those of `pass_peers` the name of a task,
those of `inference_peers` a net and "infer".
    time     seconds and flops of one call
    result   writes the arrays of one call to "file"
    memory   bytes that the first calls take beyond their operands and results, at their peak; null where the system does not tell
    first    seconds of the very first call, compilation included
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from bench.peers import PEERS, Ours, Peer
from bench.timing import seconds_a_call

ROOT = Path(__file__).parent.parent
WARM = 2  # calls before the first that is timed: bind passes, note them, choose algorithms
PAUSE = 0.01  # seconds; the threads of the process before spin for a while after their last call
BRIEF = {"OPENBLAS_THREAD_TIMEOUT": "20"}  # 2**20 cycles: NumPy's threads would spin for 100 ms


class Worker:
    """The parent's end."""

    def __init__(self, peer: str, threads: int, **environment: str):
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        self.peer = peer
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", peer, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | counts | BRIEF | environment,
        )  # fmt: skip
        self.version = self._answer()["version"]

    def ask(self, do: str, layer: str, name: str, **words) -> dict:
        self.process.stdin.write(json.dumps({"do": do, "layer": layer, "pass": name, **words}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def rate(self, layer: str, name: str) -> float:
        """GFLOP/s"""
        answer = self.ask("time", layer, name)
        return answer["flops"] / answer["seconds"] / 1e9

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"bench: the process of {self.peer} ended with {self.process.wait()}; its last words stand above")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def peer_class(name: str) -> type[Peer]:
    if name == "peak":
        from bench.peak import Peak

        return Peak
    if name.endswith("-net"):
        from bench.net_peers import NET_PEERS

        return NET_PEERS[name]
    if name.endswith("-infer"):
        from bench.inference_peers import INFERENCE_PEERS

        return INFERENCE_PEERS[name]
    if name.endswith("-pass"):
        from bench.pass_peers import PASS_PEERS

        return PASS_PEERS[name]
    return Ours if name == "ours" else PEERS[name]


def extra_memory(peer: Peer, line: str, name: str) -> int | None:
    """The peak of resident memory during the first calls, less what was there before and less the results.

    One image before them loads code and wakes threads. Linux only: elsewhere a process cannot reset its own peak.
    """
    layer = peer.parse(line)
    calls = peer.calls(layer)
    peer.calls(layer.with_images(1))[name]()
    peer.forget()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = _resident("VmRSS")
    for _ in range(1 + WARM):
        result = calls[name]()
    return max(0, _resident("VmHWM") - before - sum(array.nbytes for array in peer.arrays(result)))


def _resident(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(entry))


def serve(peer: Peer, answer: Callable[[dict], None]) -> None:
    calls = lru_cache(maxsize=1)(lambda line: peer.calls(peer.parse(line)))
    warm = None  # what was timed last
    for request in map(json.loads, sys.stdin):
        line, name = request["layer"], request["pass"]
        match request["do"]:
            case "time":
                call = calls(line)[name]
                if warm != (warm := (line, name)):
                    for _ in range(WARM):
                        call()
                time.sleep(PAUSE)
                answer({"seconds": seconds_a_call(call), "flops": peer.flops(peer.parse(line))})
            case "result":
                np.savez(request["file"], *peer.arrays(calls(line)[name]()))
                answer({})
            case "memory":
                answer({"bytes": extra_memory(peer, line, name)})
            case "first":
                call = calls(line)[name]
                start = time.perf_counter()
                call()
                answer({"seconds": time.perf_counter() - start})


def main(name: str, threads: int) -> None:
    def answer(content: dict) -> None:
        print(json.dumps(content), flush=True)

    peer = peer_class(name)(threads)
    answer({"version": peer.version})
    serve(peer, answer)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except (KeyboardInterrupt, BrokenPipeError):  # the parent says it
        sys.exit(130)
