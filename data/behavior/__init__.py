"""Behavior policies: their training (`python -m data.behavior.train`), recipes, weights and curves."""
