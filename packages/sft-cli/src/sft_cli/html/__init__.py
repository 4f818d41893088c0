"""The report of a run as one HTML file without scripts and without links to the network."""

from sft_cli.html.report import write_report

__all__ = ["write_report"]
