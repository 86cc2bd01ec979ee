"""The configuration document: the whole configuration as one JSON document, in and out.

text      bytes to document and back
directory a document with its code in files, in and out
schema    its JSON Schema, for editors
shape     which keys and values an entry may have
original  the formats of the original product
entries   an entry completed with the defaults, a row as an entry, and back to a row
wanted    the document read, each entry with its place
present   what the database has
intent    what an import is about to do, and whether it can
importer  does it
changes   the difference, in words
faults    all that is wrong, each with its place
"""

from flows.configuration.changes import Change, Changes
from flows.configuration.directory import read_directory, write_directory
from flows.configuration.faults import ConfigurationInvalid
from flows.configuration.importer import check_document, import_configuration
from flows.configuration.present import export_configuration
from flows.configuration.schema import schema_text
from flows.configuration.text import read_document, write_document

__all__ = [
    "Change",
    "Changes",
    "ConfigurationInvalid",
    "check_document",
    "export_configuration",
    "import_configuration",
    "read_directory",
    "read_document",
    "schema_text",
    "write_directory",
    "write_document",
]
