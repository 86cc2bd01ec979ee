"""Reference tables: CSV and JSON files, read and made into files that hosts map."""
