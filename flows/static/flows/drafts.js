/* What was sent and not saved is not lost.
 *
 * A session ends while a user writes, and what is sent then leads to the login page. A form is kept in
 * this tab while it is sent, and forgotten when another page comes than that of the login or of an
 * error (`data-not-saved`), or of a question before it is saved (`data-unsaved`). Until then each page of the same user offers to send it again. Forms with
 * passwords, secrets or files are not kept.
 *
 * Where htmx gets the login page instead of a part of the page, the whole page leads to the login and
 * back. A live part (`live.js`) says so instead: the user may be writing. */

(() => {
    "use strict";

    const KEY = "asyncengine.draft";
    const FORMS = "form[method='post']:not(#login-form, #changelist-form, #logout-form, [data-no-draft])";
    const LEFT_OUT = new Set(["csrfmiddlewaretoken"]);

    const stored = () => {
        try {
            return JSON.parse(sessionStorage.getItem(KEY));
        } catch {
            return null;
        }
    };
    const store = (draft) => {
        try {
            if (draft) sessionStorage.setItem(KEY, JSON.stringify(draft));
            else sessionStorage.removeItem(KEY);
        } catch {
            // Too large, or the browser keeps nothing.
        }
    };

    const user = () => document.querySelector("meta[name='engine-user']")?.content ?? "";
    const isSecret = (form) => form.querySelector("input[type=password], [data-secret]") !== null;
    const hasFile = (fields) => fields.some(([, value]) => value instanceof File && value.name);

    /* Return the form as it would be sent, null where it is not kept. */
    const draftOf = (form, submitter, action) => {
        if (!form.matches(FORMS) || isSecret(form) || !user()) return null;
        const fields = [...new FormData(form)].filter(([name]) => !LEFT_OUT.has(name));
        if (submitter?.name) fields.push([submitter.name, submitter.value]);
        // A chosen file cannot be kept.
        if (hasFile(fields)) return null;
        const texts = fields.filter(([, value]) => !(value instanceof File));
        return { user: user(), action, fields: texts, title: document.title, at: Date.now(), isLost: false };
    };

    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (event.defaultPrevented || !(form instanceof HTMLFormElement) || form.hasAttribute("hx-post")) return;
        const draft = draftOf(form, event.submitter, form.getAttribute("action") || location.href);
        if (draft) store(draft);
    });

    const isLogin = (address) => new URL(address, location).pathname.endsWith("/login/");

    /* Lead to the login, and back to this page. */
    const logIn = (loginAddress) => {
        const login = new URL(loginAddress, location);
        login.search = new URLSearchParams({ next: location.pathname + location.search });
        location.assign(login);
    };

    window.engineSession = {
        loginOf: (address) => (address && isLogin(address) ? new URL(address, location).pathname : ""),
        logIn,
    };

    document.addEventListener("htmx:beforeSwap", (event) => {
        const { xhr, requestConfig } = event.detail;
        if (!xhr.responseURL || !isLogin(xhr.responseURL) || isLogin(location.href)) return;
        event.detail.shouldSwap = false;
        const source = requestConfig?.elt;
        if (source?.matches?.("[data-live]")) return;
        const draft = source instanceof HTMLFormElement && draftOf(source, null, requestConfig.path);
        if (draft) store({ ...draft, isLost: true });
        // What the panel holds is in the draft: no question whether to leave it.
        document.dispatchEvent(new CustomEvent("engine:leaves"));
        logIn(xhr.responseURL);
    });

    const element = (tag, className, text) => {
        const made = document.createElement(tag);
        made.className = className;
        made.textContent = text;
        return made;
    };

    const sendAgain = (draft) => {
        const form = document.createElement("form");
        form.method = "post";
        form.action = draft.action;
        form.setAttribute("data-no-draft", "");
        const token = document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
        for (const [name, value] of [["csrfmiddlewaretoken", token], ...draft.fields]) {
            const field = document.createElement("textarea");
            field.name = name;
            field.value = value;
            form.append(field);
        }
        form.hidden = true;
        document.body.append(form);
        store({ ...draft, isLost: false });
        form.submit();
    };

    const offer = (draft) => {
        const place = document.getElementById("content") ?? document.getElementById("main");
        if (!place) return;
        const at = new Date(draft.at);
        const time = [at.getHours(), at.getMinutes()].map((each) => String(each).padStart(2, "0")).join(":");
        const note = element("section", "draft-note", "");
        note.setAttribute("aria-label", "Not saved");
        note.append(element("p", "", `What you sent at ${time} from “${draft.title}” was not saved. It is kept in this tab.`));
        const again = element("button", "draft-note__again", "Send it again");
        const discard = element("button", "draft-note__discard", "Discard it");
        for (const button of [again, discard]) button.type = "button";
        again.addEventListener("click", () => sendAgain(draft));
        discard.addEventListener("click", () => {
            store(null);
            note.remove();
        });
        note.append(again, discard);
        place.prepend(note);
    };

    const look = () => {
        const draft = stored();
        if (!draft) return;
        const login = document.getElementById("login-form");
        // The question before a save: without its answer, nothing was saved.
        if (login || document.querySelector("[data-not-saved], form[data-unsaved]")) {
            store({ ...draft, isLost: true });
            const place = document.querySelector("[data-draft-kept]");
            if (place) place.hidden = false;
        } else if (!draft.isLost || (user() && draft.user !== user())) {
            store(null);
        } else if (user()) {
            offer(draft);
        }
    };

    document.addEventListener("DOMContentLoaded", look);
})();
