"""How much privacy each way of hiding faces gives, and what it costs: the figures of docs/verification.md.

Needs the real data of UNFACE_TEST_DATA and the extra `verify`. Writes numbers only; no picture leaves the memory.

    python benchmarks/privacy.py attacks --faces 96    # recognition, trained networks, deblurring
    python benchmarks/privacy.py redetection           # by two detectors, on WIDER FACE and the demo photos
    python benchmarks/privacy.py deconvolution         # a Gaussian blur without quantisation, and safe
    python benchmarks/privacy.py utility               # MobileNet-V2 on 230 ImageNet images
    python benchmarks/privacy.py leaks                 # capture and recapture against the truth of WIDER FACE
"""

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from unface.detect import make_detector
from unface.faces import Faces
from unface.images import decode
from unface.obfuscate.methods import Obfuscation, obfuscate
from unface.report.leaks import estimated_leaks, rate_of, true_leaks
from unface.verify.attacks import battery, deconvolution, identity, operators, subjects

TREATMENTS = {
    "none": Obfuscation("none"),
    "blur imagenet": Obfuscation("blur", "imagenet"),
    "blur safe": Obfuscation(),
    "mosaic 8": Obfuscation("mosaic"),
    "mosaic 16": Obfuscation("mosaic", cells=16),
    "overlay": Obfuscation("overlay"),
}
PHOTOS = {"demo photos": "demo_faces", "WIDER FACE val": "face/WIDER_val"}
DATA = Path(os.environ.get("UNFACE_TEST_DATA", "data"))


def photos(*folders: str) -> Iterator[tuple[Path, np.ndarray]]:
    """The photos of some folders, upright RGB."""
    for folder in folders:
        for path in sorted(
            path for path in (DATA / folder).rglob("*") if path.suffix.lower() in (".jpg", ".png", ".jpeg")
        ):
            yield path, decode(path.read_bytes()).rgb()


def detected(image: np.ndarray, name: str = "cascade") -> Faces:
    """What a detector takes for faces."""
    detector = make_detector(name)
    found = detector.detect(image)
    return found[found.scores >= detector.threshold]


def attacks(faces: int) -> None:
    """All attacks on faces of the demo photos, and on faces of WIDER FACE's validation photos; one JSON line each."""
    embedder = identity.make_embedder(identity.DLIB)
    for data, folder in PHOTOS.items():
        collection = subjects.Collection(
            TREATMENTS, Obfuscation(), identity.find_landmarks(), faces, np.random.default_rng(0)
        )
        for _, image in photos(folder):
            found = detected(image)
            if len(found):
                collection.add(image, None, found.boxes_xyxy)
            if collection.is_full:
                break
        gathered = collection.subjects()
        print(f"# {data}: {len(gathered)} faces, {gathered.passed_over} passed over", file=sys.stderr)
        for row in battery.attack(gathered, embedder, 0, lambda line: print("#", line, file=sys.stderr, flush=True)):
            print(json.dumps({"data": data, **row.record()}), flush=True)


def redetection(most_photos: int | None) -> None:
    """Share of hidden faces that detectors still take for faces."""
    writer = csv.writer(sys.stdout)
    writer.writerow(["data", "treatment", "detector", "score from", "seen", "faces", "share", "low", "high"])
    for data, folder in PHOTOS.items():
        images = [(image, detected(image)) for _, image in islice(photos(folder), most_photos)]
        for name, treatment in TREATMENTS.items():
            for detector in (make_detector("cascade"), make_detector("yunet")):
                best = [_best_scores(image, faces, treatment, detector) for image, faces in images if len(faces)]
                for score in (0.1, detector.threshold):
                    hits = np.array([(scores >= score).sum() for scores in best], np.int64)
                    numbers = np.array([len(scores) for scores in best], np.int64)
                    rate = rate_of(hits, numbers, np.random.default_rng(0))
                    assert rate is not None
                    writer.writerow(
                        [
                            data,
                            name,
                            detector.name,
                            score,
                            rate.hits,
                            rate.number,
                            *(round(each, 4) for each in (rate.share, rate.low, rate.high)),
                        ]
                    )
                    sys.stdout.flush()


