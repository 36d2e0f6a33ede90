"""`reproduce ROW`: train a paper's row, judge its scores, record the evidence."""

__version__ = "0.1.0"
