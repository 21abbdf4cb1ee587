// Slack's mrkdwn, from escaped text to DOM nodes. The same forms as https://docs.slack.dev/messaging/formatting-message-text
import { el, link } from "./dom.js";
import { emoji, textNodes } from "./emoji.js";

const unescape = (text) => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
const MARKS = { "*": "strong", _: "em", "~": "s" };
const wordLike = (character) => character !== undefined && /[\p{L}\p{N}_]/u.test(character);

export function mention(world, kind, id, label) {
  const name = kind === "user" ? world.personName(id) : kind === "group" ? world.groupName(id) : world.channelName(id);
  const sigil = kind === "channel" ? "#" : "@";
  const mine = kind === "user" ? id === world.me : kind === "group" && world.inGroup(id);
  return el("span", { class: `mention${mine ? " mention-me" : ""}`, dataset: { mention: id } }, sigil + (name ?? (label || id)));
}

export function broadcast(range) {
  return el("span", { class: "mention mention-me" }, "@" + range);
}

// {date_short_pretty} and the others, in the viewer's own time zone.
export function dateText(timestamp, pattern) {
  const at = new Date(timestamp * 1000);
  const day = (options) => at.toLocaleDateString("en-US", options);
  const days = Math.round((new Date(at).setHours(0, 0, 0, 0) - new Date().setHours(0, 0, 0, 0)) / 864e5);
  const near = { "-1": "yesterday", 0: "today", 1: "tomorrow" }[days];
  const short = day({ month: "short", day: "numeric", year: "numeric" });
  const long = day({ weekday: "long", month: "long", day: "numeric", year: "numeric" });
  const plain = day({ month: "long", day: "numeric", year: "numeric" });
  const two = (number) => String(number).padStart(2, "0");
  const seconds = Math.round(Date.now() / 1000 - timestamp);
  const ago = Math.abs(seconds) < 90 ? `${Math.abs(seconds)} seconds` : Math.abs(seconds) < 5400 ? `${Math.round(Math.abs(seconds) / 60)} minutes` : Math.abs(seconds) < 129600 ? `${Math.round(Math.abs(seconds) / 3600)} hours` : `${Math.round(Math.abs(seconds) / 86400)} days`;
  const values = {
    date_num: `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`,
    date_slash: `${at.getFullYear()}/${two(at.getMonth() + 1)}/${two(at.getDate())}`,
    date: plain, date_pretty: near ?? plain,
    date_short: short, date_short_pretty: near ?? short,
    date_long: long, date_long_pretty: near ?? long, day_divider_pretty: near ?? plain,
    time: `${two(at.getHours())}:${two(at.getMinutes())}`,
    time_secs: `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`,
    ago: seconds >= 0 ? `${ago} ago` : `in ${ago}`,
  };
  return pattern.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function dateNode(timestamp, pattern, url) {
  const node = el("time", { class: "date", datetime: new Date(timestamp * 1000).toISOString(), title: new Date(timestamp * 1000).toISOString() }, dateText(timestamp, pattern));
  return url ? link(url, node) : node;
}

function angle(inner, world) {
  const bar = inner.indexOf("|");
  const target = bar < 0 ? inner : inner.slice(0, bar);
  const label = bar < 0 ? "" : unescape(inner.slice(bar + 1));
  if (target.startsWith("@")) return mention(world, "user", target.slice(1), label);
  if (target.startsWith("#")) return mention(world, "channel", target.slice(1), label);
  if (target.startsWith("!subteam^")) return mention(world, "group", target.slice(9), label);
  if (target.startsWith("!date^")) {
    const [, timestamp, pattern, url] = target.split("^");
    return /^-?\d+$/.test(timestamp) ? dateNode(Number(timestamp), unescape(pattern), url && unescape(url)) : document.createTextNode(label);
  }
  if (target.startsWith("!")) return broadcast(target.slice(1));
  return link(unescape(target), label || unescape(target));
}

// Where the mark that opens at `start` closes, or -1. It hugs its text and stands at word boundaries.
function closing(text, start, mark) {
  if (wordLike(text[start - 1]) || text[start - 1] === mark || !text[start + 1] || /\s/.test(text[start + 1]) || text[start + 1] === mark) return -1;
  for (let at = start + 1; at < text.length && text[at] !== "\n"; at += 1) {
    if (text[at] === "<") { const end = text.indexOf(">", at); if (end > 0) at = end; continue; }
    if (text[at] === "`" && mark !== "`") { const end = text.indexOf("`", at + 1); if (end > 0) at = end; continue; }
    if (text[at] === mark && !/\s/.test(text[at - 1]) && !wordLike(text[at + 1]) && text[at + 1] !== mark) return at;
  }
  return -1;
}

function inline(text, world) {
  const nodes = [];
  let plain = "";
  const flush = () => { if (plain) nodes.push(...textNodes(unescape(plain))); plain = ""; };
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === "<") {
      const end = text.indexOf(">", at);
      if (end > at) { flush(); nodes.push(angle(text.slice(at + 1, end), world)); at = end; continue; }
    } else if (character === "`") {
      const end = text.indexOf("`", at + 1);
      const code = end > at + 1 ? text.slice(at + 1, end) : "";
      if (code && !code.includes("\n")) { flush(); nodes.push(el("code", {}, ...codeNodes(code, world))); at = end; continue; }
    } else if (MARKS[character]) {
      const end = closing(text, at, character);
      if (end > 0) { flush(); nodes.push(el(MARKS[character], {}, ...inline(text.slice(at + 1, end), world))); at = end; continue; }
    } else if (character === ":") {
      const name = /^:([a-z0-9_+-]+):/.exec(text.slice(at, at + 80));
      const drawn = name && emoji(name[1]);
      if (drawn) { flush(); nodes.push(drawn); at += name[0].length - 1; continue; }
    } else if (character === "\n") {
      flush(); nodes.push(el("br")); continue;
    }
    plain += character;
  }
  flush();
  return nodes;
}

