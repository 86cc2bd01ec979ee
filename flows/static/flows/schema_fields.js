/* The fields of a form that is made from a JSON Schema: each shows one value and reads it back.
 *
 * A value of `undefined` is a member that is not there. What a field cannot show is a text field
 * with the JSON of that part. All text goes into the page by textContent.
 */

import { Digits, JsonFault, NUMBER, parse, same, write } from "./exact_json.js";

const DEEPEST = 8;
// A longer array is edited as JSON.
const MOST_ITEMS = 100;
const KINDS = ["object", "array", "string", "number", "integer", "boolean"];
const COMBINING = ["oneOf", "anyOf", "allOf", "not", "if", "$ref", "$dynamicRef", "patternProperties", "dependentSchemas"];
const INPUT_TYPES = { date: "date", email: "email", "idn-email": "email", uri: "url", iri: "url" };
const NAME = /^[\p{L}_][\p{L}\p{N}_]*$/u;
const DAY = /^\d{4}-\d\d-\d\d$/;
const ZONED = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/;

export const make = (name, className, text) => {
  const element = document.createElement(name);
  if (className) {
    element.className = className;
  }
  if (text !== undefined) {
    element.textContent = text;
  }
  return element;
};

export const pathStep = (step) =>
  typeof step === "number" ? `[${step}]` : NAME.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;

const icon = (name) => {
  const mark = make("span", "material-symbols-outlined", name);
  mark.setAttribute("aria-hidden", "true");
  return mark;
};

const button = (className, symbol, text, onClick) => {
  const made = make("button", `start-button ${className}`);
  made.type = "button";
  made.append(icon(symbol), make("span", "", text));
  made.addEventListener("click", onClick);
  return made;
};

const asText = (value) => (typeof value === "string" ? value : write(value).replace(/\s+/g, " "));

const pad = (number, width = 2) => String(number).padStart(width, "0");

/* A moment as `datetime-local` has it, in the zone of the browser. */
export const localTime = (moment) =>
  `${pad(moment.getFullYear(), 4)}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}` +
  `T${pad(moment.getHours())}:${pad(moment.getMinutes())}` +
  (moment.getSeconds() ? `:${pad(moment.getSeconds())}` : "");

export const utcTime = (local) => {
  const moment = new Date(local);
  return Number.isNaN(moment.getTime()) ? "" : moment.toISOString().replace(".000Z", "Z");
};

// --- schemas ---------------------------------------------------------------------------------------

const get = (schema, key) => (schema instanceof Map ? schema.get(key) : undefined);
const number = (schema, key) => {
  const value = get(schema, key);
  return value instanceof Digits ? Number(value.text) : undefined;
};

const pointed = (root, reference) => {
  if (reference === "#") {
    return root;
  }
  if (!reference.startsWith("#/")) {
    return undefined;
  }
  let pointer;
  try {
    pointer = decodeURIComponent(reference.slice(2));
  } catch {
    return undefined;
  }
  const parts = pointer.split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return parts.reduce((schema, part) => get(schema, part), root);
};

/* The schema that a field shows: references followed, "or null" taken out; null if there is none. */
const resolved = (root, schema, trail = []) => {
  if (!(schema instanceof Map)) {
    return null;
  }
  const reference = schema.get("$ref");
  if (typeof reference === "string") {
    const target = trail.includes(reference) ? undefined : pointed(root, reference);
    if (!(target instanceof Map)) {
      return null;
    }
    const merged = new Map([...target, ...[...schema].filter(([key]) => key !== "$ref")]);
    return resolved(root, merged, [...trail, reference]);
  }
  for (const key of ["anyOf", "oneOf"]) {
    const choices = schema.get(key);
    const others = Array.isArray(choices) ? choices.filter((each) => get(each, "type") !== "null") : [];
    if (others.length === 1 && choices.length === 2) {
      const rest = [...schema].filter(([each]) => each !== key);
      const found = resolved(root, new Map([...(others[0] instanceof Map ? others[0] : []), ...rest]), trail);
      return found && { ...found, isNullable: true };
    }
  }
  return { schema, trail, isNullable: false };
};

