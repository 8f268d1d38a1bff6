"""Reports on run folders: an HTML page, and curves in the terminal."""
