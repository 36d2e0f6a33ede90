"""The report."""

from reproduce.report.content import write_report

__all__ = ["write_report"]
