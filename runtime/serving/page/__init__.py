"""The page at GET /: models, a form to try them, lines to copy. Static files; it loads nothing from elsewhere."""
