"""The system that runs: follows OSM, looks at what changed, keeps and publishes discrepancies.

Start reading at `daemon/pipeline.py`.
"""

__version__ = "0.1.0"
