"""Verify and measure exported models on this machine's GPU: python verify.py [--json].

Needs numpy and onnxruntime-gpu only. Each model runs with each provider in a process of its own,
so that a crash is a result. Answers are compared with PyTorch's in reference.npz.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
TIMEOUT_SECONDS = 600
WARM_UP, REPEATS = 10, 200


def main() -> int:
    """Try every model with every provider asked for; exit code 1 unless all that ran agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", action="append", choices=list(PROVIDERS))
    parser.add_argument("--file", action="append", help="models; default: all of reference.json")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder = Path(__file__).parent
    rules = json.loads((folder / "reference.json").read_text())
    files = asked.file or list(rules)
    providers = asked.provider or ["tensorrt", "cuda"]
    if asked.child:
        print(json.dumps(examine(folder, files[0], providers[0], rules[files[0]])))
        return 0
    found = [attempt(folder, file, provider) for file in files for provider in providers]
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        for one in found:
            print(sentence(one))
    ran = [one["status"] for one in found if one["status"] != "skipped"]
    return 0 if ran and all(status == "ok" for status in ran) else 1


def attempt(folder: Path, file: str, provider: str) -> dict[str, Any]:
    """One model with one provider in a child process."""
    about = {"file": file, "provider": provider}
    command = [sys.executable, str(folder / "verify.py"), "--child"]
    command += ["--file", file, "--provider", provider]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {**about, "status": "timeout", "message": f"longer than {TIMEOUT_SECONDS} seconds"}
    if done.returncode < 0:
        return {**about, "status": "crash", "message": f"signal {-done.returncode}"}
    if done.returncode > 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {**about, "status": "load_fail", "message": last}
    return {**about, **json.loads(done.stdout.splitlines()[-1])}


def examine(folder: Path, file: str, provider: str, rule: dict[str, Any]) -> dict[str, Any]:
    """Load, compare and measure; in the child."""
    import numpy
    import onnxruntime

    name = PROVIDERS[provider]
    if name not in onnxruntime.get_available_providers():
        return {"status": "skipped", "message": f"this onnxruntime has no {name}"}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(folder / file), options, providers=[name])
    # The list of providers that a build offers says nothing of the machine: ask the session.
    if session.get_providers()[0] != name:
        return {"status": "skipped", "message": f"{name} found no device or lacks its libraries"}
    with numpy.load(folder / "reference.npz") as stored:
        reference = dict(stored)
    result = compared(session, reference, rule)
    cases = sorted({key.split("/")[0] for key in reference}, key=int)
    feeds = inputs_of(reference, cases[0])
    result |= {"latency": measured(session, feeds), "nodes": placed(folder / file, name, feeds)}
    result["device"] = device(name)
    result["version"] = onnxruntime.__version__
    return result


def inputs_of(reference: dict[str, Any], case: str) -> dict[str, Any]:
    """The inputs of one case by name."""
    start = f"{case}/in/"
    return {key[len(start) :]: value for key, value in reference.items() if key.startswith(start)}


def compared(session: Any, reference: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    """Largest difference and share of equal decisions over all cases."""
    import numpy

    names = [output.name for output in session.get_outputs()]
    largest, equal, decisions, close = 0.0, 0, 0, True
    for case in sorted({key.split("/")[0] for key in reference}, key=int):
        answers = session.run(names, inputs_of(reference, case))
        for name, found in zip(names, answers, strict=True):
            wanted = reference[f"{case}/out/{name}"]
            if name in rule["discrete"] or wanted.dtype.kind != "f":
                equal, decisions = equal + int((wanted == found).sum()), decisions + wanted.size
                continue
            good = numpy.isfinite(wanted) & numpy.isfinite(found)
            gap = numpy.abs(wanted[good].astype("f8") - found[good].astype("f8"))
            largest = max(largest, float(gap.max(initial=0)))
            close &= numpy.allclose(
                found, wanted, rtol=rule["relative"], atol=rule["absolute"], equal_nan=True
            )
            if name in ("logits", "scores") and wanted.shape[-1] > 1:
                same = wanted.argmax(-1) == found.argmax(-1)
                equal, decisions = equal + int(same.sum()), decisions + same.size
    agreement = equal / decisions if decisions else 1.0
    good = close and agreement >= rule["agreement"]
    return {
        "status": "ok" if good else "parity_fail",
        "message": "" if good else f"largest difference {largest:.2g}, {agreement:.1%} equal",
        "max_abs": largest,
        "agreement": agreement,
    }


def measured(session: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    """Latency in microseconds; ``run`` copies the answer back, so that the work is done."""
    times = []
    for turn in range(WARM_UP + REPEATS):
        started = time.perf_counter_ns()
        session.run(None, feeds)
        if turn >= WARM_UP:
            times.append((time.perf_counter_ns() - started) / 1000)
    ordered = sorted(times)
    return {
        "min_us": ordered[0],
        "p50_us": statistics.median(ordered),
        "p95_us": ordered[int(0.95 * len(ordered))],
        "mean_us": statistics.fmean(ordered),
        "repeats": len(ordered),
        "batch": int(next(iter(feeds.values())).shape[0]),
        "sizes": {name: list(value.shape) for name, value in feeds.items()},
    }


def placed(path: Path, provider: str, feeds: dict[str, Any]) -> dict[str, Any]:
    """How many nodes each provider ran: those that it cannot run fall back to another."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = [event["args"].get("provider") for event in events if event.get("cat") == "Node"]
    return dict(Counter(name for name in ran if name))


def device(provider: str) -> str:
    """What the work ran on."""
    if provider == PROVIDERS["cpu"]:
        return "CPU"
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "NVIDIA GPU"
    return done.stdout.strip().splitlines()[0]


def sentence(one: dict[str, Any]) -> str:
    """One result for people."""
    text = f"{one['file']} with {one['provider']}: {one['status']} {one['message']}".rstrip()
    if "latency" in one:
        text += (
            f", largest difference {one['max_abs']:.2g}, median "
            f"{one['latency']['p50_us']:.0f} us for {one['latency']['batch']} on "
            f"{one['device']}; nodes {one['nodes']}"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
