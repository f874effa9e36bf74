"""What leaves the house: exports in three formats, and the files that are kept up to date with them."""

from daemon.publish.export import FORMATS, ExportContext, Filter, ImageryCredit, export

__all__ = ["FORMATS", "ExportContext", "Filter", "ImageryCredit", "export"]
