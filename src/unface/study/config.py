"""`study.toml`: which networks are trained and evaluated on which images, in which settings."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unface.errors import InputError, one_line
from unface.obfuscate.methods import Obfuscation
from unface.predictions import PRETRAINED
from unface.study.reading import pixels_from
from unface.study.recipes import PRESETS, Recipe
from unface.study.settings import Setting, find_setting
from unface.study.tasks import parse_task, results_name
from unface.study.transfer import NONE, Choices

Name = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Table):
    """The images. Paths are below the file's folder.

    Attributes:
        train: Images to train on; none for a study of pretrained weights alone.
        evaluation: Images to evaluate on.
        train_faces: Their faces.parquet.
        evaluation_faces: Their faces.parquet.
        train_labels: CSV of classes, where folders do not say.
        evaluation_labels: The same.
        classes: Names of all classes in order, where not all occur.
        objects: Boxes of the evaluation images' objects, for Figure 4; taken into the output folder.
        packed: Folder for packed copies; none reads the files each time.
        packed_px: Length of their shorter sides.
    """

    evaluation: Name
    train: Name | None = None
    train_faces: Name | None = None
    evaluation_faces: Name | None = None
    train_labels: Name | None = None
    evaluation_labels: Name | None = None
    classes: Name | None = None
    objects: Name | None = None
    packed: Name | None = None
    packed_px: Annotated[int, Field(ge=8)] = 256


class OwnSetting(_Table):
    """A setting of the user's: an obfuscation, or folders that `unface obfuscate` wrote."""

    method: Literal["blur", "overlay", "mosaic", "none"] = "none"
    preset: str = "safe"
    color: str = "mean"
    cells: int = 8
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] | None = None
    train: Name | None = None
    evaluation: Name | None = None


class TrainingTable(_Table):
    """The recipe: a preset, and what differs from it."""

    preset: Literal["paper", "paper-30", "paper-15"] = "paper"
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    step_epochs: int | None = None
    image_px: int | None = None
    resize_px: int | None = None


class TransferTable(_Table):
    """A task that the study's networks are finetuned for, and what differs from the task's own ways.

    Attributes:
        task: As `unface transfer` takes it, such as `cifar10:PATH`; the path is below the file's folder.
        architectures: Some of the study's; None for all.
        starts: What networks begin with: `none` (fresh weights) and settings that the study trains in; None for all.
        altered: Whether the dataset may be a part or a changed copy of the published one.
        packed: Folder for a packed copy; none reads the files each time.

    The others are those of `unface.study.transfer.Choices`.
    """

    task: Name
    architectures: list[Name] | None = None
    starts: list[Name] | None = None
    altered: bool = False
    learning_rates: Annotated[list[float], Field(min_length=1)] | None = None
    search_epochs: Annotated[int, Field(ge=1)] | None = None
    epochs: int | None = None
    step_epochs: int | None = None
    batch: int | None = None
    image_px: int | None = None
    packed: Name | None = None


class ComputingTable(_Table):
    """On what: nothing here but `precision` and `decode` changes what is computed."""

    device: str = "auto"
    precision: Literal["float32", "bf16", "fp16", "float64"] = "float32"
    workers: Annotated[int, Field(ge=0, le=256)] = 2
    micro_batch: Annotated[int, Field(ge=2)] | None = None
    compile: bool = False
    deterministic: bool = False
    decode: Literal["workers", "device"] = "workers"
    executor: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    log_steps: Annotated[int, Field(ge=1)] = 50
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 120.0
    tflops: Annotated[float, Field(gt=0)] | None = None


class StudyFile(_Table):
    """All of a `study.toml`."""

    name: Name | None = None
    architectures: list[Name] = []
    train_settings: list[Name] = []
    eval_settings: Annotated[list[Name], Field(min_length=1)]
    seeds: list[Annotated[int, Field(ge=0, le=2**63 - 1)]] = [1]
    pretrained: dict[Name, Name] = {}
    data: Data
    settings: dict[Name, OwnSetting] = {}
    training: TrainingTable = TrainingTable()
    transfer: list[TransferTable] = []
    computing: ComputingTable = ComputingTable()


