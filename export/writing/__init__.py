"""Write the package folder, and record what the passes changed."""
