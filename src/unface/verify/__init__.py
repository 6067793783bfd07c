"""Verify: does any face show in what was published?"""
