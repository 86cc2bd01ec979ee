/* What is operated with a mouse is operated with the keyboard.

unfold's menus open at elements that are no buttons. This module

- makes each of them a button that Tab reaches, and Enter and Space press;
- moves the focus into the menu that opened, and back when Escape closes it;
- moves the focus into a dialog, keeps it there, and moves it back when the dialog closes;
- gives names to what unfold, Django and select2 leave without one, and marks the main part;
- keeps the names of icons, such as `play_arrow`, out of the names of buttons;
- lets Tab reach what scrolls and has nothing else to reach;
- goes to the first field that was refused, which may be far below.
*/
(() => {
  "use strict";

  const NATIVE = "a[href], button, input, select, textarea, label, summary";
  const FOCUSABLE =
    'a[href], button:not([disabled]), input:not([type="hidden"]):not([disabled]), ' +
    'select:not([disabled]), textarea:not([disabled]), [tabindex]:not([tabindex="-1"])';
  const ICON = ".material-symbols-outlined";
  const PRESSED = "data-pressed-by-key";
  // Names of buttons that show an icon alone.
  const NAMES = {
    close: "Close",
    dock_to_right: "Menu",
    expand_more: "Show more",
    menu: "Menu",
    more_horiz: "More actions",
    more_vert: "More actions",
    visibility: "Show",
  };
  // What had the focus before the dialog opened, and before the menu opened.
  let beforeDialog = null;
  let openedMenu = null;

  const isShown = (element) => element.getClientRects().length > 0;
  // select2 hides a field behind its own.
  const isReached = (element) => isShown(element) && !element.matches(".select2-hidden-accessible");
  const focusableIn = (element) => [...element.querySelectorAll(FOCUSABLE)].filter(isReached);

  const nameIcon = (button) => {
    const icon = button.textContent.trim();
    if (/^[a-z]+(_[a-z]+)*$/.test(icon) && button.querySelectorAll("*").length < 2) {
      button.setAttribute("aria-label", NAMES[icon] ?? icon.replaceAll("_", " "));
    }
  };

  const makeButton = (element) => {
    if (element.matches(NATIVE) || element.querySelector(FOCUSABLE)) {
      return;
    }
    element.tabIndex = 0;
    element.setAttribute("role", "button");
    element.setAttribute(PRESSED, "");
    if (!element.hasAttribute("aria-label") && !element.title) {
      nameIcon(element);
    }
  };

  // The name of an icon is no word of the button that it is in, unless the button has no other.
  const hideIcon = (icon) => {
    // An icon that is pressed itself has a name, or is one.
    if (icon.matches("a, button, [role=button], [x-on\\:click]")) {
      return;
    }
    const control = icon.closest("a, button, summary, [role=button]");
    const icons = [...(control?.querySelectorAll(ICON) ?? [])].map((each) => each.textContent);
    const words = icons.reduce((text, name) => text.replace(name, ""), control?.textContent ?? "");
    if (!control || control.hasAttribute("aria-label") || control.title || words.trim()) {
      icon.setAttribute("aria-hidden", "true");
    }
  };

  // unfold writes the path of a chosen file into a field of text above it, which not all have.
  const leaveAlone = (input) => {
    const above = input.parentNode?.parentNode?.parentNode;
    input.hasChangeListener ||= !above?.querySelector("input[type=text]");
  };
  const nameSearch = (field) => field.setAttribute("aria-label", "Search");
  const nameHint = (hint) => hint.setAttribute("role", "img");

  // In tables the hint stands at the head of the column, where no id leads to it.
  const dropMissingHint = (field) => {
    if (!document.getElementById(field.getAttribute("aria-describedby"))) {
      field.removeAttribute("aria-describedby");
    }
  };

  const reachScrolled = (element) => {
    if (element.scrollWidth > element.clientWidth && !element.querySelector(FOCUSABLE)) {
      element.tabIndex = 0;
    }
  };

  const SCROLLED = ".overflow-x-auto:not([tabindex])";
  const MENDED = {
    "input[type=file]": leaveAlone,
    "[aria-describedby$=_helptext]": dropMissingHint,
    [SCROLLED]: reachScrolled,
    "[x-on\\:click]:not([role])": makeButton,
    [`${ICON}:not([aria-hidden])`]: hideIcon,
    ".select2-search__field:not([aria-label])": nameSearch,
    ".help-tooltip[aria-label]:not([role])": nameHint,
  };

  const mend = (root) => {
    for (const [selector, mendOne] of Object.entries(MENDED)) {
      if (root.matches?.(selector)) {
        mendOne(root);
      }
      root.querySelectorAll(selector).forEach(mendOne);
    }
  };

  const menuOf = (button) => {
    // As in `openMenu = !openMenu`.
    const variable = /^\s*(\w+)\s*=\s*!/.exec(button.getAttribute("x-on:click"))?.[1];
    const menus = variable ? document.querySelectorAll(`nav[x-show="${variable}"]`) : [];
    return [...menus].find(isShown);
  };

  const press = (button) => {
    button.click();
    // Alpine shows the menu after this event.
    setTimeout(() => {
      const menu = menuOf(button);
      if (menu) {
        openedMenu = { button, menu };
        focusableIn(menu)[0]?.focus();
      }
    }, 50);
  };

  const closeMenu = () => {
    const { button, menu } = openedMenu;
    openedMenu = null;
    if (isShown(menu)) {
      button.click();
      button.focus();
    }
  };

  const openDialog = () => [...document.querySelectorAll('[role="dialog"]')].findLast(isShown);

  // What a field of a dialog opens stands elsewhere on the page.
  const OPENED_BY_FIELDS = ".select2-container, .calendarbox, .clockbox";

  const keepIn = (dialog, event) => {
    if (document.activeElement.closest(OPENED_BY_FIELDS)) {
      return;
    }
    const all = focusableIn(dialog);
    if (all.length === 0) {
      return;
    }
    const at = all.indexOf(document.activeElement);
    const isLeaving = event.shiftKey ? at <= 0 : at === -1 || at === all.length - 1;
    if (isLeaving) {
      event.preventDefault();
      all.at(event.shiftKey ? -1 : 0).focus();
    }
  };

  document.addEventListener("keydown", (event) => {
    const dialog = openDialog();
    if (event.key === "Tab" && dialog) {
      keepIn(dialog, event);
    } else if (event.key === "Escape" && openedMenu) {
      closeMenu();
    } else if (
      (event.key === "Enter" || event.key === " ") &&
      event.target instanceof Element &&
      event.target.hasAttribute(PRESSED)
    ) {
      event.preventDefault();
      press(event.target);
    }
  });

  const nameDialog = (dialog) => {
    const title = dialog.querySelector("h1, h2");
    if (title) {
      dialog.setAttribute("aria-label", title.textContent.trim());
    }
  };

  const watchDialog = (dialog) => {
    let wasShown = false;
    const look = () => {
      const shown = isShown(dialog);
      const isElsewhere = !dialog.closest("#changelist-filter") && !dialog.contains(document.activeElement);
      if (shown && (!wasShown || isElsewhere)) {
        beforeDialog ??= document.activeElement;
        nameDialog(dialog);
        (dialog.querySelector("[autofocus]") ?? firstOf(dialog))?.focus();
      } else if (!shown && wasShown) {
        beforeDialog?.focus();
        beforeDialog = null;
      }
      wasShown = shown;
    };
    new MutationObserver(look).observe(dialog.parentElement, {
      attributes: true,
      attributeFilter: ["style"],
      childList: true,
      subtree: true,
    });
  };

  // A field, else the first button that does nothing: the question is read before it is answered.
  const firstOf = (dialog) =>
    focusableIn(dialog).find((each) => each.matches("input, select, textarea, [role=combobox]")) ??
    focusableIn(dialog)[0];

  const goToRefused = () => {
    const refused = [...document.querySelectorAll('#main [aria-invalid="true"]')];
    const field = refused.find((each) => isShown(each) || each.editor);
    if (!field) {
      return;
    }
    (field.editor ?? field).focus();
    const shown = field.editor?.container ?? field;
    shown.scrollIntoView({ block: "center" });
  };

  // Alpine shows the page, and scripts make the editors while it loads.
  document.addEventListener("alpine:initialized", () => setTimeout(goToRefused));

  // In a narrower window more is scrolled.
  window.addEventListener("resize", () => {
    document.querySelectorAll(SCROLLED).forEach(reachScrolled);
  });

  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("main")?.setAttribute("role", "main");
    mend(document);
    new MutationObserver((changes) => {
      for (const added of changes.flatMap((change) => [...change.addedNodes])) {
        if (added instanceof Element) {
          mend(added);
        }
      }
    }).observe(document.body, { childList: true, subtree: true });
    const modal = document.getElementById("modal-content");
    if (modal) {
      watchDialog(modal);
    }
    const filters = document.getElementById("changelist-filter");
    if (filters) {
      filters.setAttribute("role", "dialog");
      filters.setAttribute("aria-label", "Filters");
      filters.firstElementChild.setAttribute("aria-label", "Close");
      watchDialog(filters);
    }
  });
})();
