// The workspace in the browser: who I am, where I am, what was said. The server's events are the only source of truth.
import { drawAttachment, drawBlocks, drawFile } from "./blocks.js";
import { composer } from "./composer.js";
import { el, svg } from "./dom.js";
import { emoji } from "./emoji.js";
import { confirmation, drawModal } from "./modal.js";
import { mrkdwn } from "./mrkdwn.js";

const $ = (id) => document.getElementById(id);
const messages = new Map(); // "C1/ts" -> message
const dismissed = new Set(); // ephemeral messages that were hidden
const seen = new Map(); // "U1/C1" -> newest ts that this person has looked at
const seenThreads = new Map(); // "U1/C1/root" -> newest ts
const state = { team: "", bot: "", people: [], channels: [], groups: [], commands: [], hints: [], views: {}, homes: {}, shortcuts: {}, me: "", channel: "", thread: "", home: false };

const world = {
  get me() { return state.me; },
  get people() { return state.people; },
  personName: (id) => state.people.find((one) => one.id === id)?.name,
  channelName: (id) => state.channels.find((one) => one.id === id)?.name,
  groupName: (id) => state.groups.find((one) => one.id === id)?.handle,
  inGroup: (id) => state.groups.find((one) => one.id === id)?.members.includes(state.me) ?? false,
};

const person = (id) => state.people.find((one) => one.id === id) ?? { id, name: id, real_name: id, is_bot: false };
const key = (message) => `${message.channel}/${message.ts}`;
const inOrder = (a, b) => (a.ts < b.ts ? -1 : a.ts > b.ts ? 1 : 0);
const visible = (message, user = state.me) => (!message.only_for || message.only_for === user) && !dismissed.has(key(message));

// -- talking to the server -------------------------------------------------------------------------------------------

