// Modals with inputs, and the confirmation in front of a button.
import { element, drawBlocks, textObject } from "./blocks.js";
import { el, svg } from "./dom.js";

const cross = () => svg("0 0 20 20", ["path", { d: "M5 5l10 10M15 5L5 15" }]);

// A menu whose options the app knows: what is typed is asked for, what it offers can be chosen.
function searched(block, id, suggest) {
  const input = block.element;
  const options = el("datalist", { id: `${id}-options` });
  const line = el("input", { id, name: block.block_id, class: "input", type: "text", list: `${id}-options`, placeholder: input.placeholder?.text, autocomplete: "off", role: "combobox", "aria-autocomplete": "list" });
  line.value = input.initial_option?.value ?? "";
  let asked = 0;
  const look = async () => {
    const mine = ++asked;
    const found = await suggest(block.block_id, line.value);
    if (mine !== asked) return; // somebody typed on
    options.replaceChildren(...found.map((one) => el("option", { value: one.value, label: one.text.text === one.value ? one.description?.text : one.text.text })));
    line.dataset.offered = String(found.length);
  };
  line.addEventListener("focus", look);
  line.addEventListener("input", look);
  return el("div", { class: "searched" }, line, options);
}

function field(block, world, suggest) {
  const input = block.element;
  const id = `field-${block.block_id}`;
  const name = block.block_id;
  const placeholder = input.placeholder?.text;
  if (input.type === "external_select") return searched(block, id, suggest);
  if (input.type === "static_select" || input.type === "users_select") {
    const users = input.type === "users_select";
    const options = users ? world.people.filter((one) => !one.is_bot).map((one) => [one.id, one.real_name]) : input.options.map((one) => [one.value, one.text.text]);
    const select = el("select", { id, name, class: "input" }, el("option", { value: "" }, placeholder ?? "Choose an option"), ...options.map(([value, label]) => el("option", { value }, label)));
    select.value = users ? input.initial_user ?? "" : input.initial_option?.value ?? "";
    return select;
  }
  if (input.type === "radio_buttons" || input.type === "checkboxes") {
    const kind = input.type === "checkboxes" ? "checkbox" : "radio";
    const initial = kind === "radio" ? [input.initial_option?.value] : (input.initial_options ?? []).map((one) => one.value);
    return el("div", { class: "choices", id, role: "group" }, ...input.options.map((option) => el("label", { class: "choice" },
      el("input", { type: kind, name, value: option.value, checked: initial.includes(option.value) }),
      el("span", {}, ...textObject(option.text, world), option.description && el("small", {}, ...textObject(option.description, world))))));
  }
  if (input.multiline) {
    const area = el("textarea", { id, name, class: "input", rows: 4, placeholder });
    area.value = input.initial_value ?? "";
    return area;
  }
  const type = { datepicker: "date", number_input: "number", email_text_input: "email", url_text_input: "url" }[input.type] ?? "text";
  const line = el("input", { id, name, class: "input", type, step: input.is_decimal_allowed ? "any" : undefined, placeholder, autocomplete: "off" });
  line.value = input.initial_value ?? input.initial_date ?? "";
  return line;
}

function collected(form, view) {
  const values = {};
  for (const block of view.blocks.filter((one) => one.type === "input")) {
    const chosen = new FormData(form).getAll(block.block_id);
    values[block.block_id] = block.element.type === "checkboxes" ? chosen.join(",") : chosen[0] ?? "";
  }
  return values;
}

function inputBlock(block, world, error, suggest) {
  const label = el("label", { class: "input-label", for: `field-${block.block_id}` }, block.label.text, block.optional && el("span", { class: "optional" }, " (optional)"));
  return el("div", { class: `input-block${error ? " has-error" : ""}`, dataset: { blockId: block.block_id, testid: "input-block" } }, label, field(block, world, suggest),
    error && el("p", { class: "field-error", role: "alert" }, error), block.hint && el("p", { class: "hint" }, block.hint.text));
}

function frame(title, body, footer, close) {
  const dialog = el("dialog", { class: "modal", "aria-label": title },
    el("header", { class: "modal-header" }, el("h2", {}, title), el("button", { class: "icon-button", type: "button", "aria-label": "Close", onclick: close }, cross())),
    body, footer);
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
  return dialog;
}

// `submit(values)` and `close()` answer when the server has; `suggest(block, typed)` with what the app offers.
export function drawModal(view, world, { submit, close, suggest }) {
  const body = el("div", { class: "modal-body" });
  for (const block of view.blocks) {
    body.append(block.type === "input" ? inputBlock(block, world, view.errors?.[block.block_id], suggest) : drawBlocks([block], world, null));
  }
  if (view.errors?.[""]) body.append(el("p", { class: "field-error", role: "alert" }, view.errors[""]));
  const form = el("form", { class: "modal-form", method: "dialog", novalidate: true }, body);
  const send = view.submit && el("button", { class: "button button-primary", type: "submit" }, view.submit.text);
  form.append(el("footer", { class: "modal-footer" }, el("button", { class: "button", type: "button", onclick: close }, view.close?.text ?? "Cancel"), send));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (send.disabled) return;
    send.disabled = true;
    await submit(collected(form, view));
    send.disabled = false;
  });
  const dialog = frame(view.title.text, form, null, close);
  dialog.dataset.viewId = view.id;
  dialog.dataset.testid = "modal";
  return dialog;
}

// Resolves to true when the person confirms.
export function confirmation(confirm, place) {
  return new Promise((resolve) => {
    const done = (answer) => { dialog.close(); dialog.remove(); resolve(answer); };
    const kind = confirm.style === "danger" ? "button-danger" : "button-primary";
    const dialog = frame(confirm.title.text, el("div", { class: "modal-body" }, el("p", {}, confirm.text.text)),
      el("footer", { class: "modal-footer" },
        el("button", { class: "button", type: "button", onclick: () => done(false) }, confirm.deny.text),
        el("button", { class: `button ${kind}`, type: "button", onclick: () => done(true) }, confirm.confirm.text)), () => done(false));
    dialog.dataset.testid = "confirm";
    place.append(dialog);
    dialog.showModal();
  });
}

export { element };
