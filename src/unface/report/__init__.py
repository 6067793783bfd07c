"""The report: one self-contained HTML page about an output folder."""

from unface.report.page import write_report

__all__ = ["write_report"]