const kindOf = (schema) => {
  if (Array.isArray(schema.get("enum")) || schema.has("const")) {
    return { kind: "enum", isNullable: false };
  }
  let type = schema.get("type");
  let isNullable = false;
  if (Array.isArray(type)) {
    const others = type.filter((each) => each !== "null");
    isNullable = others.length < type.length;
    type = others.length === 1 ? others[0] : undefined;
  }
  if (type === undefined && schema.get("properties") instanceof Map) {
    type = "object";
  }
  if (!KINDS.includes(type)) {
    return { kind: "json", isNullable };
  }
  const isOpen = COMBINING.some((key) => schema.has(key));
  if (type === "object" && !(schema.get("properties") instanceof Map && schema.get("properties").size)) {
    return { kind: "json", isNullable };
  }
  if (type === "array" && (isOpen || schema.has("prefixItems") || !(schema.get("items") instanceof Map))) {
    return { kind: "json", isNullable };
  }
  return { kind: isOpen && type !== "object" ? "json" : type, isNullable };
};

/* What a member that is added begins with. */
const beginning = (form, schema, trail, depth = 0) => {
  const found = depth > DEEPEST ? null : resolved(form.root, schema, trail);
  if (found === null) {
    return undefined;
  }
  const given = found.schema;
  for (const key of ["default", "const", "example"]) {
    if (given.has(key)) {
      return given.get(key);
    }
  }
  if (Array.isArray(given.get("examples")) && given.get("examples").length) {
    return given.get("examples")[0];
  }
  const { kind } = kindOf(given);
  if (kind === "array") {
    return [];
  }
  if (kind === "object") {
    const required = given.get("required") || [];
    const members = [...given.get("properties")].filter(([name]) => required.includes(name));
    const values = members.map(([name, each]) => [name, beginning(form, each, found.trail, depth + 1)]);
    return new Map(values.filter(([, value]) => value !== undefined));
  }
  return { string: "", boolean: false }[kind];
};

const hintsOf = (schema, kind) => {
  const hints = [];
  const [low, high] = [get(schema, "minimum"), get(schema, "maximum")].map((each) => each && each.text);
  if (low && high) hints.push(`${low} to ${high}`);
  else if (low) hints.push(`at least ${low}`);
  else if (high) hints.push(`at most ${high}`);
  const above = schema.get("exclusiveMinimum");
  const below = schema.get("exclusiveMaximum");
  if (above instanceof Digits) hints.push(`more than ${above.text}`);
  if (below instanceof Digits) hints.push(`less than ${below.text}`);
  const multiple = schema.get("multipleOf");
  if (multiple instanceof Digits) hints.push(`in steps of ${multiple.text}`);
  const [shortest, longest] = [number(schema, "minLength"), number(schema, "maxLength")];
  if (kind === "string" && shortest !== undefined && shortest === longest) hints.push(`${longest} characters`);
  else if (kind === "string") {
    if (shortest !== undefined && shortest > 1) hints.push(`at least ${shortest} characters`);
    if (longest !== undefined) hints.push(`at most ${longest} characters`);
  }
  if (typeof schema.get("pattern") === "string") hints.push(`pattern ${schema.get("pattern")}`);
  const [fewest, most] = [number(schema, "minItems"), number(schema, "maxItems")];
  if (kind === "array" && fewest) hints.push(`at least ${fewest}`);
  if (kind === "array" && most !== undefined) hints.push(`at most ${most}`);
  return hints;
};

// --- fields ----------------------------------------------------------------------------------------

class Field {
  constructor(form, spec, value) {
    Object.assign(this, { form, ...spec });
    this.was = value;
    this.id = `start-field-${form.nextId()}`;
    this.faults = make("ul", "start-faults");
    this.faults.id = `${this.id}-faults`;
    this.faults.hidden = true;
    this.broken = "";
    form.fields.set(this.path, this);
  }

  get title() {
    const title = get(this.schema, "title");
    return this.label || (typeof title === "string" && title) || String(this.name);
  }

  /* The label's content: title, mark of a required field, and the name in the JSON where it is another. */
  heading() {
    const parts = [make("span", "start-title", this.title)];
    if (this.isRequired && !this.isItem) {
      const mark = make("span", "start-required", "*");
      mark.title = "required";
      mark.setAttribute("aria-hidden", "true");
      parts.push(mark);
    }
    if (typeof this.name === "string" && this.title !== this.name) {
      parts.push(make("code", "start-name", this.name));
    }
    return parts;
  }

  help() {
    const description = get(this.schema, "description");
    const hints = this.schema instanceof Map ? hintsOf(this.schema, this.kind) : [];
    const texts = [typeof description === "string" ? description : "", hints.join(", ")].filter(Boolean);
    if (!texts.length) {
      return null;
    }
    const help = make("p", "start-help", texts.join(" · "));
    help.id = `${this.id}-help`;
    return help;
  }