@dataclass(frozen=True)
class Run:
    """A network of the study: trained, or with weights from elsewhere; then evaluated in every setting.

    Attributes:
        architecture: Its name.
        train: Setting that it is trained on, or `PRETRAINED`.
        seed: Of the training; None for pretrained weights.
        weights: Of a pretrained network, what `load_network` takes.
    """

    architecture: str
    train: str
    seed: int | None = None
    weights: str = ""

    @property
    def name(self) -> str:
        """Name of its folder.

        >>> Run("resnet18", "blurred", 2).name
        'resnet18-blurred-s2'
        """
        return f"{self.architecture}-{self.train}" + ("" if self.seed is None else f"-s{self.seed}")

    def predictions(self, setting: str) -> str:
        """Name of the file of its predictions in a setting."""
        seed = "" if self.seed is None else f"-s{self.seed}"
        return f"{self.architecture}-{self.train}-{setting}{seed}.parquet"

    def folder(self, out: Path) -> Path:
        """Its folder in the study's output folder."""
        return out / "runs" / self.name


@dataclass(frozen=True)
class Finetuning:
    """The network of a run, finetuned for a task.

    Attributes:
        task: What its results are called.
        begun: The run that it begins with; if that is trained on `NONE`, fresh weights.
    """

    task: str
    begun: Run

    @property
    def name(self) -> str:
        """Of the task and its folder.

        >>> Finetuning("cifar10", Run("resnet18", "blurred", 2)).name
        'cifar10/resnet18-blurred-s2'
        """
        return f"{self.task}/{self.begun.name}"

    def folder(self, out: Path) -> Path:
        """Its folder in the study's output folder."""
        return out / "transfer" / self.task / "runs" / self.begun.name

    def predictions(self, out: Path) -> Path:
        """The file of its predictions."""
        return out / "transfer" / self.task / "predictions" / self.begun.predictions("original")


Work = Run | Finetuning
"""What a study does, each in a process of its own."""


