/* Actions on the selected rows of a list are confirmed with their number.

Actions that have a page of their own to confirm them are left alone.
*/
(() => {
  "use strict";

  const CONFIRMED = new Set(["cancel_selected", "pause_selected", "resume_selected"]);

  const ask = (form, button, title, number) => {
    const dialog = document.createElement("dialog");
    dialog.className = "bulk-dialog";
    dialog.setAttribute("aria-labelledby", "bulk-title");
    const heading = document.createElement("h2");
    heading.id = "bulk-title";
    heading.textContent = `${title}: ${number}`;
    const leave = document.createElement("button");
    leave.type = "button";
    leave.textContent = "Leave them as they are";
    leave.addEventListener("click", () => dialog.close());
    const apply = document.createElement("button");
    apply.type = "button";
    apply.className = "bulk-apply";
    apply.textContent = title;
    apply.addEventListener("click", () => {
      form.dataset.confirmed = "1";
      dialog.close();
      form.requestSubmit(button);
    });
    dialog.append(heading, leave, apply);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const select = form.querySelector?.("select[name=action]");
    if (form.id !== "changelist-form" || !select || form.dataset.confirmed) {
      return;
    }
    const isAction = event.submitter?.name === "index";
    const chosen = form.querySelectorAll("input.action-select:checked").length;
    if (!isAction || !CONFIRMED.has(select.value) || chosen === 0) {
      return;
    }
    event.preventDefault();
    const isAcross = form.querySelector("input.select-across")?.value === "1";
    const title = select.selectedOptions[0].textContent.trim();
    ask(form, event.submitter, title, isAcross ? "all of the list" : chosen);
  });
})();
