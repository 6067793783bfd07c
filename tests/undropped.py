"""The command without dropout, which each of several processes draws for itself."""

from torch import nn

nn.Dropout.forward = lambda self, values: values

if __name__ == "__main__":
    from unface.cli import main

    main()
