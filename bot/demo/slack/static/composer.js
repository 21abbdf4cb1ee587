// The input box: Enter sends, Shift+Enter breaks the line, "/" and "@" complete.
import { el, svg } from "./dom.js";

export function composer({ label, testid, send, commands, names }) {
  const area = el("textarea", { rows: 1, placeholder: label, "aria-label": label, dataset: { testid }, autocomplete: "off", spellcheck: "false" });
  const button = el("button", { class: "send", type: "button", "aria-label": "Send", disabled: true }, svg("0 0 20 20", ["path", { d: "M2.5 3l15 7-15 7 2-7zM4.5 10h6" }]));
  const popup = el("ul", { class: "completion", role: "listbox", "aria-label": "Completion", hidden: true });
  const node = el("div", { class: "composer" }, popup, el("div", { class: "composer-box" }, area, button), el("div", { class: "composer-hint" }, el("b", {}, "Enter"), " to send, ", el("b", {}, "/"), " for commands, ", el("b", {}, "@"), " for people"));
  const history = [];
  let offered = [], chosen = 0, recalled = -1, closedFor = null, moved = false;

  function grow() {
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, 200)}px`;
    button.disabled = !area.value.trim();
  }

  function offers() {
    const before = area.value.slice(0, area.selectionStart);
    if (before === closedFor || area.selectionStart !== area.value.length) return [];
    if (before.startsWith("/") && !before.includes("\n")) {
      const words = before.trimEnd().toLowerCase();
      const exact = commands().filter((one) => one.command.toLowerCase().startsWith(before.toLowerCase()));
      const found = exact.length ? exact : words.length > 1 ? commands().filter((one) => one.command.toLowerCase().includes(words.slice(1)) && !before.includes(" ")) : [];
      return found.slice(0, 40).map((one) => ({ text: one.command, usage: one.usage, help: one.help, from: 0 }));
    }
    const name = /(^|\s)@([\w.-]*)$/.exec(before);
    if (!name) return [];
    return names().filter((one) => one.text.slice(1).startsWith(name[2].toLowerCase()) && one.text.slice(1) !== name[2]).slice(0, 8).map((one) => ({ ...one, usage: "", from: before.length - name[2].length - 1 }));
  }

  function offer() {
    offered = offers();
    chosen = Math.min(chosen, Math.max(0, offered.length - 1));
    popup.hidden = !offered.length;
    popup.replaceChildren(...offered.map((one, place) => el("li", { class: place === chosen ? "chosen" : "", role: "option", "aria-selected": String(place === chosen), onmousedown: (event) => { event.preventDefault(); take(one); } },
      el("span", { class: "offer-text" }, one.text), one.usage && el("span", { class: "offer-usage" }, one.usage), one.help && el("span", { class: "offer-help" }, one.help))));
    popup.children[chosen]?.scrollIntoView({ block: "nearest" });
  }

  function take(one) {
    area.value = `${area.value.slice(0, one.from)}${one.text} `;
    chosen = 0;
    moved = false;
    area.focus();
    grow();
    offer();
  }

  async function submit() {
    const text = area.value.trim();
    if (!text) return;
    history.push(text);
    recalled = -1;
    area.value = "";
    closedFor = null;
    grow();
    offer();
    const answer = await send(text);
    if (!answer.ok && !area.value) { area.value = text; grow(); }
  }

  area.addEventListener("input", () => { chosen = 0; moved = false; closedFor = null; grow(); offer(); });
  area.addEventListener("blur", () => { popup.hidden = true; });
  area.addEventListener("focus", offer);
  area.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const open = !popup.hidden && offered.length > 0;
    if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      moved = true;
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : offered.length - 1)) % offered.length;
      offer();
    } else if (open && event.key === "Tab") {
      event.preventDefault();
      take(offered[chosen]);
    } else if (open && event.key === "Escape") {
      event.stopPropagation();
      closedFor = area.value.slice(0, area.selectionStart);
      offer();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      const one = offered[chosen];
      const written = one ? area.value.slice(one.from).trimEnd().toLowerCase() : "";
      const roots = commands().map((each) => each.command.split(" ")[0]);
      const unfinished = one?.text.startsWith("@") || !roots.includes(written.split(" ")[0]); // "/somas" is whole, "/som" is not
      if (open && !written.startsWith(one.text.toLowerCase()) && (moved || unfinished)) take(one);
      else submit();
    } else if (event.key === "ArrowUp" && history.length && (!area.value || recalled >= 0)) {
      event.preventDefault();
      recalled = recalled < 0 ? history.length - 1 : Math.max(0, recalled - 1);
      area.value = history[recalled];
      grow();
      closedFor = area.value;
      offer();
    }
  });
  button.addEventListener("click", submit);
  node.put = (text) => { // what somebody clicked, ready to be sent
    area.value = text;
    closedFor = text;
    area.focus();
    grow();
    offer();
  };
  return node;
}
