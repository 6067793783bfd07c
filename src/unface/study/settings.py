"""Settings of a study: what is done to every image before a network sees it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unface.errors import InputError, one_line
from unface.obfuscate.methods import Obfuscation

_NONE = Obfuscation("none")


@dataclass(frozen=True)
class Setting:
    """What is done to an image.

    Attributes:
        name: What it is called in tables and names of files.
        obfuscation: How faces are hidden, in the decoded image, before anything is resized.
        jpeg_quality: If given, every JPEG, with faces or without, is then encoded at this quality and 4:2:0 and
            decoded again, as a published copy would be.
        folder: A result of `unface obfuscate`, whose images are taken instead; nothing else is done then.

    Raises:
        InputError: The name is none for a file, the quality is not 1 to 100, or a folder is combined with the others.
    """

    name: str
    obfuscation: Obfuscation = _NONE
    jpeg_quality: int | None = None
    folder: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or set(self.name) & set("/\\ ") or self.name.startswith("."):
            raise InputError(f"setting: expected a plain name, got {one_line(repr(self.name))}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"setting {self.name}: jpeg_quality: expected 1 to 100, got {self.jpeg_quality}")
        if self.folder and (self.obfuscation != _NONE or self.jpeg_quality is not None):
            raise InputError(f"setting {self.name}: expected a folder or an obfuscation, got both")

    @property
    def hides(self) -> bool:
        """Whether it hides faces, so that they must be known."""
        return self.obfuscation.method != "none"

    def definition(self) -> dict[str, Any]:
        """All that decides its pixels, for JSON."""
        return {"name": self.name, **self.view(True).definition()}

    def view(self, has_faces: bool) -> "View":
        """What is done to an image with or without faces: settings with equal views show the same pixels."""
        return View(self.obfuscation if has_faces else _NONE, self.jpeg_quality, self.folder)


@dataclass(frozen=True)
class View:
    """What is done to one image; see `Setting`."""

    obfuscation: Obfuscation = _NONE
    jpeg_quality: int | None = None
    folder: str = ""

    def definition(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def name(self) -> str:
        """A name for files: `plain`, `blur-safe`, `overlay-red`, `none-q75` and so on.

        >>> View(Obfuscation("overlay", color="#ff8000")).name
        'overlay-ff8000'
        """
        if self == PLAIN:
            return "plain"
        if self.folder:
            return f"folder-{Path(self.folder).name}"
        how = self.obfuscation
        detail = {"blur": how.preset, "overlay": how.color.lstrip("#"), "mosaic": str(how.cells)}.get(how.method, "")
        words = [how.method, detail, "" if self.jpeg_quality is None else f"q{self.jpeg_quality}"]
        return "-".join(word for word in words if word)


PLAIN = View()
"""Nothing is done."""


def _all(*settings: Setting) -> Mapping[str, Setting]:
    return MappingProxyType({setting.name: setting for setting in settings})


SETTINGS = _all(
    Setting("original"),
    Setting("blurred", Obfuscation()),
    Setting("blurred-paper", Obfuscation(preset="paper")),
    Setting("blurred-imagenet", Obfuscation(preset="imagenet")),
    Setting("overlaid", Obfuscation("overlay")),
    Setting("mosaic", Obfuscation("mosaic")),
    Setting("red", Obfuscation("overlay", color="red")),
    Setting("green", Obfuscation("overlay", color="green")),
    Setting("blue", Obfuscation("overlay", color="blue")),
    Setting("mean", Obfuscation("overlay", color="mean")),  # what Table 7 calls it; Table 3 says overlaid
    Setting("reencoded", jpeg_quality=75),
)
"""The settings that have names: those of the paper's Tables 3 and 7, the stronger ones that unface adds, and the
control `reencoded`, which hides nothing and is compressed as the paper's obfuscated images were."""


def find_setting(name: str, own: Mapping[str, Setting] = MappingProxyType({})) -> Setting:
    """A setting by its name, or by the path of a folder that `unface obfuscate` wrote.

    Args:
        name: Of `own`, of `SETTINGS`, or a path.
        own: Settings defined by the user; they go before those of the same name here.

    Raises:
        InputError: Neither.
    """
    if name in own:
        return own[name]
    if name in SETTINGS:
        return SETTINGS[name]
    if (Path(name) / "manifest.parquet").is_file():
        return Setting(Path(name).resolve().name, folder=str(Path(name).resolve()))
    known = ", ".join({**SETTINGS, **own})
    raise InputError(f"setting {one_line(name)}: expected {known}, or a folder that unface obfuscate wrote")