async function ask(path, body) {
  try {
    const response = await fetch(`/page/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const answer = await response.json();
    if (response.status >= 400) toast(answer.error ?? "That did not work.");
    return answer;
  } catch {
    toast("The local Slack does not answer. Is the demo still running?");
    return { ok: false };
  }
}

let loading = false, again = false, backlog = [];

async function load() { // one at a time; what happens meanwhile is kept and comes after
  if (loading) { again = true; return; }
  loading = true;
  try {
    do { again = false; take(await (await fetch("/page/state")).json()); } while (again);
  } catch {
    $("connection").hidden = false; // the stream connects again, and then this too
  } finally {
    loading = false;
  }
  const missed = backlog;
  backlog = [];
  for (const event of missed) happened(event);
}

function take(answer) {
  Object.assign(state, { team: answer.team, bot: answer.bot, people: answer.people, channels: answer.channels, groups: answer.groups, commands: answer.commands, hints: answer.hints, views: answer.views, homes: answer.homes, shortcuts: answer.shortcuts });
  messages.clear();
  for (const message of answer.messages) messages.set(key(message), message);
  choosePlace();
  drawAll();
}

function listen() {
  const stream = new EventSource("/page/stream");
  stream.addEventListener("ready", async () => { $("connection").hidden = true; await load(); document.body.dataset.ready = "true"; });
  stream.addEventListener("error", () => { $("connection").hidden = false; });
  stream.addEventListener("message", (event) => happened(JSON.parse(event.data)));
}

function happened(event) {
  if (event.type === "reload") { load(); return; }
  if (loading) { backlog.push(event); return; }
  if (event.type === "views") { state.views[event.user] = event.views; drawModals(); return; }
  if (event.type === "home") { state.homes[event.user] = event.view; drawHome(); return; }
  if (event.type === "deleted") messages.delete(`${event.channel}/${event.ts}`);
  if (event.type === "message") {
    messages.set(key(event.message), event.message);
    if (event.root) messages.set(key(event.root), event.root);
  }
  soon();
}

let waiting = false;
function soon() { // many events at once are drawn once
  if (waiting) return;
  waiting = true;
  const draw = () => { waiting = false; lookAt(); drawSidebar(); drawMessages(); drawThread(); };
  if (document.hidden) draw(); // a hidden page gets no animation frames
  else requestAnimationFrame(draw);
}

// -- where I am ------------------------------------------------------------------------------------------------------

const myChannels = (user = state.me) => state.channels.filter((one) => one.members.includes(user) && !one.archived);

function choosePlace() {
  const permalink = /^\/archives\/([A-Z0-9]+)\/p(\d+)(\d{6})$/.exec(location.pathname);
  const wanted = location.hash.slice(1).split("/").map(decodeURIComponent);
  const humans = state.people.filter((one) => !one.is_bot);
  state.me = [wanted[0], state.me].find((id) => humans.some((one) => one.id === id)) ?? humans[0]?.id ?? "";
  const rooms = myChannels().map((one) => one.id);
  state.channel = [permalink?.[1], wanted[1], state.channel].find((id) => rooms.includes(id)) ?? rooms[0] ?? "";
  const ts = permalink && `${permalink[2]}.${permalink[3]}`;
  const root = new URLSearchParams(location.search).get("thread_ts") ?? ts ?? wanted[2] ?? state.thread;
  state.thread = messages.has(`${state.channel}/${root}`) ? root : "";
  if (permalink) history.replaceState(null, "", "/");
  remember();
}

function remember() {
  history.replaceState(null, "", `#${[state.me, state.channel, state.thread].filter(Boolean).map(encodeURIComponent).join("/")}`);
}

function go({ me = state.me, channel = state.channel, thread = "", home = false }) {
  const rooms = myChannels(me).map((one) => one.id);
  Object.assign(state, { me, home, channel: rooms.includes(channel) ? channel : rooms[0] ?? "", thread: rooms.includes(channel) ? thread : "" });
  remember();
  document.body.classList.remove("sidebar-open");
  $("menu").setAttribute("aria-expanded", "false");
  drawAll();
  if (home) ask("home", { user: me });
}

addEventListener("hashchange", () => { choosePlace(); drawAll(); });

// -- unread ----------------------------------------------------------------------------------------------------------

function mentions(message, user) {
  const groups = state.groups.filter((one) => one.members.includes(user)).map((one) => one.id);
  const written = JSON.stringify([message.text, message.blocks ?? [], message.attachments ?? []]);
  return [`<@${user}`, `"user_id":"${user}"`, "<!channel", "<!here", "<!everyone", ...groups.map((id) => `<!subteam^${id}`)].some((mark) => written.includes(mark));
}

function news(user, channel) {
  const last = seen.get(`${user}/${channel}`) ?? "";
  let fresh = false, calls = 0;
  for (const message of messages.values()) {
    if (message.channel !== channel || message.user === user || !visible(message, user)) continue;
    const root = message.in_thread ? message.thread_ts : "";
    const read = root ? seenThreads.get(`${user}/${channel}/${root}`) ?? "" : last;
    if (message.ts <= read) continue;
    if (!root) fresh = true;
    if (mentions(message, user)) calls += 1;
  }
  return { fresh, calls };
}

function threadNews(root) {
  const read = seenThreads.get(`${state.me}/${root.channel}/${root.ts}`) ?? "";
  const fresh = [...messages.values()].filter((one) => one.channel === root.channel && one.in_thread && one.thread_ts === root.ts && one.ts > read && one.user !== state.me && visible(one));
  return { fresh: fresh.length, calls: fresh.filter((one) => mentions(one, state.me)).length };
}

function lookAt() {
  if (document.hidden) return;
  for (const message of messages.values()) {
    if (message.channel !== state.channel) continue;
    const [map, name] = message.in_thread ? [seenThreads, `${state.me}/${message.channel}/${message.thread_ts}`] : [seen, `${state.me}/${message.channel}`];
    if (message.in_thread && message.thread_ts !== state.thread) continue;
    if (message.ts > (map.get(name) ?? "")) map.set(name, message.ts);
  }
}

// -- drawing ---------------------------------------------------------------------------------------------------------

function drawAll() {
  lookAt();
  drawSidebar();
  drawChannelHeader();
  drawComposers(); // before the lists: they scroll to their ends, which depend on the room that is left
  drawThread(true);
  drawMessages(true);
  drawHome();
  drawModals();
}

const badge = (count) => (count ? el("span", { class: "badge", "aria-label": `${count} mentions` }, count) : null);

function avatar(id, size = "") {
  const one = person(id);
  const hue = Math.max(0, state.people.filter((each) => !each.is_bot).indexOf(one)) % 6;
  if (one.is_bot) {
    return el("span", { class: `avatar avatar-bot ${size}`, "aria-hidden": "true" }, id === state.bot
      ? svg("0 0 32 32", ["path", { d: "M8 11l5 5-5 5M16 22h8", fill: "none", stroke: "#fff", "stroke-width": 3, "stroke-linecap": "round", "stroke-linejoin": "round" }]) : "S");
  }
  return el("span", { class: `avatar hue-${hue} ${size}`, "aria-hidden": "true" }, one.real_name.slice(0, 1).toUpperCase());
}

function drawSidebar() {
  $("team").textContent = state.team;
  const item = (channel) => {
    const { fresh, calls } = news(state.me, channel.id);
    const current = channel.id === state.channel && !state.home;
    const label = channel.is_im ? person(state.bot).name : channel.name;
    return el("li", {}, el("button", { class: `channel${current ? " current" : ""}${fresh || calls ? " fresh" : ""}`, "aria-current": current ? "page" : undefined, dataset: { channel: channel.id, testid: "channel" }, onclick: () => go({ channel: channel.id }) },
      el("span", { class: "sigil", "aria-hidden": "true" }, channel.is_im ? "●" : "#"), el("span", { class: "channel-label" }, label), fresh && !calls && el("span", { class: "dot", "aria-label": "unread" }), badge(calls)));
  };
  $("channels").replaceChildren(...myChannels().filter((one) => !one.is_im).map(item));
  $("directs").replaceChildren(...myChannels().filter((one) => one.is_im).map(item));
  $("direct-heading").hidden = !myChannels().some((one) => one.is_im);
  $("app-home").setAttribute("aria-current", state.home ? "page" : "false");
  $("app-home").classList.toggle("current", state.home);
  $("people").replaceChildren(...state.people.filter((one) => !one.is_bot).map((one) => {
    const calls = one.id === state.me ? 0 : myChannels(one.id).reduce((sum, channel) => sum + news(one.id, channel.id).calls, 0);
    return el("button", { class: `person${one.id === state.me ? " current" : ""}`, "aria-pressed": String(one.id === state.me), dataset: { user: one.id, testid: "person" }, onclick: () => go({ me: one.id, channel: state.channel, thread: state.thread, home: state.home }) },
      avatar(one.id, "small"), el("span", { class: "person-label" }, el("span", { class: "person-name" }, one.real_name), el("span", { class: "person-handle" }, `@${one.name}${one.title ? ` · ${one.title}` : ""}`)), badge(calls));
  }));
}

function drawChannelHeader() {
  const channel = state.channels.find((one) => one.id === state.channel);
  $("channel-name").textContent = channel ? (channel.is_im ? person(state.bot).name : `# ${channel.name}`) : "";
  $("members").textContent = channel && !channel.is_im ? `${channel.members.length} members` : "";
  $("whoami").replaceChildren(avatar(state.me, "small"));
  $("whoami").setAttribute("aria-label", `You are ${person(state.me).real_name}; become somebody else`);
  $("thread-channel").textContent = channel && !channel.is_im ? `# ${channel.name}` : "";
  document.title = `${channel ? channel.name : ""} – opsbot demo`;
}

const clock = (ts) => new Date(Number(ts) * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

function dayLabel(ts) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(Number(ts) * 1000).setHours(0, 0, 0, 0)) / 864e5);
  return days === 0 ? "Today" : days === 1 ? "Yesterday" : new Date(Number(ts) * 1000).toLocaleDateString("en-US", { weekday: "long", month: "long", day: "numeric" });
}

