/* Turns text areas with data-editor into Ace. The text area stays: it is what the form sends. */

(() => {
    "use strict";

    const TAB_SIZES = { python: 4, javascript: 2, json: 2 };

    const isDark = () => document.documentElement.classList.contains("dark");
    const theme = () => `ace/theme/${isDark() ? "github_dark" : "github_light_default"}`;

    const setMode = (editor, mode) => {
        // The code of a callable is a dotted path.
        editor.session.setMode(`ace/mode/${mode === "callable" ? "text" : mode}`);
        editor.session.setTabSize(TAB_SIZES[mode] || 4);
        // JSHint knows neither top-level await nor the globals of scripts; the checker of JSON is right.
        editor.session.setUseWorker(mode === "json");
    };

    const make = (area) => {
        const box = document.createElement("div");
        box.className = "editor";
        box.style.setProperty("--rows", area.rows);
        area.before(box);
        // htmx gives the text area of a new part its own style and class back after this.
        area.hidden = true;
        const editor = ace.edit(box, {
            fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
            // Otherwise the tab key would never leave the editor: Escape leaves it, and Enter begins to edit.
            enableKeyboardAccessibility: true,
            fontSize: 13,
            scrollPastEnd: 0.2,
            showPrintMargin: false,
            theme: theme(),
            useSoftTabs: true,
            value: area.value,
        });
        new ResizeObserver(() => editor.resize()).observe(box);
        editor.clearSelection();
        editor.moveCursorTo(0, 0);
        editor.session.getUndoManager().reset();
        editor.textInput.getElement().setAttribute("aria-label", area.getAttribute("aria-label") || area.name || "code");
        return editor;
    };

    const connect = (area, editor, dialog) => {
        editor.session.on("change", () => {
            area.value = editor.getValue();
            // The warning about unsaved changes listens to this event.
            area.dispatchEvent(new Event("input", { bubbles: true }));
        });
        const language = (area.form || document).querySelector(`[name="${area.dataset.modeFrom}"]`);
        setMode(editor, (language && language.value) || area.dataset.editor);
        if (language) {
            language.addEventListener("change", () => setMode(editor, language.value));
        }
        ace.config.loadModule("ace/ext/language_tools", () => {
            editor.setOptions({ enableBasicAutocompletion: true });
            if (dialog) ace.require("ace/autocomplete").Autocomplete.for(editor).parentNode = dialog;
        });
    };

    const marks = new WeakMap();

    /* Mark lines as faulty: faults are {line, text}, lines count from 1. */
    const markFaults = (editor, faults) => {
        const session = editor.session;
        (marks.get(editor) || []).forEach((mark) => session.removeMarker(mark));
        const Range = ace.require("ace/range").Range;
        const known = faults.filter((fault) => fault.line && fault.line <= session.getLength());
        session.setAnnotations(
            known.map((fault) => ({ row: fault.line - 1, column: 0, text: fault.text, type: "error" })),
        );
        const rows = [...new Set(known.map((fault) => fault.line - 1))];
        marks.set(editor, rows.map((row) => session.addMarker(new Range(row, 0, row, 1), "editor-fault", "fullLine")));
    };

    /* Marks the lines that the server refused. On the page of a script, trial.js does it. */
    const markRefused = (area) => {
        const row = area.closest(".field-line, .flow-field");
        const texts = row ? [...row.querySelectorAll("li")].map((error) => error.textContent.trim()) : [];
        const faults = texts.map((text) => ({ line: Number(/^line (\d+): /.exec(text)?.[1]), text }));
        if (faults.length) markFaults(area.editor, faults);
    };

    /* Make editors of the text areas in a part of the page. A dialog has to hold their pop-ups. */
    const enhance = (root, dialog) => {
        for (const area of root.querySelectorAll("textarea[data-editor]")) {
            if (area.editor) continue;
            area.editor = make(area);
            connect(area, area.editor, dialog);
            markRefused(area);
        }
    };

    const init = () => {
        enhance(document);
        new MutationObserver(() => {
            const areas = document.querySelectorAll("textarea[data-editor]");
            areas.forEach((area) => area.editor && area.editor.setTheme(theme()));
            document.dispatchEvent(new CustomEvent("editor:theme", { detail: theme() }));
        }).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
    };

    window.scriptEditor = { enhance, markFaults, theme };
    document.addEventListener("DOMContentLoaded", init);
})();
