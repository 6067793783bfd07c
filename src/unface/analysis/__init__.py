"""Statistics, tables and figures out of result files; nothing here detects, trains or decodes."""