def _best_scores(image: np.ndarray, faces: Faces, treatment: Obfuscation, detector) -> np.ndarray:
    from unface.boxes import iou

    seen = detector.detect(obfuscate(image, faces.boxes_xyxy, treatment).pixels)
    same = iou(faces.boxes_xyxy, seen.boxes_xyxy) >= 0.3
    return np.array([seen.scores[row].max(initial=0) for row in same])


def deconvolve() -> None:
    """What a Wiener filter and gradient descent recover from a Gaussian in floating point, at 8 bits, and from safe."""
    import torch

    collection = subjects.Collection(
        {"blur safe": Obfuscation()}, Obfuscation(), identity.find_landmarks(), 24, np.random.default_rng(0)
    )
    for _, image in photos("demo_faces", "face/WIDER_val"):
        if collection.is_full:
            break
        found = detected(image)
        if len(found):
            collection.add(image, None, found.boxes_xyxy)
    gathered = collection.subjects()
    mask, originals = operators.box_mask(), gathered.originals
    sigma = 0.1 * subjects.BOX_PX
    matrices = operators.gaussian_matrices(np.full(len(gathered), sigma))
    blurred = matrices[:, None] @ originals.transpose(0, 3, 1, 2).astype(np.float64) @ matrices[:, None].swapaxes(2, 3)
    exact = blurred.transpose(0, 2, 3, 1)
    sigmas = np.full((len(gathered), 2), sigma)
    writer = csv.writer(sys.stdout)
    writer.writerow(["published as", "attack", "psnr_db in the box", "ssim in the box"])

    def tell(what: str, attack_name: str, frames: np.ndarray) -> None:
        values = deconvolution.psnr_db(frames, originals, mask), deconvolution.similarity(frames, originals, mask)
        writer.writerow([what, attack_name, *(round(float(each.mean()), 3) for each in values)])

    for what, frames in (("Gaussian, floating point", exact), ("Gaussian, 8 bits", np.rint(exact))):
        tell(what, "none", frames)
        noises = (1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3)
        results = list(deconvolution.wiener(frames, sigmas, noises))
        best = max(results, key=lambda each: deconvolution.psnr_db(each, originals, mask).mean())
        tell(what, "Wiener", best)
    hidden = gathered.hidden["blur safe"]
    operator = operators.operator_of(hidden.obfuscation, gathered.boxes_xyxy, gathered.largest_px)
    tell("safe, 8 bits", "none", hidden.probes)
    sigmas = operators.blur_sigmas(hidden.obfuscation, gathered.boxes_xyxy, gathered.largest_px)
    results = list(deconvolution.wiener(hidden.probes, sigmas, deconvolution.WIENER_NOISE))
    tell("safe, 8 bits", "Wiener", max(results, key=lambda each: deconvolution.psnr_db(each, originals, mask).mean()))
    restored = deconvolution.gradient_descent(hidden.probes, operator, 0.0, 300)
    tell("safe, 8 bits", "gradient descent", restored)
    averages = operators.Operator(operator.averages, None, operator.weight)
    with torch.no_grad():
        painted = averages(torch.as_tensor(originals.transpose(0, 3, 1, 2) / 255, dtype=torch.float64)).numpy()
    tell("safe, 8 bits", "its 16 averages, known without their noise", painted.transpose(0, 2, 3, 1) * 255)


