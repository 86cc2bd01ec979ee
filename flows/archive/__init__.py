"""The archive: runs that were purged, as compressed lines of JSON in files of a folder."""