  /* Label, control, help and faults below each other. */
  row(control) {
    const row = make("div", "start-field");
    const label = make("label", "start-label");
    label.htmlFor = this.id;
    label.append(...this.heading());
    control.id = this.id;
    this.control = control;
    const help = this.help();
    this.describe(help);
    if (this.isRequired && control.type !== "checkbox") {
      control.setAttribute("aria-required", "true");
    }
    row.append(label, control, ...(help ? [help] : []), this.faults);
    return row;
  }

  describe(help) {
    this.described = help ? help.id : "";
    this.control.setAttribute("aria-describedby", `${this.described} ${this.faults.id}`.trim());
  }

  show(texts) {
    this.faults.replaceChildren(...texts.map((text) => make("li", "", text)));
    this.faults.hidden = texts.length === 0;
    this.element.classList.toggle("start-refused", texts.length > 0);
    if (this.control && this.control.tagName !== "FIELDSET") {
      this.control.setAttribute("aria-invalid", String(texts.length > 0));
    }
  }

  /* A value that cannot be read: the form is not sent while there is one. */
  breaks(text) {
    if (text === this.broken) return;
    this.broken = text;
    this.show(text ? [text] : []);
  }

  /* What an empty control stands for. */
  empty() {
    if (this.isNullable && (this.isRequired || this.was === null)) {
      return null;
    }
    return undefined;
  }
}

class StringField extends Field {
  constructor(form, spec, value) {
    super(form, spec, value);
    const text = typeof value === "string" ? value : "";
    const format = this.schema.get("format");
    const most = number(this.schema, "maxLength");
    this.isMoment = format === "date-time" && (text === "" || (ZONED.test(text) && utcTime(text) !== ""));
    this.isFormatted = typeof format === "string";
    let control;
    if (/[\r\n]/.test(text) || most > 200 || this.schema.has("contentMediaType")) {
      control = make("textarea", "start-input");
      control.rows = 4;
    } else {
      control = make("input", "start-input");
      const type = INPUT_TYPES[format] || "text";
      control.type = this.isMoment ? "datetime-local" : type === "date" && text && !DAY.test(text) ? "text" : type;
      if (this.isMoment) {
        control.step = "1";
      }
    }
    control.value = this.isMoment && text ? localTime(new Date(text)) : text;
    control.autocomplete = "off";
    this.shown = control.value;
    this.element = this.row(control);
    if (this.isMoment) {
      this.moment = make("p", "start-help start-moment");
      control.after(this.moment);
      this.tellMoment();
    }
  }

  tellMoment() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const value = this.read();
    this.moment.textContent = typeof value === "string" && value ? `${zone} · sent as ${value}` : `${zone}`;
  }

  read() {
    const text = this.control.value;
    if (text === this.shown && this.was !== undefined) {
      return this.was === "" && this.isFormatted && !this.isRequired ? undefined : this.was;
    }
    if (text === "") {
      return this.isRequired && !this.isNullable && !this.isFormatted ? "" : this.empty();
    }
    return this.isMoment ? utcTime(text) || text : text;
  }

  changed() {
    if (this.isMoment) {
      this.tellMoment();
    }
  }
}

class NumberField extends Field {
  constructor(form, spec, value) {
    super(form, spec, value);
    const text = value instanceof Digits ? value.text : "";
    const control = make("input", "start-input start-number");
    // The arrow keys of a field for numbers would round a long one.
    const isExact = text === "" || String(Number(text)) === text;
    control.type = isExact ? "number" : "text";
    control.inputMode = this.kind === "integer" ? "numeric" : "decimal";
    const [low, high, step] = ["minimum", "maximum", "multipleOf"].map((key) => number(this.schema, key));
    if (isExact) {
      if (low !== undefined) control.min = low;
      if (high !== undefined) control.max = high;
      control.step = step || (this.kind === "integer" ? 1 : "any");
    }
    control.value = text;
    control.autocomplete = "off";
    this.element = this.row(control);
  }

  read() {
    const text = this.control.value.trim();
    const isBad = text === "" ? this.control.validity.badInput : false;
    if (text === "" && !isBad) {
      this.breaks("");
      return this.empty();
    }
    const digits = text.replace(/^\+/, "").replace(/^(-?)\./, "$10.").replace(/^(-?)0+(?=\d)/, "$1");
    if (isBad || !NUMBER.test(digits)) {
      this.breaks("This is not a number.");
      return this.was;
    }
    this.breaks("");
    return new Digits(digits);
  }
}

