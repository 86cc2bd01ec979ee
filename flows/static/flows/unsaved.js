/* Asks before a page is left whose form has changes that are not saved, and only then.
 *
 * The form as it is now is compared with the form before the user's first action: until then, scripts
 * of the page may fill, order and lay out fields. A form with `data-unsaved` holds changes from the
 * start, as does one with such an element in it: it was sent and not saved. */

(() => {
    "use strict";

    const FORMS = "form[method='post'][novalidate]";
    const ACTIONS = ["pointerdown", "keydown", "beforeinput", "paste", "drop"];
    const LEFT_OUT = new Set(["csrfmiddlewaretoken", "_seen", "_seen_fields"]);

    /* Another layout of the same JSON is no change. */
    const plain = (form, name, value) => {
        if (value instanceof File) return value.name;
        const field = form.elements[name];
        if (!(field instanceof HTMLTextAreaElement)) return value;
        const text = value.replace(/\r\n/g, "\n");
        if (!("parameters" in field.dataset) && field.dataset.editor !== "json") return text;
        try {
            return text.trim() ? JSON.stringify(JSON.parse(text)) : "{}";
        } catch {
            return text;
        }
    };

    const state = (form) =>
        JSON.stringify(
            [...new FormData(form)]
                .filter(([name]) => !LEFT_OUT.has(name))
                .map(([name, value]) => [name, plain(form, name, value)]),
        );

    class Guard {
        constructor(form) {
            this.form = form;
            this.isSent = false;
            this.before = form.matches("[data-unsaved]") || form.querySelector("[data-unsaved]") ? "" : null;
        }

        begin() {
            this.before ??= state(this.form);
        }

        get isChanged() {
            return !this.isSent && this.before !== null && this.before !== state(this.form);
        }
    }

    const init = () => {
        const guards = [...document.querySelectorAll(FORMS)].map((form) => new Guard(form));
        if (!guards.length) return;
        const begin = () => {
            guards.forEach((guard) => guard.begin());
            ACTIONS.forEach((name) => document.removeEventListener(name, begin, true));
        };
        ACTIONS.forEach((name) => document.addEventListener(name, begin, true));
        // After all others that listen: a script of the page may have prevented it. htmx does, and sends.
        window.addEventListener("submit", ({ target, defaultPrevented }) => {
            if (defaultPrevented && !target.hasAttribute("hx-post")) return;
            guards.filter(({ form }) => form === target).forEach((guard) => { guard.isSent = true; });
        });
        document.addEventListener("click", ({ target }) => {
            if (target.closest("[data-leaves]")) guards.forEach((guard) => { guard.isSent = true; });
        });
        window.addEventListener("beforeunload", (event) => {
            if (guards.some((guard) => guard.isChanged)) event.preventDefault();
        });
        // A page that comes back from the browser's memory is as it was left.
        window.addEventListener("pageshow", ({ persisted }) => {
            if (persisted) guards.forEach((guard) => { guard.isSent = false; });
        });
    };

    document.addEventListener("DOMContentLoaded", init);
})();