async function press(message, one, block, node, option) {
  if (one.confirm && !(await confirmation(one.confirm, $("dialogs")))) { if (option) node.value = ""; return; }
  if (one.url) window.open(one.url, "_blank", "noopener");
  node.classList.add("busy");
  node.disabled = true;
  const answer = await ask("press", { user: state.me, channel: message.channel, ts: message.ts, action_id: one.action_id, block_id: block.block_id, option });
  node.classList.remove("busy");
  node.disabled = false;
  if (!answer.ok) {
    node.classList.add("failed");
    toast(`The app did not handle “${one.text?.text ?? option}”${answer.error ? ` (${answer.error})` : ""}.`);
  }
}

async function pressHome(one, block, node, option) {
  node.disabled = true;
  await ask("press-home", { user: state.me, action_id: one.action_id, block_id: block.block_id, option });
  node.disabled = false;
}

// The home tab of the app, in the place of a channel.
function drawHome() {
  $("home").hidden = !state.home;
  $("messages").hidden = $("composer").hidden = state.home;
  if (!state.home) return;
  $("channel-name").textContent = `${person(state.bot).name}: Home`;
  $("members").textContent = "";
  const view = state.homes[state.me];
  $("home").replaceChildren(view ? drawBlocks(view.blocks, world, pressHome) : el("p", {}, "The app has not shown anything yet."));
}

