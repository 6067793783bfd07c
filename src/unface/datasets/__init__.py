"""Datasets: opening what users have, and writing the same kind back."""

from unface.datasets.folder import Folder, FolderSink, ImageFile, Listing, Refused, open_dataset

__all__ = ["Folder", "FolderSink", "ImageFile", "Listing", "Refused", "open_dataset"]
