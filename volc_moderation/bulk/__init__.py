"""Files of calls: read, checked, and loaded into a journal."""
