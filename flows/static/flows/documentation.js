// The theme that the user has chosen in the Configuration Manager, and the menu on a phone.
"use strict";

try {
    const theme = JSON.parse(localStorage.getItem("adminTheme"));
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
    // Without storage, or with another value there, the system's theme is shown.
}

document.addEventListener("DOMContentLoaded", () => {
    const isNarrow = matchMedia("(max-width: 900px)");
    const menu = document.querySelector(".sides details");
    const follow = () => {
        menu.open = !isNarrow.matches;
    };
    isNarrow.addEventListener("change", follow);
    follow();
    menu.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
});
