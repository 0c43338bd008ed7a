"""Greedy decoding of ptrnet: the exported graph in onnxruntime against eager PyTorch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from measure import finish, interleaved

from automl.core.discovery import catalogue
from automl.export import graph
from automl.export.session import Session

ROUNDS = 60


def main() -> None:
    """Measure and print. Tours have as many steps as cities, so neither side stops early."""
    torch.set_num_threads(1)
    plugin, dataset = catalogue().plugin("ptrnet"), catalogue().dataset("tsp:n=5-10")
    config = plugin.defaults
    torch.manual_seed(0)
    model = plugin.build(config, dataset.info).eval()
    details: dict[str, str] = {}
    ratios: dict[tuple[int, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        graph.write(plugin.export(model, config, dataset.info), path, {})
        session = Session(path)
        for batch in (1, 32):
            for count in (10, 50):
                points = torch.rand(batch, count, 2)
                feeds = {"points": points.numpy()}

                def eager(points: torch.Tensor = points) -> None:
                    with torch.no_grad():
                        model(points)

                def exported(feeds: dict = feeds) -> None:
                    session.run(feeds)

                for _ in range(5):
                    eager(), exported()
                slow, fast = interleaved([eager, exported], ROUNDS)
                ratios[batch, count] = slow / fast
                details[f"batch {batch}, n = {count}"] = (
                    f"{slow / fast:.2f} x: eager {1e6 * slow:.0f} µs, ONNX {1e6 * fast:.0f} µs"
                )
    worst = min(ratios[1, 10], ratios[1, 50])
    details["units"] = f"{config.hidden}, one thread"
    finish("exported ptrnet over eager PyTorch, batch 1", worst, "at least 2", worst >= 2, details)


if __name__ == "__main__":
    main()
