"""The configuration document: the whole configuration as one JSON document, in and out.

text             bytes to document and back
directory        a document with its code in files, in and out
document_schema  its JSON Schema, for editors
entry_schemas    the keys and values that an entry may have
validation       checks an entry against its schema
original         the formats of the original product
rows             a row as an entry, and back
completion       an entry completed with the defaults
entry            a completed entry with its place in the document
desired          the desired state: what the document asks for
current          the current state: what the database has
import_plan      what an import creates, updates and deletes
plan_checks      whether it can
importer         plans, checks and applies
changes          the difference, in words
faults           all that is wrong, each with its place
"""

from flows.configuration.changes import Change, Changes
from flows.configuration.current import export_configuration, export_flows
from flows.configuration.directory import read_directory, write_directory
from flows.configuration.document_schema import schema_text
from flows.configuration.faults import ConfigurationInvalid
from flows.configuration.importer import check_document, import_configuration
from flows.configuration.text import read_document, write_document

__all__ = [
    "Change",
    "Changes",
    "ConfigurationInvalid",
    "check_document",
    "export_configuration",
    "export_flows",
    "import_configuration",
    "read_directory",
    "read_document",
    "schema_text",
    "write_directory",
    "write_document",
]
