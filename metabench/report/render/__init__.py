"""Renderings of tables: terminal, Markdown, LaTeX, a page."""
