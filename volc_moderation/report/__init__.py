"""The report of a journal: one HTML page with charts and tables.

``figures`` and ``tables`` turn the figures of a journal into sections of the page; the columns of each table are lists
in ``tables``. ``charts`` draws SVG, and ``report.html`` is the frame of the page with its CSS.
"""

from volc_moderation.report.report import write_report

__all__ = ["write_report"]
