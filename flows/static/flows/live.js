/* Live parts of pages.

A part is an element with `data-live`, `hx-get` and `hx-trigger="every 5s"`: htmx asks for it again
and again. This module

- asks for nothing while the page is hidden, and at once when it is shown again;
- leaves a part alone while a user types or selects text in it, or if it is inside an element with `data-live-hold`;
- leaves the focus where it was, and what was scrolled sideways as it was;
- asks no more where the part, or something in it, has `data-live-ended`, and then brings the
  header up to date, whose buttons were those of before the end;
- writes into the part since when it is not up to date, where an answer fails or is another page,
  such as the login page after a session has ended.
*/
(() => {
  "use strict";

  const PARTS = "[data-live]";
  const TIMEOUT_MS = 10_000;
  const STALE = "live-stale";
  const SCROLLED = ".home-scroll";
  // By the address of a part: when it was answered last.
  const answered = new Map();
  const loaded = new Date();
  let before = null;

  const partOf = (event) => {
    const source = event.detail.elt;
    return source instanceof Element && source.matches(PARTS) ? source : null;
  };

  const hasEnded = (part) =>
    part.hasAttribute("data-live-ended") || part.querySelector("[data-live-ended]") !== null;

  const isHeld = (part) => {
    const focused = document.activeElement;
    const isTyping = part.contains(focused) && focused.matches("input, select, textarea");
    const selection = document.getSelection();
    const isSelecting =
      selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
    return isTyping || isSelecting || part.closest("[data-live-hold]") !== null;
  };

  const isWanted = (part) => !document.hidden && !hasEnded(part) && !isHeld(part);

  const two = (number) => String(number).padStart(2, "0");
  const clock = (at) => [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");

  const showStale = (part, login = "") => {
    const since = answered.get(part.getAttribute("hx-get")) ?? loaded;
    let note = part.querySelector(`.${STALE}`);
    if (note === null) {
      note = document.createElement("p");
      note.className = STALE;
      note.setAttribute("role", "status");
      part.prepend(note);
    }
    note.textContent = `Not up to date since ${clock(since)}`;
    note.title = since.toISOString();
    if (login) {
      const link = document.createElement("a");
      link.href = login;
      link.textContent = "log in";
      link.addEventListener("click", (event) => {
        event.preventDefault();
        window.engineSession.logIn(login);
      });
      note.append(". Your session has ended: ", link);
    }
  };

  // What is alike: links by their address, whose text may be a number that changes.
  const nameOf = (element) =>
    `${element.tagName} ${element.getAttribute("href") ?? element.textContent.trim()}`;
  const alike = (root, tag, name) =>
    [...root.querySelectorAll(tag)].filter((each) => nameOf(each) === name);

  /* What is to be as it was when the part is there anew: htmx keeps the focus of what has an id. */
  const placesIn = (part) => {
    const scrolled = [...part.querySelectorAll(SCROLLED)].map((each) => each.scrollLeft);
    const element = document.activeElement;
    const root = element?.parentElement?.closest("[id]");
    if (!root || element.id) {
      return { scrolled };
    }
    const [tag, name] = [element.tagName, nameOf(element)];
    return { scrolled, element, tag, name, root: root.id, at: alike(root, tag, name).indexOf(element) };
  };

  const restore = (part, { scrolled, element, tag, name, root, at }) => {
    const shown = part.isConnected ? part : document.getElementById(part.id);
    [...(shown?.querySelectorAll(SCROLLED) ?? [])].forEach((each, number) => {
      each.scrollLeft = scrolled[number] ?? 0;
    });
    if (element && document.activeElement === document.body) {
      const around = document.getElementById(root);
      const found = element.isConnected ? element : around && alike(around, tag, name)[at];
      found?.focus({ preventScroll: true });
    }
  };

  const isAnotherPage = (xhr, part) => {
    const asked = new URL(part.getAttribute("hx-get"), document.baseURI);
    return xhr.responseURL !== "" && new URL(xhr.responseURL).pathname !== asked.pathname;
  };

  document.addEventListener("htmx:configRequest", (event) => {
    if (partOf(event)) {
      event.detail.timeout = TIMEOUT_MS;
    }
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = partOf(event);
    if (part && !isWanted(part)) {
      event.preventDefault();
    }
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const part = event.detail.requestConfig && partOf({ detail: event.detail.requestConfig });
    if (!part) {
      return;
    }
    const { xhr } = event.detail;
    if (xhr.status !== 200 || isAnotherPage(xhr, part) || isHeld(part)) {
      event.detail.shouldSwap = false;
      event.detail.isError = false;
      if (xhr.status !== 200 || isAnotherPage(xhr, part)) {
        showStale(part, window.engineSession?.loginOf(xhr.responseURL));
      }
      return;
    }
    answered.set(part.getAttribute("hx-get"), new Date());
    part.querySelector(`.${STALE}`)?.remove();
    before = { part, places: placesIn(part) };
  });

  // The parts are swapped at once, before this.
  document.addEventListener("htmx:afterOnLoad", () => {
    if (before) {
      restore(before.part, before.places);
      before = null;
    }
  });

  const refreshHeader = async () => {
    const answer = await fetch(document.URL);
    if (!answer.ok || answer.redirected) {
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [header, found] = [document, page].map((each) => each.getElementById("header-inner"));
    if (header && found && !header.contains(document.activeElement)) {
      header.replaceWith(found);
      window.htmx.process(found);
    }
  };

  document.addEventListener("htmx:afterSwap", (event) => {
    const part = event.detail.elt;
    if (part instanceof Element && part.matches(PARTS) && hasEnded(part)) {
      // Where it fails, the buttons say so when they are pressed.
      refreshHeader().catch(() => {});
    }
  });

  for (const failure of ["htmx:sendError", "htmx:timeout", "htmx:sendAbort"]) {
    document.addEventListener(failure, (event) => {
      const part = partOf(event);
      if (part) {
        showStale(part);
      }
    });
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      return;
    }
    for (const part of document.querySelectorAll(PARTS)) {
      const swap = part.getAttribute("hx-swap") ?? "innerHTML";
      // Where it fails, the events above say so.
      window.htmx.ajax("GET", part.getAttribute("hx-get"), { source: part, swap }).catch(() => {});
    }
  });
})();
