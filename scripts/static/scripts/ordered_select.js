/* Keeps what is chosen from a list in the order in which it was chosen. */

window.addEventListener("load", () => {
    const $ = django.jQuery;
    $(document).on("select2:select", "select[data-ordered]", (event) => {
        const option = event.params.data.element;
        event.target.append(option);
        $(event.target).trigger("change");
    });
});