function body(message) {
  const pressed = (one, block, node, option) => press(message, one, block, node, option);
  const parts = [];
  const edited = message.edited && el("span", { class: "edited" }, " (edited)");
  if (message.blocks?.length) parts.push(drawBlocks(message.blocks, world, pressed), edited);
  else if (message.text) parts.push(el("div", { class: "text" }, ...mrkdwn(message.text, world), edited));
  for (const attachment of message.attachments ?? []) parts.push(drawAttachment(attachment, world, pressed));
  for (const file of message.files ?? []) parts.push(drawFile(file));
  if (message.reactions?.length) {
    parts.push(el("div", { class: "reactions" }, ...message.reactions.map((one) => el("span", { class: "reaction", title: `:${one.name}:` }, emoji(one.name) ?? `:${one.name}:`, ` ${one.count}`))));
  }
  return parts;
}

function drawMessage(message, { compact, inThread }) {
  const author = person(message.user);
  const replies = !inThread && !message.in_thread && message.reply_count;
  const classes = ["message", compact && "compact", message.only_for && "only-me", mentions(message, state.me) && !message.only_for && message.user !== state.me && "mentions-me"].filter(Boolean).join(" ");
  const time = el("time", { class: "time", datetime: new Date(Number(message.ts) * 1000).toISOString() }, clock(message.ts));
  const node = el("article", { class: classes, dataset: { ts: message.ts, user: message.user, testid: "message" }, "aria-label": `${author.name} at ${clock(message.ts)}` },
    message.only_for && el("div", { class: "only-me-label" }, svg("0 0 20 20", ["path", { d: "M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5z" }], ["circle", { cx: 10, cy: 10, r: 2.4 }]), "Only visible to you"),
    el("div", { class: "message-row" }, el("div", { class: "gutter" }, compact ? time : avatar(message.user)),
      el("div", { class: "message-body" },
        !compact && el("div", { class: "byline" }, el("span", { class: "author" }, author.is_bot ? author.name : author.real_name), author.is_bot && el("span", { class: "app-badge" }, "APP"), time),
        message.broadcast && !inThread && el("div", { class: "broadcast-note" }, "replied to a thread"),
        ...body(message),
        message.only_for && el("button", { class: "text-button", onclick: () => { dismissed.add(key(message)); drawMessages(); drawThread(); } }, "Dismiss message"),
        replies && threadLink(message))),
    !inThread && !message.only_for && el("div", { class: "hover-bar" }, el("button", { class: "icon-button", title: "Reply in thread", "aria-label": "Reply in thread", onclick: () => go({ thread: message.in_thread ? message.thread_ts : message.ts }) },
      svg("0 0 20 20", ["path", { d: "M3 4h14v10H9l-4 3.5V14H3z" }])),
    ...Object.entries(state.shortcuts).map(([callback, name]) => el("button", { class: "icon-button", title: name, "aria-label": name, dataset: { testid: "shortcut" }, onclick: () => ask("shortcut", { user: state.me, channel: message.channel, ts: message.ts, callback_id: callback }) },
      svg("0 0 20 20", ["path", { d: "M10 3l1.8 4.2L16 9l-4.2 1.8L10 15l-1.8-4.2L4 9l4.2-1.8z" }])))));
  return node;
}

