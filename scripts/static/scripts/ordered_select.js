/* Keeps the chosen items of a list in the order in which the user chose them. */

window.addEventListener("load", () => {
    const $ = django.jQuery;
    $(document).on("select2:select", "select[data-ordered]", (event) => {
        const option = event.params.data.element;
        event.target.append(option);
        $(event.target).trigger("change");
    });
});
