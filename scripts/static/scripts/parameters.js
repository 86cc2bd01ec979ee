/* Shows a text area with a JSON Schema as a table: name, type, mandatory.
 *
 * The text area stays what the form sends. The table writes into it when it is edited, and is made
 * anew when the text changes; keywords that it has no column for are kept and listed. A schema that
 * is more than an object with properties is left to the text area alone.
 */

(() => {
    "use strict";

    const TYPES = ["string", "number", "integer", "boolean", "object", "array"];
    // Keywords of the schema that the table may leave out: they do not describe parameters.
    const SILENT = ["$schema", "$id", "$comment", "title", "description", "examples", "default"];
    const MORE_THAN_A_TABLE = "This schema says more than the table can show, so it is edited as JSON.";
    const NOT_AN_OBJECT = "This is no JSON object yet.";

    const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

    /* Whether JavaScript would write the schema's numbers, names and their order as they are: it
     * rounds, sorts names that are numbers, takes __proto__ for something else, and drops the first
     * of two members of one name. */
    const wouldStay = (schema, text) => {
        const outside = text.replace(/"(?:\\.|[^"\\])*"/g, '""');
        const numbers = outside.match(/-?\d[\d.eE+-]*/g) || [];
        const colons = (json) => json.replace(/"(?:\\.|[^"\\])*"/g, '""').split(":").length;
        return (
            numbers.every((number) => String(Number(number)) === number) &&
            colons(text) === colons(JSON.stringify(schema)) &&
            !/__proto__/.test(text) &&
            !/"\d+"\s*:/.test(text)
        );
    };

    /* The schema as rows, or null where the table cannot show all of it. */
    const rowsOf = (schema, text) => {
        const { type = "object", properties = {}, required = [], ...rest } = schema;
        const isExact = wouldStay(schema, text);
        const known = Object.keys(rest).every(
            (key) => SILENT.includes(key) || (key === "additionalProperties" && typeof rest[key] === "boolean"),
        );
        const fits =
            isExact &&
            known &&
            type === "object" &&
            isObject(properties) &&
            Array.isArray(required) &&
            required.every((name) => Object.hasOwn(properties, name)) &&
            Object.values(properties).every(
                (each) => isObject(each) && (each.type === undefined || TYPES.includes(each.type)),
            );
        if (!fits) {
            return null;
        }
        return Object.entries(properties).map(([name, { type: kind = "", ...more }]) => ({
            name,
            type: kind,
            mandatory: required.includes(name),
            more,
        }));
    };

    const read = (text) => {
        if (!text.trim()) {
            return { schema: {}, rows: [] };
        }
        let schema;
        try {
            schema = JSON.parse(text);
        } catch {
            return { note: NOT_AN_OBJECT };
        }
        if (!isObject(schema)) {
            return { note: NOT_AN_OBJECT };
        }
        const rows = rowsOf(schema, text);
        return rows ? { schema, rows } : { note: MORE_THAN_A_TABLE };
    };

    /* The rows as JSON text; keywords of the schema itself are kept. */
    const write = (schema, rows) => {
        const { type, properties, required, ...rest } = schema;
        const named = rows.filter((row) => row.name);
        if (!named.length && !Object.keys(rest).length) {
            return "{}";
        }
        const written = { ...rest, type: "object" };
        written.properties = Object.fromEntries(
            named.map((row) => [row.name, { ...(row.type ? { type: row.type } : {}), ...row.more }]),
        );
        const mandatory = named.filter((row) => row.mandatory).map((row) => row.name);
        if (mandatory.length) {
            written.required = mandatory;
        }
        return JSON.stringify(written, null, 2);
    };

    const element = (tag, properties = {}, ...children) => {
        const made = Object.assign(document.createElement(tag), properties);
        made.append(...children);
        return made;
    };

    const icon = (name) => element("span", { className: "material-symbols-outlined", textContent: name, ariaHidden: "true" });

    const typeSelect = (row) => {
        const select = element("select", { ariaLabel: "Type" });
        for (const type of [...TYPES, ""]) {
            select.append(element("option", { value: type, textContent: type || "any" }));
        }
        select.value = row.type;
        return select;
    };

    const summary = (more) =>
        Object.entries(more)
            .map(([key, value]) => `${key}: ${JSON.stringify(value)}`)
            .join(", ");

    class Parameters {
        constructor(area) {
            this.area = area;
            this.body = element("tbody");
            this.empty = element("p", { className: "parameters-note", textContent: "Any payload is accepted." });
            this.note = element("p", { className: "parameters-note" });
            this.table = this.makeTable();
            this.addButton = element("button", { type: "button", className: "parameters-add" }, icon("add"), "Add parameter");
            this.pane = element("div", { className: "parameters-pane" }, this.table, this.empty, this.addButton);
            this.tabs = { table: this.makeTab("Table"), json: this.makeTab("JSON") };
            const bar = element("div", { className: "parameters-tabs", role: "tablist" }, this.tabs.table, this.tabs.json);
            area.before(element("div", { className: "parameters" }, bar, this.note, this.pane));
            this.listen();
            this.refresh();
            this.show(this.rows ? "table" : "json");
        }

        makeTable() {
            const titles = ["Name", "Type", "Mandatory", "Further rules", ""];
            const head = element("tr", {}, ...titles.map((title) => element("th", { textContent: title, scope: "col" })));
            return element("table", {}, element("thead", {}, head), this.body);
        }

        makeTab(title) {
            return element("button", { type: "button", role: "tab", textContent: title });
        }

        listen() {
            for (const [name, tab] of Object.entries(this.tabs)) {
                tab.addEventListener("click", () => this.show(name));
            }
            this.addButton.addEventListener("click", () => this.add());
            this.area.addEventListener("input", () => this.refresh());
            // The form was reset, or a script has set the value.
            this.area.form?.addEventListener("reset", () => setTimeout(() => this.refresh()));
            this.area.addEventListener("change", () => this.refresh());
        }

        /* Show the text in the table. */
        refresh() {
            if (this.area.value === this.written) {
                return;
            }
            const { schema, rows, note } = read(this.area.value);
            this.written = this.area.value;
            this.schema = schema;
            this.rows = rows;
            this.note.textContent = note || "";
            this.note.hidden = !note;
            this.tabs.table.disabled = !rows;
            if (rows) {
                this.draw();
            } else {
                this.show("json");
            }
        }

        show(name) {
            if (name === "json" && this.rows) {
                // The fault of the table is gone. Left on a hidden field, it would stop the form from being sent.
                this.written = undefined;
                this.refresh();
            }
            for (const [each, tab] of Object.entries(this.tabs)) {
                tab.ariaSelected = String(each === name);
            }
            this.pane.hidden = name !== "table";
            this.area.hidden = name === "table";
        }

        draw() {
            this.body.replaceChildren(...this.rows.map((row) => this.drawRow(row)));
            this.table.hidden = !this.rows.length;
            this.empty.hidden = this.rows.length > 0;
        }

        drawRow(row) {
            const name = element("input", { type: "text", value: row.name, ariaLabel: "Name", autocomplete: "off", spellcheck: false });
            const type = typeSelect(row);
            const mandatory = element("input", { type: "checkbox", checked: row.mandatory, ariaLabel: "Mandatory" });
            const remove = element("button", { type: "button", className: "parameters-remove", ariaLabel: "Remove", title: "Remove" }, icon("delete"));
            name.addEventListener("input", () => this.change(row, { name: name.value.trim() }));
            type.addEventListener("change", () => this.change(row, { type: type.value }));
            mandatory.addEventListener("change", () => this.change(row, { mandatory: mandatory.checked }));
            remove.addEventListener("click", () => this.remove(row));
            row.input = name;
            const more = element("td", { className: "parameters-more", textContent: summary(row.more), title: summary(row.more) });
            return element("tr", {}, ...[name, type, mandatory].map((each) => element("td", {}, each)), more, element("td", {}, remove));
        }

        add() {
            const row = { name: "", type: "string", mandatory: true, more: {} };
            this.rows.push(row);
            this.draw();
            row.input.focus();
        }

        remove(row) {
            this.rows.splice(this.rows.indexOf(row), 1);
            this.draw();
            this.save();
        }

        change(row, values) {
            Object.assign(row, values);
            this.save();
        }

        /* Write the rows into the text. Of two rows with one name only the first can be in it. */
        save() {
            const names = this.rows.map((row) => row.name);
            const isRepeated = (row, index) => row.name !== "" && names.indexOf(row.name) !== index;
            this.rows.forEach((row, index) => {
                row.input.title = isRepeated(row, index) ? "Another parameter has this name." : "";
                row.input.setCustomValidity(row.input.title);
            });
            const kept = this.rows.filter((row, index) => !isRepeated(row, index));
            this.area.value = this.written = write(this.schema, kept);
            // For listeners of the form, such as the warning about unsaved changes.
            this.area.dispatchEvent(new Event("input", { bubbles: true }));
            this.area.dispatchEvent(new Event("change", { bubbles: true }));
        }
    }

    document.addEventListener("DOMContentLoaded", () => {
        document.querySelectorAll("textarea[data-parameters]").forEach((area) => new Parameters(area));
    });
})();