function threadLink(message) {
  const { fresh, calls } = threadNews(message);
  const authors = message.reply_users.slice(0, 3).map((id) => avatar(id, "tiny"));
  return el("button", { class: `thread-link${fresh ? " fresh" : ""}`, dataset: { testid: "thread-link" }, onclick: () => go({ thread: message.ts }) },
    ...authors, el("span", { class: "reply-count" }, `${message.reply_count} ${message.reply_count === 1 ? "reply" : "replies"}`), badge(calls),
    el("span", { class: "last-reply" }, `Last reply at ${clock(message.latest_reply)}`));
}

function list(found, inThread) {
  const nodes = [];
  let before = null;
  for (const message of found) {
    const newDay = !before || dayLabel(before.ts) !== dayLabel(message.ts);
    if (newDay && !inThread) nodes.push(el("div", { class: "day", role: "separator", dataset: { key: `day ${dayLabel(message.ts)}` } }, el("span", {}, dayLabel(message.ts))));
    const compact = before && !newDay && before.user === message.user && !before.only_for && !message.only_for && Number(message.ts) - Number(before.ts) < 300 && !(inThread && before === found[0]) && !message.broadcast;
    nodes.push(["message", message, { compact, inThread }]);
    if (inThread && message === found[0]) nodes.push(el("div", { class: "reply-divider", role: "separator", dataset: { key: "replies" } }, el("span", {}, found.length === 1 ? "No replies yet" : `${found.length - 1} ${found.length === 2 ? "reply" : "replies"}`)));
    before = message;
  }
  return nodes;
}

