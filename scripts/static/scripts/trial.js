/* A trial on the script page: sends the form as it is with a sample, shows the result. */

(() => {
    "use strict";

    const element = (tag, className, text) => {
        const made = document.createElement(tag);
        if (className) made.className = className;
        if (text !== undefined) made.textContent = text;
        return made;
    };

    const storage = {
        read: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
        write: (key, text) => { try { localStorage.setItem(key, text); } catch { /* full or forbidden */ } },
    };

    /* "line 3: …", as the server writes faults of code. */
    const fault = (text) => {
        const found = /^line (\d+): /.exec(text);
        return { line: found ? Number(found[1]) : null, text };
    };

    const schemaFault = ({ path, detail, line }) => ({ label: path, text: detail, line });

    class TrialPanel {
        constructor(root) {
            this.root = root;
            this.form = root.closest("form");
            this.code = document.getElementById("id_code").editor;
            this.sample = document.getElementById("trial-sample").editor;
            this.last = document.getElementById("trial-last");
            this.button = document.getElementById("trial-run");
            this.result = document.getElementById("trial-result");
            // The key under which browsers keep samples already.
            this.key = `asyncengine.bench.${root.dataset.script}`;
            this.restore();
            this.listen();
            this.loadSamples();
            this.followLanguage();
            this.markRefusedCode();
        }

        /* The browser keeps the last sample. */
        restore() {
            const kept = storage.read(`${this.key}.sample`);
            this.isKept = kept !== null;
            if (this.isKept) this.sample.session.setValue(kept);
            this.last.checked = storage.read(`${this.key}.last`) === "true";
        }

        listen() {
            this.button.addEventListener("click", () => this.run());
            this.last.addEventListener("change", () => storage.write(`${this.key}.last`, this.last.checked));
            this.sample.session.on("change", () => storage.write(`${this.key}.sample`, this.sample.getValue()));
            for (const editor of [this.code, this.sample]) {
                editor.commands.addCommand({
                    name: "run",
                    bindKey: { win: "Ctrl-Enter", mac: "Command-Enter" },
                    exec: () => this.run(),
                });
            }
            document.addEventListener("editor:theme", ({ detail }) => this.output && this.output.setTheme(detail));
        }

        async loadSamples() {
            if (!this.root.dataset.samplesUrl) return;
            // A link to this page may name a sample.
            const choice = new URLSearchParams(location.search).get("sample") || "";
            const url = `${this.root.dataset.samplesUrl}?sample=${encodeURIComponent(choice)}`;
            const answer = await fetch(url, { headers: { Accept: "application/json" } });
            if (!answer.ok) return;
            const { samples } = await answer.json();
            const select = document.getElementById("trial-samples");
            const groups = new Map();
            samples.forEach((sample, index) => {
                if (!groups.has(sample.origin)) {
                    const group = element("optgroup");
                    group.label = sample.origin;
                    groups.set(sample.origin, group);
                    select.append(group);
                }
                const option = element("option", "", sample.label);
                option.value = index;
                groups.get(sample.origin).append(option);
            });
            select.hidden = samples.length === 0;
            select.addEventListener("change", () => {
                if (select.value !== "") this.take(samples[select.value]);
                select.value = "";
            });
            const chosen = samples.find((sample) => sample.isChosen) || (this.isKept ? null : samples[0]);
            if (chosen) this.take(chosen);
        }

        take(sample) {
            this.sample.setValue(sample.text, -1);
            this.last.checked = sample.isLast;
            storage.write(`${this.key}.last`, this.last.checked);
        }

        /* A new script begins with code of its language, until the author has written some. */
        followLanguage() {
            const element = document.getElementById("trial-first-code");
            if (!element) return;
            const firstCode = JSON.parse(element.textContent);
            const language = this.form.elements.language;
            language.addEventListener("change", () => {
                const isUntouched = Object.values(firstCode).includes(this.code.getValue());
                if (isUntouched) this.code.setValue(firstCode[language.value], -1);
            });
        }

        markRefusedCode() {
            const list = document.getElementById("trial-code-errors");
            if (!list) return;
            const texts = [...list.children].map((error) => error.textContent);
            // Shown beside the code: below it they would be out of sight.
            list.remove();
            this.show({ refusals: texts.map((text) => ({ field: "code", label: "Code", text })) }, "Not saved");
        }

        async run() {
            if (this.button.disabled) return;
            this.button.disabled = true;
            this.result.classList.add("trial-busy");
            try {
                this.show(await this.send());
            } catch (error) {
                this.show({ refusals: [{ label: "Not run", text: String(error.message || error) }] });
            } finally {
                this.button.disabled = false;
                this.result.classList.remove("trial-busy");
            }
        }

        async send() {
            const data = new FormData(this.form);
            data.set("sample", this.sample.getValue());
            data.set("is_last", this.last.checked);
            const answer = await fetch(this.root.dataset.trialUrl, { method: "POST", body: data });
            const isJson = (answer.headers.get("Content-Type") || "").includes("application/json");
            if (window.engineSession?.loginOf(answer.url)) throw new Error("Your session has ended. Save: after the login you can send again what you wrote.");
            if (!isJson) throw new Error(`The server answered ${answer.status}.`);
            return answer.json();
        }

        show(trial, refused = "Not run") {
            if (this.output) this.output.destroy();
            this.output = null;
            this.result.replaceChildren();
            const refusals = (trial.refusals || []).map((refusal) => ({ ...refusal, ...this.lineOf(refusal) }));
            const inCode = refusals.filter((refusal) => refusal.field === "code");
            if (trial.line) inCode.push({ line: trial.line, text: trial.error });
            window.scriptEditor.markFaults(this.code, inCode);
            const inSample = refusals.filter((refusal) => refusal.field === "sample");
            if (trial.output === null) inSample.push(...trial.faults.map(schemaFault));
            window.scriptEditor.markFaults(this.sample, inSample);
            if (refusals.length) {
                this.showHead(refused, "refused");
                this.result.append(this.faultList(refusals));
            } else {
                this.showTrial(trial);
            }
            this.reveal();
        }

        /* The bar with the buttons may cover the new result. */
        reveal() {
            const [head, first] = this.result.children;
            (first || head).scrollIntoView({ block: "nearest" });
        }

        lineOf(refusal) {
            return refusal.field === "code" ? fault(refusal.text) : {};
        }

        showTrial(trial) {
            const facts = [`${trial.milliseconds} ms`, `${trial.memoryMb} MB`];
            this.showHead(trial.heading || "Output", trial.error && !["RETRY", "WAITING"].includes(trial.outcome) ? "failed" : "passed", facts);
            if (trial.warning) this.result.append(element("p", "trial-warning", trial.warning));
            if (trial.faults.length) this.result.append(this.faultList(trial.faults.map(schemaFault)));
            else if (trial.error) this.showError(trial);
            if (trial.output !== null) {
                this.showOutput(trial.output);
                window.scriptEditor.markFaults(this.output, trial.faults.map(schemaFault));
            }
            if (trial.logs.length) this.showLogs(trial.logs);
        }

        showHead(title, state, facts = []) {
            const head = element("header", "trial-bar");
            head.append(element("h2", `trial-state trial-${state}`, title));
            for (const fact of facts) head.append(element("span", "trial-fact", fact));
            this.result.append(head);
        }

        showError(trial) {
            if (trial.error !== trial.heading || trial.traceback) {
                this.result.append(element("pre", "trial-error", trial.traceback || trial.error));
            }
            if (trial.line) this.result.append(this.jump(trial.line));
        }

        jump(line) {
            const link = element("button", "trial-jump", `Go to line ${line}`);
            link.type = "button";
            link.addEventListener("click", () => {
                this.code.gotoLine(line, 0, true);
                this.code.focus();
            });
            return link;
        }

        faultList(faults) {
            const list = element("ul", "trial-faults");
            for (const each of faults) {
                const item = element("li");
                item.append(element("strong", "", each.label), ` ${each.text}`);
                if (each.field === "code" && each.line) item.append(" ", this.jump(each.line));
                list.append(item);
            }
            return list;
        }

        showOutput(text) {
            const box = element("div", "editor trial-output");
            this.result.append(box);
            this.output = ace.edit(box, {
                enableKeyboardAccessibility: true,
                fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
                fontSize: 13,
                highlightActiveLine: false,
                highlightGutterLine: false,
                maxLines: 24,
                mode: "ace/mode/json",
                readOnly: true,
                showPrintMargin: false,
                theme: window.scriptEditor.theme(),
                useWorker: false,
                value: text,
            });
            this.output.clearSelection();
            this.output.renderer.$cursorLayer.element.style.display = "none";
        }

        showLogs(logs) {
            this.result.append(element("h3", "trial-title", "Logs"));
            const list = element("ol", "trial-logs");
            for (const line of logs) {
                const item = element("li");
                item.append(
                    element("span", "trial-time", line.after),
                    element("span", `trial-level trial-level-${line.level}`, line.level),
                    element("span", "trial-line", line.text),
                );
                list.append(item);
            }
            this.result.append(list);
        }
    }

    document.addEventListener("DOMContentLoaded", () => {
        const root = document.getElementById("trial");
        if (root) new TrialPanel(root);
    });
})();