// Inside code only links and mentions are special.
function codeNodes(code, world) {
  return code.split(/(<[^<>\n]*>)/).filter(Boolean).map((part) => (part.startsWith("<") ? angle(part.slice(1, -1), world) : document.createTextNode(unescape(part))));
}

function quoted(text, world) {
  const nodes = [];
  let quote = [], open = [];
  const closeQuote = () => { if (quote.length) nodes.push(el("blockquote", {}, ...inline(quote.join("\n"), world))); quote = []; };
  const closeText = () => { if (open.length && open.join("")) nodes.push(...inline(open.join("\n"), world)); open = []; };
  for (const line of text.split("\n")) {
    const mark = /^(?:&gt;|>) ?/.exec(line);
    if (mark) { closeText(); quote.push(line.slice(mark[0].length)); } else { closeQuote(); open.push(line); }
  }
  closeQuote(); closeText();
  return nodes;
}

export function mrkdwn(text, world) {
  const nodes = [];
  for (const [position, part] of text.split(/```/).entries()) {
    const isCode = position % 2 === 1;
    const closed = text.split("```").length % 2 === 1 || position < text.split("```").length - 1;
    if (isCode && closed) nodes.push(el("pre", {}, ...codeNodes(part.replace(/^\n|\n$/g, ""), world)));
    else if (part || isCode) nodes.push(...quoted((isCode ? "```" : "") + part.replace(position > 0 && !isCode ? /^\n/ : /^$/, ""), world));
  }
  return nodes;
}

// plain_text objects: emoji names, line breaks, nothing else.
export function plainText(text) {
  return text.split(/(:[a-z0-9_+-]+:|\n)/).filter(Boolean).flatMap((part) => {
    if (part === "\n") return [el("br")];
    const drawn = /^:[a-z0-9_+-]+:$/.test(part) ? emoji(part.slice(1, -1)) : null;
    return drawn ? [drawn] : textNodes(part);
  });
}