class BooleanField extends Field {
  constructor(form, spec, value) {
    super(form, spec, value);
    if (!this.isRequired || this.isNullable) {
      const control = make("select", "start-input");
      control.append(new Option("not given", ""), new Option("yes", "true"), new Option("no", "false"));
      control.value = typeof value === "boolean" ? String(value) : "";
      this.element = this.row(control);
      return;
    }
    const control = make("input", "start-check");
    control.type = "checkbox";
    control.checked = value === true;
    this.element = this.row(control);
    this.element.classList.add("start-field--check");
  }

  read() {
    if (this.control.type === "checkbox") {
      return this.control.checked;
    }
    return this.control.value === "" ? this.empty() : this.control.value === "true";
  }
}

class EnumField extends Field {
  constructor(form, spec, value) {
    super(form, spec, value);
    this.choices = this.schema.has("const") ? [this.schema.get("const")] : [...this.schema.get("enum")];
    if (value !== undefined && !this.choices.some((choice) => same(choice, value))) {
      this.choices.push(value);
    }
    const control = make("select", "start-input");
    const chosen = this.choices.findIndex((choice) => same(choice, value));
    if (!this.isRequired || chosen < 0) {
      control.append(new Option(this.isRequired ? "choose …" : "not given", ""));
    }
    this.choices.forEach((choice, index) => control.append(new Option(asText(choice), index)));
    control.value = chosen < 0 ? "" : String(chosen);
    this.element = this.row(control);
  }

  read() {
    return this.control.value === "" ? this.empty() : this.choices[Number(this.control.value)];
  }
}

/* The JSON of a part that no other field shows. */
class JsonField extends Field {
  constructor(form, spec, value) {
    super(form, spec, value);
    const control = make("textarea", "start-input start-json");
    control.spellcheck = false;
    control.value = value === undefined ? "" : write(value);
    control.rows = Math.min(12, Math.max(2, control.value.split("\n").length));
    this.element = this.row(control);
    this.element.querySelector("label").append(make("span", "start-kind", "JSON"));
  }

  read() {
    const text = this.control.value;
    if (!text.trim()) {
      this.breaks("");
      return undefined;
    }
    try {
      const value = parse(text);
      const isOff = this.mustBeObject && !(value instanceof Map);
      this.breaks(isOff ? "This must be a JSON object." : "");
      this.was = isOff ? this.was : value;
    } catch (error) {
      if (!(error instanceof JsonFault)) throw error;
      this.breaks(error.message);
    }
    return this.was;
  }
}

class Group extends Field {
  constructor(form, spec, value) {
    super(form, spec, value);
    this.element = make("fieldset", "start-group");
    this.control = this.element;
    this.legend = make("legend", "start-legend");
    this.legend.append(...this.heading());
    const help = this.help();
    this.body = make("div", "start-body");
    this.element.append(this.legend, ...(help ? [help] : []), this.body, this.faults);
    this.describe(help);
  }
}

class ObjectField extends Group {
  constructor(form, spec, value) {
    super(form, spec, value);
    this.isThere = value !== undefined || this.isRequired;
    this.fill(value instanceof Map ? value : new Map());
  }

  fill(value) {
    this.members = new Map();
    this.body.replaceChildren();
    if (!this.isThere) {
      const add = button("", "add", `Add ${this.title}`, () => {
        this.isThere = true;
        this.fill(beginning(this.form, this.schema, this.trail) || new Map());
        this.form.changed();
        this.body.querySelector("input, select, textarea, button")?.focus();
      });
      this.body.append(add);
      return;
    }
    this.order = [...value.keys()];
    const properties = this.schema.get("properties");
    const required = this.schema.get("required");
    for (const [name, schema] of properties) {
      const isRequired = Array.isArray(required) && required.includes(name);
      this.member(name, schema, value.get(name), isRequired);
    }
    this.more(new Map([...value].filter(([name]) => !properties.has(name))));
    if (!this.isRequired) {
      const remove = button("start-button--quiet", "close", `Leave out ${this.title}`, () => {
        this.isThere = false;
        this.fill(new Map());
        this.form.changed();
        this.body.querySelector("button")?.focus();
      });
      this.body.append(remove);
    }
  }

  member(name, schema, value, isRequired) {
    const spec = { name, schema, isRequired, path: this.path + pathStep(name), trail: this.trail, depth: this.depth + 1 };
    const field = fieldOf(this.form, spec, value);
    this.members.set(name, field);
    this.body.append(field.element);
  }

