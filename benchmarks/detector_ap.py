"""Average precision of our adapters of YuNet and CenterFace, beside scripts of OpenCV and onnxruntime alone.

    UNFACE_TEST_DATA=DIR python benchmarks/detector_ap.py [--detector yunet centerface]

Both see the same files on one thread: `DIR/face/WIDER_val` (easy, medium, hard) and `DIR/imagenet_val` (judged faces,
doubtful images left out). The scripts are what a user would write: the image as OpenCV decodes it, resized to sides
that are multiples of 32, seen once at its own size, scores from 0.1, non-maximum suppression at 0.3 by OpenCV. Prints
one line per set, with the difference.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime

from unface import weights
from unface.analysis.comparison import compare
from unface.analysis.detection import average_precisions, counted_faces
from unface.boxes import as_boxes
from unface.detect import make_detector
from unface.faces import FaceRow, Faces, faces_table
from unface.faces.formats import load_format, read_table
from unface.faces.formats.reading import Reading
from unface.images import decode

FLOOR, IOU_THRESHOLD, MOST = 0.1, 0.3, 5000
TOLERANCE = 0.002

Script = Callable[[Path], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Measure what the command line asks for; exit code 1 where a difference is too large."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--detector", nargs="+", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    cv2.setNumThreads(1)
    too_large = False
    print("| detector | set | images | faces | ours | script | difference |\n|" + " --- |" * 7)
    for name in options.detector:
        for images, (ours, theirs) in both(name, options.data):
            for mine, other in zip(ours, theirs, strict=True):
                assert mine.ap is not None
                assert other.ap is not None
                difference = mine.ap - other.ap
                too_large |= abs(difference) > TOLERANCE
                print(
                    f"| {name} | {mine.difficulty} | {images} | {mine.faces} | {mine.ap:.4f} | {other.ap:.4f} "
                    f"| {difference:+.4f} |"
                )
    raise SystemExit(too_large)


def both(name: str, data: Path) -> Iterator:
    """Per set: how many images, and the precisions of our adapter and of the script."""
    detector, script = make_detector(name), SCRIPTS[name]()
    for truth, paths, difficulty in (crowds(data), objects(data)):
        found = []
        for see in (lambda path: adapter(detector, path), script):
            rows = [row_of(image_id, path, *see(path)) for image_id, path in paths.items()]
            comparison = compare(truth, faces_table(rows))
            every = {"objects": np.ones(len(comparison.truth.scores), bool)}
            counted = counted_faces(comparison, difficulty) if difficulty else every
            found.append(average_precisions(comparison, counted))
        yield len(paths), found


def adapter(detector, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What our detector sees in a file."""
    seen = detector.detect(decode(path.read_bytes()).rgb())
    return seen.boxes_xyxy, seen.scores


def row_of(image_id: str, path: Path, boxes: np.ndarray, scores: np.ndarray) -> FaceRow:
    """One image's predictions."""
    return FaceRow(image_id, 0, 0, "detected", Faces.make(boxes, np.clip(scores, 0, 1)), Faces.make([]))


def crowds(data: Path):
    """WIDER FACE validation photos: truth, files, which faces count."""
    folder = data / "face"
    truth, _ = read_table(Reading(folder / "wider_face_val_bbx_gt.txt", "wider", load_format("wider")))
    paths = {image_id: folder / "WIDER_val" / "images" / image_id for image_id in truth["image_id"].to_pylist()}
    return truth, paths, json.loads((folder / "val_difficulty.json").read_text())


def objects(data: Path):
    """ImageNet validation photos with faces judged by eye."""
    folder = data / "imagenet_val"
    judged = json.loads((folder / "judged_faces.json").read_text())
    clear = {name: as_boxes(found["faces"]) for name, found in judged.items() if found["status"] != "doubtful"}
    rows = [FaceRow(name, 0, 0, "reviewed", Faces.make(boxes)) for name, boxes in clear.items()]
    return faces_table(rows), {name: folder / "images" / name for name in clear}, None


def resized(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A file's BGR pixels with sides that are multiples of 32, and by how much a box must grow to fit the file."""
    image = cv2.imread(str(path))
    height, width = image.shape[:2]
    seen_wh = -(-width // 32) * 32, -(-height // 32) * 32
    return cv2.resize(image, seen_wh), np.array([width / seen_wh[0], height / seen_wh[1]] * 2, np.float32)


def yunet_script() -> Script:
    """OpenCV's own YuNet."""
    net = cv2.FaceDetectorYN.create(str(weights.locate("yunet")), "", (320, 320), FLOOR, IOU_THRESHOLD, MOST)

    def see(path: Path) -> tuple[np.ndarray, np.ndarray]:
        image, scale = resized(path)
        net.setInputSize(image.shape[1::-1])
        _, rows = net.detect(image)
        rows = np.zeros((0, 15), np.float32) if rows is None else rows
        return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) * scale, rows[:, -1]

    return see


def centerface_script() -> Script:
    """CenterFace by onnxruntime, its declared sizes taken off by the onnx package, decoded cell by cell."""
    model = onnx.load(weights.ensure("centerface"))
    constants = {weight.name for weight in model.graph.initializer}
    for value in [*(put for put in model.graph.input if put.name not in constants), *model.graph.output]:
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}{axis}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def see(path: Path) -> tuple[np.ndarray, np.ndarray]:
        image, scale = resized(path)
        blob = cv2.dnn.blobFromImage(image, swapRB=True)
        heat, sizes, offsets = session.run(["537", "538", "539"], {"input.1": blob})
        boxes, scores = [], []
        for row, column in zip(*np.where(heat[0, 0] > FLOOR), strict=True):
            h, w = (4 * float(np.exp(sizes[0, axis, row, column])) for axis in (0, 1))
            y, x = (4 * (at + float(offsets[0, axis, row, column]) + 0.5) for axis, at in enumerate((row, column)))
            boxes.append([x - w / 2, y - h / 2, w, h])
            scores.append(float(heat[0, 0, row, column]))
        if not boxes:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        kept = np.array(cv2.dnn.NMSBoxes(boxes, scores, FLOOR, IOU_THRESHOLD)).reshape(-1)
        chosen = np.array(boxes, np.float32)[kept]
        chosen[:, 2:] += chosen[:, :2]
        return chosen * scale, np.array(scores, np.float32)[kept]

    return see


SCRIPTS = {"yunet": yunet_script, "centerface": centerface_script}


if __name__ == "__main__":
    main()
