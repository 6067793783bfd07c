"""Faces of images: the type that flows through unface, and its table on disk."""

from unface.faces.table import (
    FACES_SCHEMA,
    SCHEMA_VERSION,
    FaceRow,
    Faces,
    face_rows,
    faces_table,
    read_faces,
    write_faces,
)

__all__ = [
    "FACES_SCHEMA",
    "SCHEMA_VERSION",
    "FaceRow",
    "Faces",
    "face_rows",
    "faces_table",
    "read_faces",
    "write_faces",
]
