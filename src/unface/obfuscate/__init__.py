"""Hide faces: in one image (methods), in a dataset (stage)."""

from unface.obfuscate.methods import Obfuscated, Obfuscation, obfuscate

__all__ = ["Obfuscated", "Obfuscation", "obfuscate"]
