"""The map as a whole, measured cell by cell and written down run by run.

cells         the areas that are measured: tiles of a zoom, or polygons of a file
mapped        how much of something the store has in each
density       against another data set as witness
completeness  against what imagery shows
ledger        runs and their cells in the database, and the history of a subject
files         GeoJSON, CSV
maps          PNG: the cells by colour, the fit
"""
