"""Attacks on hidden faces, run before someone else runs them: what they recover, in numbers, never in pictures."""
