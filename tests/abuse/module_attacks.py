"""Abuse of modules that a Python script may import: bombs, documents that attack, files."""

from tests.abuse.attack import OUT_OF_MEMORY, REFUSED, SECONDS, TIMED_OUT, Attack

# Archives that take much more than they seem to.
_DEFLATED = """
import gzip, io, zlib
packer = zlib.compressobj(9, wbits=31)
bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
"""
_ENTITIES = """
import xml.etree.ElementTree as ET
levels = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
document = f'<!DOCTYPE a [<!ENTITY a0 "ha">{levels}]><a>&a9;</a>'
"""
_ENTITY_REFUSED = r"ScriptRaised: ParseError: the document declares an entity, .*"

BOMBS = {
    "gzip": Attack(OUT_OF_MEMORY, f"{_DEFLATED}return len(gzip.decompress(bomb))"),
    "a file of gzip": Attack(
        OUT_OF_MEMORY, f"{_DEFLATED}return len(gzip.GzipFile(fileobj=io.BytesIO(bomb)).read())"
    ),
    "bzip2": Attack(
        OUT_OF_MEMORY,
        """
        import bz2
        bomb = bz2.compress(bytes(10_000_000)) * 40
        return len(bz2.decompress(bomb))
        """,
    ),
    "lzma": Attack(
        OUT_OF_MEMORY,
        """
        import lzma
        bomb = lzma.compress(bytes(10_000_000), preset=0) * 40
        return len(lzma.decompress(bomb))
        """,
    ),
    "a dictionary of lzma": Attack(
        OUT_OF_MEMORY,
        """
        import lzma
        chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
        return len(lzma.compress(b"", lzma.FORMAT_RAW, filters=chain))
        """,
    ),
    "an archive": Attack(
        OUT_OF_MEMORY,
        """
        import io, zipfile
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("a", "w") as member:
                for _ in range(300):
                    member.write(bytes(1 << 20))
        return len(zipfile.ZipFile(file).read("a"))
        """,
    ),
    "a text of codecs": Attack(
        OUT_OF_MEMORY,
        f"""
        import codecs
        {_DEFLATED.strip().replace(chr(10), chr(10) + " " * 8).replace("wbits=31", "wbits=15")}
        return len(codecs.decode(bomb, "zlib"))
        """,
    ),
    "a million brackets": Attack(
        r"ScriptRaised: (MemoryError|SyntaxError|RecursionError).*|" + OUT_OF_MEMORY,
        "import ast\nreturn ast.literal_eval('[' * 1_000_000)",
    ),
}

DOCUMENTS = {
    "an entity that is a file": Attack(
        _ENTITY_REFUSED,
        """
        import xml.etree.ElementTree as ET
        kind = f'<!DOCTYPE a [<!ENTITY b SYSTEM "file://{bait["file"]}">]>'
        return ET.fromstring(f"{kind}<a>&b;</a>").text
        """,
    ),
    "a billion laughs": Attack(
        _ENTITY_REFUSED, f"{_ENTITIES}return len(ET.fromstring(document).text)"
    ),
    "a billion laughs, piece by piece": Attack(
        _ENTITY_REFUSED,
        f"{_ENTITIES}parser = ET.XMLPullParser()\n"
        "for character in document: parser.feed(character)\n"
        "return len(next(parser.read_events())[1].text)",
    ),
    "a billion laughs in UTF-16": Attack(
        _ENTITY_REFUSED, f"{_ENTITIES}return len(ET.fromstring(document.encode('utf-16')).text)"
    ),
    "a million elements deep": Attack(
        r"ScriptRaised: ParseError: elements are nested more than 1000 deep.*",
        "import xml.etree.ElementTree as ET\nreturn len(ET.fromstring('<a>' * 1_000_000))",
    ),
    "a million elements": Attack(
        OUT_OF_MEMORY,
        "import xml.etree.ElementTree as ET\n"
        "return len(ET.fromstring('<a>' + '<b/>' * 3_000_000 + '</a>'))",
    ),
}

_SANDBOX = "from jinja2.sandbox import SandboxedEnvironment as E\n"
SHELF = {
    "a template to the classes": Attack(
        r"ScriptRaised: SecurityError: access to attribute '__class__' .* is unsafe\.",
        _SANDBOX + "return E().from_string('{{ [].__class__.__mro__ }}').render()",
    ),
    "a template to the globals": Attack(
        r"ScriptRaised: (SecurityError|UndefinedError): .*",
        _SANDBOX + "return E().from_string('{{ f.__globals__.x.y }}').render(f=attack)",
    ),
    "a template by format": Attack(
        r"ScriptRaised: (SecurityError|KeyError|UndefinedError|AttributeError).*|"
        + r'output: .*"payload":"".*',
        _SANDBOX + "return E().from_string('{{ \"{0.__class__}\".format(1) }}').render()",
    ),
    "a template of a file": Attack(
        r"ScriptRaised: TemplateNotFound: .*",
        """
        import jinja2
        loader = jinja2.FileSystemLoader(bait["folder"])
        return jinja2.Environment(loader=loader).get_template("secret").render()
        """,
    ),
    "a template without end": Attack(
        TIMED_OUT,
        "import jinja2\ntemplate = jinja2.Template('{% for a in x %}{% endfor %}')\n"
        "return template.render(x=iter(int, 1))",
        timeout_seconds=SECONDS,
    ),
    "a template of all memory": Attack(
        OUT_OF_MEMORY, "import jinja2\nreturn jinja2.Template('{{ \"x\" * 10 ** 10 }}').render()"
    ),
    "a rule without end": Attack(
        TIMED_OUT,
        "from dateutil.rrule import rrule, SECONDLY\nreturn sum(1 for _ in rrule(SECONDLY))",
        timeout_seconds=SECONDS,
    ),
    "a zone that is a file": Attack(
        r'output: .*"payload":\[null,null\].*',
        "from dateutil import tz\nreturn [tz.gettz('/etc/passwd'), tz.gettz('../x')]",
    ),
}

FILES = {
    "gzip": Attack(REFUSED, "import gzip\nreturn gzip.open(bait['file']).read()"),
    "bz2": Attack(REFUSED, "import bz2\nreturn bz2.open(bait['file']).read()"),
    "codecs": Attack(REFUSED, "import codecs\nreturn codecs.open(bait['file']).read()"),
    "zipfile": Attack(REFUSED, "import zipfile\nreturn zipfile.ZipFile(bait['file'])"),
    "configparser": Attack(
        # It leaves out what it cannot open.
        r'output: .*"payload":\[\[\],\[\]\].*',
        """
        import configparser
        parser = configparser.ConfigParser()
        return [parser.read(bait["file"]), parser.sections()]
        """,
    ),
    "XML": Attack(
        REFUSED,
        "import xml.etree.ElementTree as ET\nreturn ET.parse(bait['file']).getroot().text",
    ),
    "zoneinfo": Attack(
        r"ScriptInvalid: WrongArgument: .*",
        "import zoneinfo\nzoneinfo.reset_tzpath([bait['folder']])",
    ),
}
