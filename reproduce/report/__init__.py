"""The report: one self-contained HTML page and one markdown file."""

from reproduce.report.write import write_report

__all__ = ["write_report"]
