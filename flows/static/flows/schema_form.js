/* A form made from a JSON Schema, beside the JSON that is sent. Each follows the other.
 *
 * The page has `<section data-schema-form="ID of the text area">` with the schema in `data-schema`,
 * the places that the server refused in `data-refused`, and room for the form in `data-fields`.
 */

import { JsonFault, parse, write } from "./exact_json.js";
import { fieldOf, localTime, make, utcTime } from "./schema_fields.js";

const PAUSE = 250;

const readScript = (root, selector) => {
  const script = root.querySelector(`${selector} script`);
  return script ? parse(script.textContent) : undefined;
};

class SchemaForm {
  constructor(section) {
    this.section = section;
    this.area = document.getElementById(section.dataset.schemaForm);
    this.place = section.querySelector("[data-fields]");
    this.state = document.querySelector("[data-json-state]");
    this.root = readScript(section, "[data-schema]");
    this.ids = 0;
    this.isWriting = false;
    this.fields = new Map();
    // A schema that tells no fields leaves the page to the JSON alone.
    if (this.made(new Map()).kind === "json") {
      return;
    }
    this.follow();
    if (!this.field) {
      this.place.replaceChildren(make("p", "start-help", "The form appears when the JSON beside it can be read."));
    }
    section.hidden = false;
    this.listen();
    this.showFaults(readScript(section, "[data-refused]") || []);
  }

  nextId() {
    this.ids += 1;
    return this.ids;
  }

  made(value) {
    this.fields.clear();
    const spec = { name: "payload", label: "Payload", schema: this.root, path: "$", trail: [], depth: 0, isRequired: true };
    return fieldOf(this, spec, value);
  }

  listen() {
    this.place.addEventListener("input", (event) => {
      const field = [...this.fields.values()].find((each) => each.control === event.target);
      if (field) {
        field.show([]);
        field.changed?.();
      }
      this.changed();
    });
    let timer;
    this.area.addEventListener("input", () => {
      if (this.isWriting) return;
      clearTimeout(timer);
      timer = setTimeout(() => this.follow(), PAUSE);
    });
    this.area.form.addEventListener("submit", (event) => {
      const broken = [...this.fields.values()].find((field) => field.broken);
      if (broken && !this.place.inert) {
        event.preventDefault();
        broken.control.focus();
      }
    });
  }

  /* The form is made anew from the JSON. */
  follow() {
    try {
      const value = parse(this.area.value);
      if (!(value instanceof Map)) {
        throw new JsonFault("a JSON object is needed: { … }.", "", 0);
      }
      this.field = this.made(value);
      this.field.element.classList.add("start-root");
      this.place.replaceChildren(this.field.element);
      this.tell("");
    } catch (error) {
      if (!(error instanceof JsonFault)) throw error;
      this.tell(error.message);
    }
  }

  /* The JSON is written anew from the form. */
  changed() {
    const text = write(this.field.read());
    this.isWriting = true;
    if (this.area.editor) {
      this.area.editor.session.setValue(text);
    } else {
      this.area.value = text;
    }
    this.isWriting = false;
    this.tell("");
  }

  tell(fault) {
    this.place.inert = fault !== "";
    this.place.classList.toggle("start-stale", fault !== "");
    this.state.textContent = fault ? `${fault} The form waits until the JSON is mended.` : "In step with the form";
    this.state.classList.toggle("start-state--bad", fault !== "");
  }

  forget(prefix) {
    for (const path of this.fields.keys()) {
      if (path.startsWith(prefix)) this.fields.delete(path);
    }
  }

  /* Each fault is shown at its field, or at the nearest one around it. */
  showFaults(faults) {
    const texts = new Map();
    for (const fault of faults) {
      const [path, detail] = [fault.get("path") || "$", fault.get("detail")];
      const around = [...this.fields.keys()].filter(
        (each) => path === each || path.startsWith(`${each}.`) || path.startsWith(`${each}[`),
      );
      const place = around.sort((one, other) => other.length - one.length)[0];
      if (place === undefined) continue;
      const text = place === path || place === "$" ? detail : `${path}: ${detail}`;
      texts.set(place, [...(texts.get(place) || []), text]);
    }
    for (const [place, found] of texts) {
      this.fields.get(place).show(found);
    }
    const first = [...texts.keys()].map((place) => this.fields.get(place)).find((field) => field.path !== "$");
    first?.control?.scrollIntoView({ block: "center" });
  }
}

/* A time of the page's own: entered in the browser's zone, sent with its offset. */
const makeLocal = (input) => {
  const sent = make("input");
  sent.type = "hidden";
  sent.name = input.name;
  const given = input.getAttribute("value") || "";
  input.removeAttribute("name");
  // The server writes UTC.
  input.value = given ? localTime(new Date(`${given}Z`)) : input.value;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const help = document.querySelector(`[data-time-help="${input.id}"]`);
  const tell = () => {
    sent.value = input.value ? utcTime(input.value) : "";
    help.textContent = sent.value
      ? `${sent.value.replace("T", " ").replace("Z", "")} UTC. Entered in ${zone}.`
      : `${input.dataset.ifEmpty} Times are in ${zone}.`;
  };
  input.addEventListener("input", tell);
  input.after(sent);
  tell();
};

const begin = () => {
  document.querySelectorAll("[data-schema-form]").forEach((section) => new SchemaForm(section));
  document.querySelectorAll("[data-local-time]").forEach(makeLocal);
};

// The code editor takes the text area over when the document is ready; this comes after it.
if (document.readyState === "complete") begin();
else window.addEventListener("load", begin);
