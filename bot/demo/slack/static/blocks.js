// Block Kit as Slack draws it. `press` is called with an interactive element and its block; without it nothing can be pressed.
import { el, link } from "./dom.js";
import { emoji, textNodes } from "./emoji.js";
import { broadcast, dateNode, mention, mrkdwn, plainText } from "./mrkdwn.js";

export function textObject(object, world) {
  return object.type === "mrkdwn" ? mrkdwn(object.text, world) : plainText(object.text);
}

export function drawBlocks(blocks, world, press) {
  return el("div", { class: "blocks" }, ...blocks.map((block) => drawBlock(block, world, press)));
}

function drawBlock(block, world, press) {
  const draw = { header, section, context, divider, actions, image, rich_text: richText, table }[block.type];
  const node = draw ? draw(block, world, press) : el("div", { class: "unknown-block" }, `(${block.type})`);
  node.dataset.block = block.type;
  node.dataset.blockId = block.block_id ?? "";
  return node;
}

function header(block) {
  return el("h3", { class: "block-header" }, ...plainText(block.text.text));
}

function section(block, world, press) {
  const body = el("div", { class: "section-body" });
  if (block.text) body.append(el("div", { class: "text" }, ...textObject(block.text, world)));
  if (block.fields) {
    body.append(el("div", { class: "fields" }, ...block.fields.map((field) => el("div", { class: "field text" }, ...textObject(field, world)))));
  }
  const accessory = block.accessory && (block.accessory.type === "image" ? picture(block.accessory, "accessory-image") : element(block.accessory, block, press));
  return el("div", { class: "section" }, body, accessory && el("div", { class: "accessory" }, accessory));
}

function context(block, world) {
  const parts = block.elements.map((part) => (part.type === "image" ? picture(part, "context-image") : el("span", { class: "text" }, ...textObject(part, world))));
  return el("div", { class: "context" }, ...parts);
}

function divider() {
  return el("hr", { class: "divider" });
}

function actions(block, world, press) {
  return el("div", { class: "actions" }, ...block.elements.map((one) => element(one, block, press)));
}

function source(block) {
  if (block.slack_file) return block.slack_file.id ? `/files/${encodeURIComponent(block.slack_file.id)}` : block.slack_file.url;
  return block.image_url;
}

function picture(block, kind) {
  return el("img", { class: kind, src: source(block), alt: block.alt_text, loading: "lazy" });
}

function image(block) {
  return el("figure", { class: "image" }, block.title && el("figcaption", {}, ...plainText(block.title.text)), picture(block, "image-picture"));
}

export function element(one, block, press) {
  if (one.type === "button") {
    const button = el("button", {
      class: `button ${one.style ? `button-${one.style}` : ""}`, type: "button",
      "aria-label": one.accessibility_label, disabled: !press,
      dataset: { actionId: one.action_id, testid: "action" },
    }, ...plainText(one.text.text));
    button.addEventListener("click", () => press?.(one, block, button));
    return button;
  }
  const options = one.type === "users_select" ? [] : one.options;
  const label = one.placeholder?.text ?? (one.type === "overflow" ? "⋯" : "Choose");
  const select = el("select", { class: "button select", "aria-label": label, disabled: !press, dataset: { actionId: one.action_id } },
    el("option", { value: "" }, label), ...options.map((option) => el("option", { value: option.value }, option.text.text)));
  if (one.initial_option) select.value = one.initial_option.value;
  select.addEventListener("change", () => { if (select.value) press?.(one, block, select, select.value); });
  return select;
}

// -- rich text -------------------------------------------------------------------------------------------------------

function styled(node, style) {
  if (!style) return node;
  let result = node;
  for (const [name, tag] of [["code", "code"], ["strike", "s"], ["italic", "em"], ["bold", "strong"], ["underline", "u"]]) {
    if (style[name]) result = el(tag, {}, result);
  }
  return result;
}