  /* Members that the schema does not name. */
  more(others) {
    this.others = null;
    const isClosed = this.schema.get("additionalProperties") === false;
    const isOpen = COMBINING.some((key) => this.schema.has(key)) || this.schema.get("additionalProperties") instanceof Map;
    if (!others.size && (isClosed || !isOpen)) {
      return;
    }
    const spec = {
      name: "",
      label: "Other members",
      schema: null,
      kind: "json",
      isRequired: false,
      mustBeObject: true,
      path: `${this.path} others`,
    };
    this.others = new JsonField(this.form, spec, others.size ? others : undefined);
    this.body.append(this.others.element);
  }

  read() {
    if (!this.isThere) {
      return this.was === null && this.isNullable ? null : undefined;
    }
    const values = new Map();
    for (const [name, field] of this.members) {
      values.set(name, field.read());
    }
    for (const [name, value] of (this.others && this.others.read()) || []) {
      values.set(name, value);
    }
    // Members stay in the order of the text.
    const names = [...this.order.filter((name) => values.has(name)), ...values.keys()];
    return new Map([...new Set(names)].map((name) => [name, values.get(name)]).filter(([, value]) => value !== undefined));
  }
}

class ArrayField extends Group {
  constructor(form, spec, value) {
    super(form, spec, value);
    this.values = Array.isArray(value) ? [...value] : [];
    this.fill();
  }

  fill() {
    this.items = [];
    this.body.replaceChildren();
    this.values.forEach((value, index) => this.item(value, index));
    const most = number(this.schema, "maxItems");
    const add = button("", "add", "Add an item", () => {
      this.values = this.items.map((item) => item.read());
      this.values.push(beginning(this.form, this.schema.get("items"), this.trail));
      this.refill();
      this.items.at(-1).element.querySelector("input, select, textarea, button")?.focus();
    });
    add.disabled = most !== undefined && this.values.length >= most;
    this.body.append(add);
  }

  refill() {
    this.form.forget(`${this.path}[`);
    this.fill();
    this.form.changed();
  }

  item(value, index) {
    const spec = {
      name: index,
      label: `${this.title} ${index + 1}`,
      schema: this.schema.get("items"),
      isRequired: true,
      isItem: true,
      path: this.path + pathStep(index),
      trail: this.trail,
      depth: this.depth + 1,
    };
    const field = fieldOf(this.form, spec, value);
    this.items.push(field);
    const remove = button("start-button--quiet start-remove", "delete", "Remove", () => {
      this.values = this.items.map((item) => item.read());
      this.values.splice(index, 1);
      this.refill();
      this.body.lastElementChild.focus();
    });
    remove.setAttribute("aria-label", `Remove ${field.title}`);
    const line = make("div", "start-item");
    line.append(field.element, remove);
    this.body.append(line);
  }

  read() {
    const values = this.items.map((item) => item.read());
    if (!values.length) {
      if (Array.isArray(this.was) || (this.isRequired && !this.isNullable)) return [];
      return this.empty();
    }
    // An empty item keeps its place: `null` is refused there, and not silently left out.
    return values.map((value) => (value === undefined ? null : value));
  }
}

const FIELDS = {
  object: ObjectField,
  array: ArrayField,
  string: StringField,
  number: NumberField,
  integer: NumberField,
  boolean: BooleanField,
  enum: EnumField,
  json: JsonField,
};

const FITS = {
  object: (value) => value instanceof Map,
  array: (value) => Array.isArray(value) && value.length <= MOST_ITEMS,
  string: (value) => typeof value === "string",
  number: (value) => value instanceof Digits,
  integer: (value) => value instanceof Digits,
  boolean: (value) => typeof value === "boolean",
};

/* The field for a value: by its schema, or its JSON where the schema or the value does not fit one. */
export const fieldOf = (form, spec, value) => {
  const found = spec.depth > DEEPEST ? null : resolved(form.root, spec.schema, spec.trail);
  if (found === null) {
    return new JsonField(form, { ...spec, kind: "json" }, value);
  }
  const { kind, isNullable } = kindOf(found.schema);
  const known = { ...spec, ...found, kind, isNullable: isNullable || found.isNullable };
  const fits = FITS[kind];
  const isEmpty = value === undefined || (value === null && known.isNullable);
  if (fits && !isEmpty && !fits(value)) {
    return new JsonField(form, { ...known, kind: "json" }, value);
  }
  if (kind === "object" && value === null) {
    return new ObjectField(form, { ...known, isRequired: false }, undefined);
  }
  return new FIELDS[kind](form, known, value);
};
