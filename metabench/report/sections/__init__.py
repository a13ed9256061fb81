"""The sections of a report: each is a grouping, columns and notes."""
