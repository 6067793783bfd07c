"""Face detectors."""

from unface.detect.detector import DEFAULT_DETECTOR, DETECTORS, Detector, make_detector

__all__ = ["DEFAULT_DETECTOR", "DETECTORS", "Detector", "make_detector"]