def utility() -> None:
    """Accuracy of torchvision's MobileNet-V2 on the 230 images, faces hidden where the cascade sees them."""
    import torch
    from torchvision.models import mobilenet_v2
    from torchvision.transforms import v2

    from unface import weights

    torch.set_num_threads(1)
    network = mobilenet_v2()
    network.load_state_dict(torch.load(weights.ensure("mobilenet_v2"), weights_only=True))
    network.eval()
    prepare = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with (DATA / "imagenet_val" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    hits = {name: np.zeros((0, 3), int) for name in TREATMENTS}
    for row in rows:
        path = DATA / "imagenet_val" / "images" / row["file"]
        image = decode(path.read_bytes()).rgb()
        faces = detected(image)
        top5: list[int] = []
        for name, treatment in TREATMENTS.items():
            if len(faces) or not top5:
                pixels = obfuscate(image, faces.boxes_xyxy, treatment).pixels
                with torch.no_grad():
                    top5 = network(prepare(pixels)[None])[0].topk(5).indices.tolist()
            label = int(row["class_index"])
            hits[name] = np.vstack([hits[name], [top5[0] == label, label in top5, len(faces) > 0]])
    writer = csv.writer(sys.stdout)
    writer.writerow(
        [
            "treatment",
            "top-1 of all, %",
            "top-5 of all, %",
            "top-1 with faces, %",
            "top-5 with faces, %",
            "images",
            "with faces",
        ]
    )
    for name, found in hits.items():
        some = found[found[:, 2] == 1]
        shares = [100 * each.mean() for each in (found[:, 0], found[:, 1], some[:, 0], some[:, 1])]
        writer.writerow([name, *(round(share, 2) for share in shares), len(found), len(some)])


def leaks() -> None:
    """The estimate of leaks against the counted ones, on the annotated photos of WIDER FACE."""
    import pyarrow as pa

    from unface.boxes import is_covered
    from unface.faces import FaceRow, faces_table
    from unface.faces.formats import Pictures, Reading, load_format, read_table
    from unface.verify.stage import VERIFY_SCHEMA

    writer = csv.writer(sys.stdout)
    writer.writerow(["photos", "hidden by", "second", "true", "true low", "true high", "estimate", "low", "high"])
    for split in ("train", "val"):
        images = list(photos(f"face/WIDER_{split}"))
        names = {path.relative_to(DATA / "face" / f"WIDER_{split}").as_posix(): image for path, image in images}
        truth, _ = read_table(
            Reading(
                DATA / "face" / f"wider_face_{split}_bbx_gt.txt",
                "wider",
                load_format("wider"),
                Pictures(names, lambda name, s=split: (DATA / "face" / f"WIDER_{s}" / name).read_bytes()),
            )
        )
        seen = {
            detector: {name: make_detector(detector).detect(image) for name, image in names.items()}
            for detector in ("cascade", "centerface", "yunet")
        }
        for own, second in (("cascade", "yunet"), ("centerface", "yunet"), ("yunet", "centerface")):
            threshold, marks = make_detector(own).threshold, seen[second]
            found = {name: faces[faces.scores >= threshold] for name, faces in seen[own].items()}
            recorded = faces_table(
                FaceRow(name, image.shape[1], image.shape[0], "detected", found[name]) for name, image in names.items()
            )
            rows = [
                {
                    "image_id": name,
                    "faces": [{} for _ in range(len(found[name]))],
                    "second": [
                        {"score": float(score), "covered": bool(hidden)}
                        for score, hidden in zip(
                            marks[name].scores, is_covered(marks[name].boxes_xyxy, found[name].boxes_xyxy), strict=True
                        )
                    ],
                }
                for name in names
            ]
            verify = pa.Table.from_pylist(rows, schema=VERIFY_SCHEMA)
            true = true_leaks(truth, recorded, list(names)).faces
            estimate = estimated_leaks(verify, make_detector(second).threshold)
            assert true is not None
            assert estimate is not None
            values = (true.share, true.low, true.high, estimate.share, estimate.low, estimate.high)
            writer.writerow([f"WIDER {split}", own, second, *(round(value, 4) for value in values)])
            sys.stdout.flush()


def main() -> None:
    """Run one of the measurements."""
    import cv2

    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["attacks", "redetection", "deconvolution", "utility", "leaks"])
    parser.add_argument("--faces", type=int, default=96)
    parser.add_argument("--photos", type=int, default=None, help="of each folder, for redetection; all by default")
    options = parser.parse_args()
    started = time.process_time()
    if options.what == "attacks":
        attacks(options.faces)
    else:
        redetect = partial(redetection, options.photos)
        {"redetection": redetect, "deconvolution": deconvolve, "utility": utility, "leaks": leaks}[options.what]()
    print(f"# {time.process_time() - started:.0f} s of CPU time", file=sys.stderr)


if __name__ == "__main__":
    main()
