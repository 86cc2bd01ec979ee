/* JSON text, read and written digit for digit.
 *
 * Objects are Maps, so that names of any kind stay in their order; numbers are Digits, which keep
 * the text as it was written. JSON.parse would round long numbers.
 */

const DEEPEST = 200;
const BLANK = /[ \t\n\r]*/y;
const TOKEN =
  /([{}[\]:,])|("[^"\\\u0000-\u001f]*(?:\\.[^"\\\u0000-\u001f]*)*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null)/y;
const WORDS = { true: true, false: false, null: null };

export const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

export class Digits {
  constructor(text) {
    this.text = text;
  }
}

/* What is wrong with a text, and the line where. */
export class JsonFault extends Error {
  constructor(detail, text, at) {
    const line = text.slice(0, at).split("\n").length;
    super(`Line ${line}: ${detail}`);
    this.line = line;
  }
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.advance();
  }

  fault(detail) {
    return new JsonFault(detail, this.text, this.start);
  }

  advance() {
    BLANK.lastIndex = this.at;
    BLANK.exec(this.text);
    this.start = this.at = BLANK.lastIndex;
    this.mark = this.token = undefined;
    if (this.at === this.text.length) {
      this.mark = "end";
      return;
    }
    TOKEN.lastIndex = this.at;
    const match = TOKEN.exec(this.text);
    if (match === null) {
      throw this.fault("this is not JSON.");
    }
    this.at = TOKEN.lastIndex;
    this.token = match[0];
    this.mark = match[1] || (match[2] !== undefined ? "string" : match[3] !== undefined ? "number" : "word");
  }

  take(mark) {
    if (this.mark !== mark) {
      throw this.fault(this.mark === "end" ? "the text ends too early." : `“${mark}” is missing here.`);
    }
    this.advance();
  }

  string() {
    try {
      return JSON.parse(this.token);
    } catch {
      throw this.fault("this string is not JSON.");
    }
  }

  value(depth) {
    if (depth > DEEPEST) {
      throw this.fault(`nested more than ${DEEPEST} deep.`);
    }
    if (this.mark === "{") {
      return this.object(depth);
    }
    if (this.mark === "[") {
      return this.array(depth);
    }
    let value;
    if (this.mark === "string") {
      value = this.string();
    } else if (this.mark === "number") {
      value = new Digits(this.token);
    } else if (this.mark === "word") {
      value = WORDS[this.token];
    } else {
      throw this.fault(this.mark === "end" ? "the text ends too early." : "a value is missing here.");
    }
    this.advance();
    return value;
  }

  object(depth) {
    const members = new Map();
    this.take("{");
    while (this.mark !== "}") {
      if (members.size) {
        this.take(",");
      }
      if (this.mark !== "string") {
        throw this.fault("a name in double quotes is missing here.");
      }
      const name = this.string();
      if (members.has(name)) {
        throw this.fault(`the name ${this.token} stands twice in one object.`);
      }
      this.advance();
      this.take(":");
      members.set(name, this.value(depth + 1));
    }
    this.take("}");
    return members;
  }

  array(depth) {
    const items = [];
    this.take("[");
    while (this.mark !== "]") {
      if (items.length) {
        this.take(",");
      }
      items.push(this.value(depth + 1));
    }
    this.take("]");
    return items;
  }
}

/* Throws JsonFault. */
export const parse = (text) => {
  const reader = new Reader(text);
  const value = reader.value(1);
  if (reader.mark !== "end") {
    throw reader.fault("the text goes on behind its end.");
  }
  return value;
};

export const write = (value, indent = "") => {
  const inner = `${indent}  `;
  if (value instanceof Digits) {
    return value.text;
  }
  if (value instanceof Map) {
    const members = [...value].map(([name, each]) => `${inner}${JSON.stringify(name)}: ${write(each, inner)}`);
    return members.length ? `{\n${members.join(",\n")}\n${indent}}` : "{}";
  }
  if (Array.isArray(value)) {
    const items = value.map((each) => `${inner}${write(each, inner)}`);
    return items.length ? `[\n${items.join(",\n")}\n${indent}]` : "[]";
  }
  return JSON.stringify(value);
};

export const same = (one, other) => one !== undefined && other !== undefined && write(one) === write(other);
