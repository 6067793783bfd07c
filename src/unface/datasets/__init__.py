"""Datasets: opening what users have, and writing the same kind back."""

from unface.datasets.dataset import Dataset, Entry, Part, Sink, Survey
from unface.datasets.folder import Folder, FolderSink
from unface.datasets.opening import archive_of, open_dataset

__all__ = ["Dataset", "Entry", "Folder", "FolderSink", "Part", "Sink", "Survey", "archive_of", "open_dataset"]
