/* Says when a button or a form that htmx sends was not answered as it should be.

htmx shows no answer that is an error. Live parts say it themselves (live.js), and of a session that
has ended the login page tells (drafts.js).
*/
(() => {
  "use strict";

  const LONGEST = 500;
  const NOTE = "not-answered";
  const LOOK = "Look whether it was done before you repeat it.";
  const UNREACHED = `The server does not answer. ${LOOK}`;
  const [NOT_DONE, LOAD] = ["It was not done", "Load the page again."];
  const NOT_KNOWN = "It is not known whether it was done";

  const isLive = (source) => source instanceof Element && source.matches("[data-live]");
  // The server itself has the page loaded anew.
  const leaves = (xhr) => ["HX-Refresh", "HX-Redirect"].some((name) => xhr.getResponseHeader(name));

  const told = ({ xhr, requestConfig }) => {
    const isText = (xhr.getResponseHeader("Content-Type") ?? "").startsWith("text/plain");
    const text = isText ? xhr.responseText.trim().slice(0, LONGEST) : "";
    // 503 says that nothing was stored; of other errors of the server it is not known.
    const isKnown = xhr.status < 500 || xhr.status === 503 || requestConfig.verb === "get";
    return text || `${isKnown ? NOT_DONE : NOT_KNOWN}: the server answered ${xhr.status}. ${isKnown ? LOAD : LOOK}`;
  };

  const remove = () => document.querySelector(`.${NOTE}`)?.remove();

  // What is behind an open dialog can be neither read nor pressed.
  const place = () =>
    [...document.querySelectorAll("dialog[open], [role=dialog]")].findLast(
      (each) => each.getClientRects().length > 0,
    ) ?? document.body;

  const show = (text) => {
    remove();
    const note = document.createElement("div");
    note.className = NOTE;
    note.setAttribute("role", "alert");
    const words = document.createElement("p");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", remove);
    note.append(words, close);
    place().append(note);
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isLive(event.detail.elt)) {
      remove();
    }
  });

  document.addEventListener("htmx:responseError", ({ detail }) => {
    if (!isLive(detail.elt) && !leaves(detail.xhr)) {
      show(told(detail));
    }
  });

  for (const failure of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, ({ detail }) => {
      if (!isLive(detail.elt)) {
        show(UNREACHED);
      }
    });
  }
})();
