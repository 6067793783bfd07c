"""The review's HTTP server: see docs/review.md for its interface."""

from unface.review.server.app import NO_PAGE, Settings, create_app, is_page_built

__all__ = ["NO_PAGE", "Settings", "create_app", "is_page_built"]
