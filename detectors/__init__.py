"""What looks at the ground: networks, their training, and the detectors that compare with OSM.

This package knows nothing of `daemon`: it turns pixels and features into claims, and keeps no state.
"""
