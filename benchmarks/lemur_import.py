"""Import LEMUR's published records, against LEMUR building its own database from the same files.

Checks what was imported too: the counts and the best scores that an independent script found in
the same wheel. LEMUR's code needs torch and tqdm, which are installed here.
"""

from __future__ import annotations

from measure import finish
from published import OURS, THEIRS, build_theirs, import_ours, unpack, wheel, workplace

from automl.dataset_db import origins
from automl.dataset_db.frames import models

COUNTS = {
    **{"files": 99_771, "records": 543_496, "networks": 10_459, "device_runs": 2_476},
    "folders": 19_072,
}
BEST = {  # dataset, metric: score, network, epoch
    ("cifar-10", "accuracy"): (0.939, "MoEv7", 49),
    ("cifar-100", "accuracy"): (0.7286, "EfficientNet", 45),
    ("mnist", "accuracy"): (0.9976, "GoogLeNet", 26),
    ("svhn", "accuracy"): (0.965119852, "GoogLeNet", 38),
    ("imagenette", "accuracy"): (0.891210191, "GoogLeNet", 48),
    ("celeba-gender", "accuracy"): (0.984670875, "InceptionV3-1", 37),
    ("places365", "accuracy"): (0.465808219, "EfficientNet", 5),
    ("coco", "iou"): (0.653248191, "FCN32s-2", 30),
    ("coco", "bleu"): (0.325648975, "RESNETLSTM", 41),
    ("coco", "lemur_map"): (0.977946281, "SSDLite", 46),
    ("coco", "clip"): (0.275126705, "ConditionalVAE4", 1),
}


def imported_well(db: str) -> bool:
    """Whether the database holds what the files hold."""
    counts = origins.sources(db)[0]["counts"]
    good = all(counts[name] == value for name, value in COUNTS.items())
    for (dataset, metric), (score, network, epoch) in BEST.items():
        first = models(db, dataset=dataset, where={"metric": metric}, limit=1).iloc[0]
        good &= abs(first["objective"] - score) < 1e-6
        good &= (first["plugin"], first["step"]) == (network, epoch)
    return bool(good)


def main() -> None:
    """Measure and print."""
    with workplace() as folder:
        source = wheel(folder)
        package = unpack(source, folder / "package")
        (folder / OURS).unlink(missing_ok=True)
        ours, again = import_ours(source, folder), import_ours(source, folder)
        theirs = build_theirs(package, folder)
        sizes = [(folder / name).stat().st_size / 1e6 for name in (OURS, THEIRS)]
        good = imported_well(str(folder / OURS))
    ratio = theirs[1] / ours[1]
    finish(
        "import of LEMUR 2.1.0, LEMUR's own time over ours (wall-clock)", ratio, "at least 5",
        ratio >= 5 and good,
        {
            "ours": f"{ours[1]:.1f} s, {ours[0]:.1f} s CPU, {sizes[0]:.0f} MB, fingerprints of "
            "all code included",
            "a second import": f"{again[1]:.1f} s, {again[0]:.1f} s CPU, nothing changes",
            "LEMUR": f"{theirs[1]:.1f} s, {theirs[0]:.1f} s CPU, {sizes[1]:.0f} MB",
            "ratio of CPU": f"{theirs[0] / ours[0]:.2f}",
            "counts and best scores are those of the files": good,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