// Only what changed is drawn again: a button under the mouse stays, a selection stays.
function fill(place, nodes, jump) {
  const atEnd = jump || place.scrollHeight - place.scrollTop - place.clientHeight < 80;
  const old = new Map([...place.children].map((node) => [node.dataset.key, node]));
  const next = nodes.map((node) => {
    if (node instanceof Node) return old.get(node.dataset.key)?.isEqualNode(node) ? old.get(node.dataset.key) : node;
    const [, message, options] = node;
    const thread = options.inThread ? "" : threadNews(message);
    const print = JSON.stringify([message, options, thread, state.me, state.people.length, state.channels.length]);
    const kept = old.get(key(message));
    if (kept && kept.print === print) return kept;
    const drawn = drawMessage(message, options);
    Object.assign(drawn, { print });
    drawn.dataset.key = key(message);
    return drawn;
  });
  const focused = document.activeElement?.dataset?.actionId;
  const focusedIn = document.activeElement?.closest("[data-key]")?.dataset.key;
  let at = place.firstChild;
  for (const node of next) {
    if (node === at) at = at.nextSibling;
    else place.insertBefore(node, at);
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  if (focused && !document.activeElement?.dataset?.actionId && focusedIn) {
    [...place.querySelectorAll("[data-action-id]")].find((node) => node.dataset.actionId === focused && node.closest("[data-key]").dataset.key === focusedIn)?.focus();
  }
  if (atEnd) place.scrollTop = place.scrollHeight;
}

function drawMessages(jump = false) {
  lookAt();
  const found = [...messages.values()].filter((one) => one.channel === state.channel && (!one.in_thread || one.broadcast) && visible(one)).sort(inOrder);
  const channel = state.channels.find((one) => one.id === state.channel);
  fill($("messages"), [beginning(channel), ...list(found, false)], jump);
}

// The very beginning of a channel; in the first one, what a first-time visitor may try.
function beginning(channel) {
  const first = channel && channel.id === myChannels()[0]?.id && state.hints.length > 0;
  const offer = (hint) => el("li", {}, el("button", { class: "hint-button", type: "button", dataset: { testid: "hint" }, onclick: () => $("composer").firstElementChild?.put(hint.text) },
    el("code", {}, hint.text), el("span", { class: "hint-help" }, hint.help)));
  return el("div", { class: "welcome", dataset: { key: "welcome" } }, el("h2", {}, channel ? `# ${channel.name}` : ""),
    !first && el("p", {}, "This is the very beginning of the channel. Type ", el("kbd", {}, "/"), " to see the commands."),
    first && el("p", {}, "You are ", el("strong", {}, person(state.me).real_name), ". Click one of these or type it below, then press ", el("kbd", {}, "Enter"), ":"),
    first && el("ul", { class: "hints" }, ...state.hints.map(offer)),
    first && el("p", {}, "Each run has one card here; its steps are told in the thread under it. Type ", el("kbd", {}, "/"), " for all commands. Become somebody else under ", el("strong", {}, "You are"), "."));
}

function drawThread(jump = false) {
  const root = messages.get(`${state.channel}/${state.thread}`);
  $("thread").hidden = !root;
  $("frame").classList.toggle("with-thread", Boolean(root));
  if (!root) return;
  const replies = [...messages.values()].filter((one) => one.channel === state.channel && one.in_thread && one.thread_ts === root.ts && visible(one)).sort(inOrder);
  fill($("thread-messages"), list([root, ...replies], true), jump);
}

let composing = "";
function drawComposers() {
  const place = `${state.me}/${state.channel}/${state.thread}`;
  if (place === composing || !state.channel) return;
  composing = place;
  const toEnd = (place) => { place.scrollTop = place.scrollHeight; }; // whoever speaks wants to see the answer
  const send = (thread) => (text) => toEnd($(thread ? "thread-messages" : "messages")) ?? ask("enter", { user: state.me, channel: state.channel, text, ...(thread ? { thread_ts: thread } : {}) });
  const names = () => [...state.people.filter((one) => one.id !== "USLACKBOT").map((one) => ({ text: `@${one.name}`, help: one.real_name })), ...state.groups.map((one) => ({ text: `@${one.handle}`, help: "group" }))];
  const channel = state.channels.find((one) => one.id === state.channel);
  $("composer").replaceChildren(composer({ label: `Message ${channel.is_im ? "" : "#"}${channel.is_im ? person(state.bot).name : channel.name}`, testid: "composer", send: send(""), commands: () => state.commands, names }));
  $("thread-composer").replaceChildren(composer({ label: "Reply…", testid: "thread-composer", send: send(state.thread), commands: () => [], names }));
  if (matchMedia("(min-width: 700px)").matches) (state.thread ? $("thread-composer") : $("composer")).querySelector("textarea").focus();
}

function drawModals() {
  const stack = state.views[state.me] ?? [];
  const top = stack[stack.length - 1];
  const open = $("dialogs").querySelector("[data-view-id]");
  if (open && open.print === JSON.stringify(top)) return;
  const typed = open && top && open.dataset.viewId === top.id ? new FormData(open.querySelector("form")) : null;
  open?.close();
  open?.remove();
  if (!top) return;
  const dialog = drawModal(top, world, {
    submit: (values) => ask("submit", { user: state.me, view_id: top.id, values }),
    close: () => ask("close", { user: state.me, view_id: top.id }),
    suggest: async (block, value) => (await ask("suggest", { user: state.me, view_id: top.id, block_id: block, value })).options ?? [],
  });
  dialog.print = JSON.stringify(top);
  for (const [name, value] of typed ?? []) { // what was typed stays when errors are shown
    const fields = [...dialog.querySelectorAll("[name]")].filter((node) => node.name === name);
    for (const node of fields) if (node.type === "radio" || node.type === "checkbox") node.checked = node.value === value || (node.type === "checkbox" && node.checked); else node.value = value;
  }
  $("dialogs").append(dialog);
  dialog.showModal();
  dialog.querySelector(".has-error .input, .input")?.focus();
}

let hiding = 0;
function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { $("toast").hidden = true; }, 6000);
}

$("app-home").addEventListener("click", () => go({ home: true }));
$("close-thread").addEventListener("click", () => go({ thread: "" }));
for (const id of ["menu", "whoami"]) $(id).addEventListener("click", () => $("menu").setAttribute("aria-expanded", String(document.body.classList.toggle("sidebar-open"))));
$("messages").addEventListener("click", () => { document.body.classList.remove("sidebar-open"); $("menu").setAttribute("aria-expanded", "false"); });
addEventListener("visibilitychange", () => { if (!document.hidden && state.me) drawAll(); });
addEventListener("keydown", (event) => { if (event.key === "Escape" && state.thread && !document.querySelector("dialog[open], .completion")) go({ thread: "" }); });
setInterval(() => { for (const node of document.querySelectorAll("[data-key]")) if (node.querySelector?.("time.date")) node.print = ""; soon(); }, 60000);
listen();
