"""Engines: how an algorithm's mathematics is executed over an episode batch, a file each."""