@dataclass(frozen=True)
class Study:
    """A study, read and checked; picklable."""

    file: StudyFile
    name: str
    folder: Path

    @cached_property
    def runs(self) -> list[Run]:
        """Every run, the first seed of all first, so that there is something to see early."""
        pretrained = [Run(name, PRETRAINED, None, self._weights(at)) for name, at in self.file.pretrained.items()]
        return pretrained + [
            Run(architecture, setting, seed)
            for seed in self.file.seeds
            for architecture in self.file.architectures
            for setting in self.file.train_settings
        ]

    @cached_property
    def transfers(self) -> dict[str, TransferTable]:
        """The tasks that networks are finetuned for, by the names of their results."""
        return {results_name(self.task(table), table.altered): table for table in self.file.transfer}

    @cached_property
    def finetunings(self) -> list[Finetuning]:
        """Every finetuning, the first seed of all first."""
        return finetunings_of(self._transfer_record(), self.file.seeds)

    def task(self, table: TransferTable) -> str:
        """What `open_task` takes."""
        name, place = parse_task(table.task)
        return f"{name}:{self.folder / place}"

    def choices(self, table: TransferTable) -> Choices:
        """How networks are finetuned for a task."""
        names = ("search_epochs", "epochs", "step_epochs", "batch", "image_px")
        given = {name: getattr(table, name) for name in names}
        rates = None if table.learning_rates is None else tuple(table.learning_rates)
        packed = None if table.packed is None else self.folder / table.packed
        return Choices(rates, packed=packed, packed_px=self.file.data.packed_px, **given)

    @property
    def recipe(self) -> Recipe:
        """How networks are trained."""
        given = self.file.training.model_dump(exclude={"preset"}, exclude_none=True)
        return replace(PRESETS[self.file.training.preset], **given)

    def pixels_from(self, decode: str) -> str:
        """What decides pixels beside the files; see `unface.study.reading.pixels_from`."""
        data = self.file.data
        return pixels_from(None if data.packed is None else data.packed_px, decode)

    def settings_of(self, names: list[str], part: Literal["train", "evaluation"]) -> list[Setting]:
        """Settings by their names, as they are for the training or the evaluation images."""
        own = {name: self._own(name, table, part) for name, table in self.file.settings.items() if name in names}
        return [find_setting(name, own) for name in names]

    def place(self, path: str | None) -> str | None:
        """A path of the file, or a URL, as seen from here."""
        return path if path is None or "://" in path else str(self.folder / path)

    def record(self) -> dict[str, Any]:
        """The resolved study, for `study.json`."""
        file = self.file
        parts: list[tuple[list[str], Literal["train", "evaluation"]]] = [
            (file.train_settings, "train"),
            (file.eval_settings, "evaluation"),
        ]
        data = file.data.model_dump()
        places = {name: self.place(value) if isinstance(value, str) else value for name, value in data.items()}
        return {
            "name": self.name,
            "architectures": file.architectures,
            "train_settings": file.train_settings,
            "eval_settings": file.eval_settings,
            "seeds": file.seeds,
            "pretrained": {run.architecture: run.weights for run in self.runs if run.train == PRETRAINED},
            "data": places,
            "settings": {
                part: {setting.name: setting.definition() for setting in self.settings_of(names, part)}
                for names, part in parts
            },
            "training": {"preset": file.training.preset, **asdict(self.recipe)},
            "transfer": self._transfer_record(),
            "computing": file.computing.model_dump(),
        }

    def _transfer_record(self) -> dict[str, dict[str, Any]]:
        """The tasks, with all that they leave to the study."""
        known = {"architectures": self.file.architectures, "starts": [NONE, *self.file.train_settings]}
        return {
            name: {
                **table.model_dump(),
                "task": self.task(table),
                **{key: getattr(table, key) or names for key, names in known.items()},
            }
            for name, table in self.transfers.items()
        }

    def _own(self, name: str, table: OwnSetting, part: Literal["train", "evaluation"]) -> Setting:
        try:
            if table.train or table.evaluation:
                folder = getattr(table, part)
                if folder is None:
                    raise InputError(f"{part}: expected a folder that unface obfuscate wrote, got none")
                place = self.folder / folder
                if not (place / "manifest.parquet").is_file():
                    raise InputError(f"{part}: expected a folder that unface obfuscate wrote, got {place}")
                return Setting(name, folder=str(place.resolve()))
            how = Obfuscation(table.method, table.preset, table.color, table.cells)
            return Setting(name, how, table.jpeg_quality)
        except InputError as error:
            raise InputError(f"settings.{name}: {error}") from None

    def _weights(self, at: str) -> str:
        """A path is below the file's folder; other names stay."""
        return str(self.folder / at) if (self.folder / at).is_file() else at


