"""What privacy costs: train and evaluate networks on original and obfuscated images. Needs the extra `study`."""

import os

# Batches lie in huge pages where the system has them: a third of the time to fill one. PyTorch asks once, early.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
