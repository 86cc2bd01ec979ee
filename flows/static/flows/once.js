/* A form with a token (`{% once %}`) is sent once: not by the second click of a double click, nor by
 * Enter that is pressed twice. The server takes it once as well; this spares the second request. */

(() => {
    "use strict";

    const TOKEN = "input[name='_once']";
    // Afterwards it is sent again: the answer may never have come.
    const PATIENCE_MS = 15_000;
    const sent = new WeakMap();

    const wasSent = (form) => performance.now() - (sent.get(form) ?? -Infinity) < PATIENCE_MS;
    const isOnce = (form) => form instanceof HTMLFormElement && form.querySelector(TOKEN) !== null;

    // Forms that htmx does not send.
    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (!isOnce(form) || form.hasAttribute("hx-post") || event.defaultPrevented) return;
        if (wasSent(form)) event.preventDefault();
        else sent.set(form, performance.now());
    });

    document.addEventListener("htmx:beforeRequest", (event) => {
        const form = event.detail.elt;
        if (!isOnce(form)) return;
        if (wasSent(form)) event.preventDefault();
        else sent.set(form, performance.now());
    });

    // A form that was refused is corrected and sent again. After a redirect the page is about to go.
    document.addEventListener("htmx:afterRequest", ({ detail }) => {
        const leaves = detail.xhr?.getResponseHeader("HX-Redirect") ?? detail.xhr?.getResponseHeader("HX-Refresh");
        if (!leaves) sent.delete(detail.elt);
    });

    // A page that comes back from the browser's memory is sent anew.
    window.addEventListener("pageshow", ({ persisted }) => {
        if (persisted) for (const form of document.forms) sent.delete(form);
    });
})();
