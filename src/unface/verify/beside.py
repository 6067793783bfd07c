"""What lies beside the images of an archive (captions, labels, other columns) must be published as it was."""

from collections.abc import Iterator

from unface.datasets import Dataset, Part
from unface.datasets.parquet import ParquetDataset, Table
from unface.datasets.tar import Archive, WebDataset
from unface.errors import InputError, one_line


def differences(dataset: Dataset, published: Dataset, part: Part) -> Iterator[str]:
    """What of a part's archive, its images apart, is not as in the dataset; nothing for images that lie by themselves.

    Args:
        dataset: The originals.
        published: What was published.
        part: One part of the dataset that was published.
    """
    if part.images is not None:
        return
    try:
        if isinstance(dataset, WebDataset) and isinstance(published, WebDataset):
            yield from _members(dataset.archive(part.name), published.archive(part.name))
        elif isinstance(dataset, ParquetDataset) and isinstance(published, ParquetDataset):
            yield from _columns(dataset.table(part.name), published.table(part.name))
    except InputError as error:
        yield f"cannot be compared: {error}"


def _members(before: Archive, after: Archive) -> Iterator[str]:
    """Samples none of whose images were published are left out as a whole; what the dataset refuses is, too."""
    images = {member.key for member in before.members if member.is_image or member.refused}
    published = {member.key for member in after.members if member.is_image}
    expected = {
        member.name: member
        for member in before.members
        if not member.is_image and not member.refused and (member.key not in images or member.key in published)
    }
    found = {member.name: member for member in after.members if not member.is_image}
    for name in expected.keys() - found.keys():
        yield f"{one_line(name)} is missing"
    for name in found.keys() - expected.keys():
        yield f"{one_line(name)} is not of the dataset"
    for name in expected.keys() & found.keys():
        if expected[name].info.isreg() and before.read(expected[name]) != after.read(found[name]):
            yield f"{one_line(name)} is not the dataset's"


def _columns(before: Table, after: Table) -> Iterator[str]:
    """The columns that hold no images, row by row."""
    names = [name for name in before.file.schema_arrow.names if name not in before.images]
    if before.file.schema_arrow.names != after.file.schema_arrow.names:
        yield "its columns are not the dataset's"
        return
    if before.file.metadata.num_rows != after.file.metadata.num_rows:
        yield f"expected {before.file.metadata.num_rows} rows, got {after.file.metadata.num_rows}"
        return
    for name in names:
        if not before.file.read([name])[name].equals(after.file.read([name])[name]):
            yield f"column {one_line(name)!r} is not the dataset's"
