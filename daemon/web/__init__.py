"""The server: what people, editors and monitors ask of mapgap over HTTP.

backend    what every route works with: configuration, database, the current map, the clock
app        the application: all routes, in order; read this first
errors     named failures -> statuses, one table
door       what every request passes: slashes, limits, time, headers
guard      who may give verdicts, and how many
osmose/    Osmose's API 0.3
api/       the own API
metrics    Prometheus
server     uvicorn, for `mapgap serve` and within `mapgap run`
"""
