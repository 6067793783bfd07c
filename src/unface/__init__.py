"""Find, obfuscate and verify the faces in an image dataset."""

__version__ = "0.1.0"