def finetunings_of(transfer: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> list[Finetuning]:
    """Every finetuning of what a study's record says of them."""
    return [
        Finetuning(name, Run(architecture, start, seed))
        for seed in seeds
        for name, facts in transfer.items()
        for architecture in facts["architectures"]
        for start in facts["starts"]
    ]


def read_study(path: Path) -> Study:
    """Read a `study.toml`.

    Raises:
        InputError: Unreadable, or something in it is not as expected; the message names the key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: expected a study in TOML: {one_line(error)}") from None
    try:
        file = StudyFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(word) for word in first["loc"])
        shown = first["input"]
        got = "" if first["type"] == "missing" else f", got {one_line(repr(shown))[:80]}"
        raise InputError(f"{path}: {key}: {_wanted(first)}{got}") from None
    study = Study(file, file.name or path.stem, path.resolve().parent)
    try:
        _check(study)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return study


def _wanted(error: Mapping[str, Any]) -> str:
    """What pydantic expected, in our words."""
    if error["type"] == "extra_forbidden":
        return "expected no such key"
    if error["type"] == "missing":
        return "expected this key, found none"
    return "expected " + str(error["msg"]).removeprefix("Input should be ").replace("Input should", "it to")


def _check(study: Study) -> None:
    """Refuse what does not fit together."""
    from unface.study.architectures import ARCHITECTURES

    file = study.file
    for key in ("architectures", "train_settings", "eval_settings", "seeds"):
        values = getattr(file, key)
        if len(set(values)) != len(values):
            raise InputError(f"{key}: expected different ones, got {one_line(repr(values))[:80]}")
    for name in (*file.architectures, *file.pretrained):
        if name not in ARCHITECTURES:
            raise InputError(f"architectures: expected some of {', '.join(ARCHITECTURES)}, got {one_line(name)}")
    if not study.runs:
        raise InputError("architectures, train_settings, seeds: expected at least one each, or pretrained weights")
    if file.architectures and file.data.train is None:
        raise InputError("data.train: expected images to train on, found none")
    _checked("computing", lambda: study.pixels_from(file.computing.decode))
    for name in file.settings:
        if name in ("original", PRETRAINED, NONE):
            raise InputError(f"settings.{name}: expected a name of your own")
    _checked("training", lambda: study.recipe)
    unknown = set(file.settings) - set(file.train_settings) - set(file.eval_settings)
    if unknown:
        raise InputError(f"settings.{min(unknown)}: expected a setting of train_settings or eval_settings")
    _checked("train_settings", lambda: study.settings_of(file.train_settings, "train"))
    _checked("eval_settings", lambda: study.settings_of(file.eval_settings, "evaluation"))
    for number, table in enumerate(file.transfer):
        _checked(f"transfer.{number}", lambda table=table: _check_transfer(study, table))
    if len(study.transfers) < len(file.transfer):
        raise InputError("transfer: expected different tasks, got one twice; its results would have one name")


def _check_transfer(study: Study, table: TransferTable) -> None:
    """Refuse what the study does not train."""
    file = study.file
    parse_task(table.task)
    study.choices(table).recipe(Recipe())
    known = {"architectures": file.architectures, "starts": [NONE, *file.train_settings]}
    for key, wanted in known.items():
        given = getattr(table, key)
        given = wanted if given is None else given
        unknown = next((name for name in given if name not in wanted), None)
        if unknown is not None or not given or len(set(given)) < len(given):
            got = repr(given) if unknown is None else unknown
            raise InputError(f"{key}: expected some of the study's, {', '.join(wanted)}, got {one_line(got)[:80]}")


def _checked(key: str, make: Any) -> None:
    try:
        make()
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def require_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a study that differs from the one of an output folder in what decides its numbers; it may grow.

    Raises:
        InputError: It differs; the message names the key.
    """
    pairs = [(key, before.get(key), now[key]) for key in ("data", "training")]
    pairs += [
        (f"settings.{part}.{name}", definition, now["settings"][part][name])
        for part, settings in dict(before.get("settings") or {}).items()
        for name, definition in settings.items()
        if name in now["settings"].get(part, {})
    ]
    pairs += [
        (f"transfer.{name}", _fixed(facts), _fixed(now["transfer"][name]))
        for name, facts in dict(before.get("transfer") or {}).items()
        if name in now["transfer"]
    ]
    pairs.append(("computing.precision", before["computing"]["precision"], now["computing"]["precision"]))
    decoded = before["computing"].get("decode", "workers")  # older studies do not tell
    pairs.append(("computing.decode", decoded, now["computing"]["decode"]))
    for key, theirs, ours in pairs:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            inner = next((name for name in ours if theirs.get(name) != ours[name]), None)
            if inner is None:
                continue
            key, theirs, ours = f"{key}.{inner}", theirs.get(inner), ours[inner]
        if theirs != ours:
            raise InputError(
                f"{path}: was made with {key} {one_line(repr(theirs))[:60]}, this study has "
                f"{one_line(repr(ours))[:60]}; choose another output folder"
            )


def _fixed(task: Mapping[str, Any]) -> dict[str, Any]:
    """Of a task's record, what may not change."""
    return {name: value for name, value in task.items() if name not in ("architectures", "starts")}
