"""Estimates with their uncertainty, without torch and pandas."""
