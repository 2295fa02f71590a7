"""What the page's sections show, as values for their templates."""
