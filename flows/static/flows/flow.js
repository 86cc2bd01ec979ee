/* The page of a flow: opens the side panel, moves cards, says what happened. */

(() => {
    "use strict";

    const PANEL = "flow-panel-content";
    const isRefused = (xhr) => ["refused", "conflict"].includes(xhr.getResponseHeader("X-Form-Outcome"));
    const byId = (id) => document.getElementById(id);

    const announce = (text) => {
        const place = byId("flow-announce");
        if (place) place.textContent = text;
    };

    /* The element that gets the focus when the cards are there anew. */
    let focusNext = "";

    class Panel {
        constructor(dialog) {
            this.dialog = dialog;
            this.unsaved = dialog.querySelector(".flow-panel__unsaved");
            this.isChanged = false;
            dialog.addEventListener("cancel", (event) => {
                event.preventDefault();
                this.leave();
            });
            dialog.addEventListener("click", ({ target }) => {
                if (target === dialog || target.closest("[data-close]")) this.leave();
                if (target.closest("[data-keep]")) this.unsaved.hidden = true;
                if (target.closest("[data-discard]")) this.close();
            });
            dialog.addEventListener("input", ({ isTrusted, target }) => {
                if (isTrusted || target.closest("textarea")) this.isChanged = true;
            });
            window.addEventListener("beforeunload", (event) => {
                if (this.isChanged) event.preventDefault();
            });
            document.addEventListener("engine:leaves", () => this.saved());
        }

        load(url) {
            htmx.ajax("GET", url, { target: `#${PANEL}`, swap: "innerHTML" });
        }

        show() {
            this.saved();
            if (!this.dialog.open) this.dialog.showModal();
            this.dialog.scrollTop = 0;
            const first = this.dialog.querySelector("[data-step-name]") || this.dialog.querySelector("[role=tab], button");
            if (first) first.focus();
        }

        saved() {
            this.isChanged = false;
            this.unsaved.hidden = true;
        }

        leave() {
            if (!this.isChanged) {
                this.close();
                return;
            }
            this.unsaved.hidden = false;
            this.unsaved.querySelector("button").focus();
        }

        close() {
            this.saved();
            if (this.dialog.open) this.dialog.close();
            const back = this.dialog.querySelector("[data-back]");
            if (back && byId(back.dataset.back)) byId(back.dataset.back).focus();
            byId(PANEL).replaceChildren();
        }
    }

    /* Tabs: the arrow keys go from one to the next. */
    const connectTabs = (root) => {
        const tabs = [...root.querySelectorAll("[role=tab]")];
        const select = (tab) => {
            for (const each of tabs) {
                each.setAttribute("aria-selected", each === tab);
                each.tabIndex = each === tab ? 0 : -1;
                byId(each.getAttribute("aria-controls")).hidden = each !== tab;
            }
        };
        tabs.forEach((tab, place) => {
            tab.addEventListener("click", () => select(tab));
            tab.addEventListener("keydown", ({ key }) => {
                const way = { ArrowRight: 1, ArrowLeft: -1 }[key];
                if (!way) return;
                const next = tabs[(place + way + tabs.length) % tabs.length];
                select(next);
                next.focus();
            });
        });
        const selected = tabs.find((tab) => tab.getAttribute("aria-selected") === "true");
        if (selected) select(selected);
    };

    /* As the server makes the names of a new script and a new queue. */
    const slug = (text) =>
        text.normalize("NFKC").toLowerCase().replace(/[^\p{L}\p{N}_\s-]/gu, "").trim().replace(/[-\s]+/g, "-").replace(/^[-_]+|[-_]+$/g, "");

    const connectNewStep = (form) => {
        const name = form.querySelector("[data-step-name]");
        const defaults = [...form.querySelectorAll("[data-default-name]")];
        const fill = () => {
            const step = slug(name.value) || "step";
            const flow = [...form.dataset.newStep.replace(/[\s/]+/g, "-")].slice(0, Math.max(99 - step.length, 0)).join("");
            for (const field of defaults) {
                field.placeholder = `${flow}-${step}`.slice(0, 100);
            }
        };
        name.addEventListener("input", fill);
        fill();
        for (const choice of form.querySelectorAll(".flow-choice")) {
            const show = () => {
                const chosen = choice.querySelector("input[type=radio]:checked");
                for (const part of choice.querySelectorAll("[data-when]")) {
                    part.hidden = chosen !== null && part.dataset.when !== chosen.value;
                }
            };
            choice.addEventListener("change", show);
            show();
        }
        const firstCode = JSON.parse(byId("flow-first-code").textContent);
        const { language, code } = form.elements;
        language.addEventListener("change", () => {
            const isUntouched = Object.values(firstCode).includes(code.value);
            if (isUntouched && code.editor) code.editor.setValue(firstCode[language.value], -1);
        });
    };

    const connect = (root) => {
        for (const panes of root.querySelectorAll("[data-panes]")) connectTabs(panes);
        for (const form of root.querySelectorAll("[data-new-step]")) connectNewStep(form);
    };

    /* A card that is pressed at its grip is about to be dragged: a new card in its place would stay. */
    const isBusy = () =>
        document.body.classList.contains("sorting") || document.querySelector(".flow-grip:active, .flow-menu__button[aria-expanded=true]");

    const start = () => {
        const dialog = byId("flow-panel");
        const panel = dialog && new Panel(dialog);
        connect(document);

        document.addEventListener("click", (event) => {
            const link = event.target.closest("a[data-panel]");
            if (link && panel && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
                event.preventDefault();
                panel.load(link.href);
            }
        });

        document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
            // A live answer does not take away what the user holds.
            const { triggeringEvent, verb } = detail.requestConfig;
            const isChange = triggeringEvent && triggeringEvent.type === "flow:changed";
            const isLive = verb === "get" && detail.target.id === "flow-steps" && !isChange;
            if (isLive && isBusy()) detail.shouldSwap = false;
        });

        document.body.addEventListener("htmx:afterSwap", ({ detail }) => {
            const { target, requestConfig } = detail;
            if (!panel || !dialog.contains(target)) return;
            if (window.scriptEditor) window.scriptEditor.enhance(target, dialog);
            if (target.id === PANEL) connect(target);
            if (target.id === PANEL && (requestConfig.verb === "get" || !dialog.open)) panel.show();
            else if (!isRefused(detail.xhr)) panel.saved();
            const bad = target.querySelector(".flow-field--bad input, .flow-field--bad select");
            if (bad) bad.focus();
        });

        document.body.addEventListener("htmx:afterSettle", () => {
            const next = focusNext && byId(focusNext);
            if (next) {
                focusNext = "";
                next.focus();
            }
        });

        document.body.addEventListener("flow:announce", ({ detail }) => {
            announce(detail.text);
        });
        document.body.addEventListener("flow:close", ({ detail }) => {
            focusNext = detail.focus || "";
            panel.close();
        });
    };

    window.flowPage = {
        dropped(step, place) {
            const form = byId("flow-move");
            const button = form.querySelector("button") || form.appendChild(document.createElement("button"));
            button.name = "move";
            button.value = `${step}:${place}`;
            button.hidden = true;
            // htmx sends the name of a button that was clicked.
            button.click();
        },
        next(menu, way) {
            const items = [...menu.querySelectorAll("button:not([disabled]), a")];
            const place = items.indexOf(document.activeElement);
            items[(place + way + items.length) % items.length].focus();
        },
    };

    document.addEventListener("DOMContentLoaded", start);
})();
