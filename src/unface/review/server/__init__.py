"""The review's HTTP server: see docs/review.md for its interface."""

from unface.review.server.app import Settings, create_app

__all__ = ["Settings", "create_app"]