function fragment(nodes) {
  const part = document.createDocumentFragment();
  part.append(...nodes);
  return part;
}

function lines(text, raw) {
  return text.split(/(\n)/).filter(Boolean).flatMap((part) => (part === "\n" ? [raw ? document.createTextNode("\n") : el("br")] : raw ? [document.createTextNode(part)] : textNodes(part)));
}

function run(one, world, raw) {
  switch (one.type) {
    case "text": return styled(fragment(lines(one.text, raw)), one.style);
    case "link": return styled(link(one.url, one.text ?? one.url), one.style);
    case "user": return styled(mention(world, "user", one.user_id), one.style);
    case "usergroup": return styled(mention(world, "group", one.usergroup_id), one.style);
    case "channel": return styled(mention(world, "channel", one.channel_id), one.style);
    case "broadcast": return broadcast(one.range);
    case "emoji": return emoji(one.name) ?? document.createTextNode(`:${one.name}:`);
    case "date": return styled(dateNode(one.timestamp, one.format, one.url), one.style);
    default: return document.createTextNode("");
  }
}

function richText(block, world) {
  const node = el("div", { class: "rich-text" });
  for (const part of block.elements) {
    const runs = (elements, raw) => elements.map((one) => run(one, world, raw));
    if (part.type === "rich_text_section") node.append(el("div", { class: "text" }, ...runs(part.elements)));
    else if (part.type === "rich_text_preformatted") node.append(el("pre", {}, ...runs(part.elements, true)));
    else if (part.type === "rich_text_quote") node.append(el("blockquote", {}, ...runs(part.elements)));
    else if (part.type === "rich_text_list") {
      const ordered = part.style === "ordered";
      const list = el(ordered ? "ol" : "ul", { class: `rich-list indent-${part.indent ?? 0}`, start: ordered && part.offset ? part.offset + 1 : undefined });
      for (const item of part.elements) list.append(el("li", {}, ...runs(item.elements)));
      node.append(list);
    }
  }
  return node;
}

function table(block, world) {
  const settings = block.column_settings ?? [];
  const cells = (row, tag) => row.map((cell, column) => {
    const content = cell.type === "rich_text" ? richText(cell, world) : fragment(lines(String(cell.text)));
    const align = settings[column]?.align ?? "left";
    return el(tag, { class: `align-${align}${settings[column]?.is_wrapped ? "" : " no-wrap"}`, scope: tag === "th" ? "col" : undefined }, content);
  });
  const [first, ...rest] = block.rows;
  return el("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": "Table" }, el("table", {},
    el("thead", {}, el("tr", {}, ...cells(first, "th"))),
    el("tbody", {}, ...rest.map((row) => el("tr", {}, ...cells(row, "td"))))));
}

// -- attachments and files -------------------------------------------------------------------------------------------

const COLOURS = { good: "#2eb67d", warning: "#ecb22e", danger: "#e01e5a" };

export function drawAttachment(attachment, world, press) {
  const bar = el("div", { class: "attachment-bar" });
  if (attachment.color) bar.style.backgroundColor = COLOURS[attachment.color] ?? attachment.color;
  const body = el("div", { class: "attachment-body" });
  if (attachment.blocks) body.append(drawBlocks(attachment.blocks, world, press));
  if (attachment.text) body.append(el("div", { class: "text" }, ...mrkdwn(attachment.text, world)));
  return el("div", { class: "attachment", dataset: { testid: "attachment", colour: attachment.color ?? "" } }, bar, body);
}

export function drawFile(file) {
  const href = `/files/${encodeURIComponent(file.id)}`;
  if (/\.(png|jpe?g|gif)$/i.test(file.name)) {
    return el("figure", { class: "image" }, el("figcaption", {}, file.title), el("img", { class: "image-picture", src: href, alt: file.title }));
  }
  return el("a", { class: "file", href, target: "_blank", rel: "noopener" }, el("strong", {}, file.title), el("span", {}, `${file.size} bytes`));
}
