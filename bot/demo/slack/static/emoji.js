// The emoji that an operations bot uses, drawn: the page looks the same with and without an emoji font.
import { el, svg } from "./dom.js";

const stroke = (d, colour, width = 2.4) => ["path", { d, fill: "none", stroke: colour, "stroke-width": width, "stroke-linecap": "round", "stroke-linejoin": "round" }];
const fill = (d, colour) => ["path", { d, fill: colour }];
const disc = (colour, r = 8.5) => ["circle", { cx: 10, cy: 10, r, fill: colour }];
const ring = (colour, inner = "none", width = 2.2, r = 7.6) => ["circle", { cx: 10, cy: 10, r, fill: inner, stroke: colour, "stroke-width": width }];
const tile = (colour) => ["rect", { x: 1.5, y: 1.5, width: 17, height: 17, rx: 3.5, fill: colour }];

const green = "#2eb67d", red = "#e01e5a", amber = "#ecb22e", blue = "#36a3eb", orange = "#ee8130", grey = "#8d8d96", dark = "#3f3f46", white = "#ffffff";
const check = "M5.5 10.5l3 3 6-7";
const cross = "M4.5 4.5l11 11M15.5 4.5l-11 11";
const glass = [fill("M5 2h10v2l-4 6 4 6v2H5v-2l4-6-4-6z", "#c9d6e3"), fill("M6.5 16.5L10 12.6l3.5 3.9zM7.6 5h4.8L10 8.8z", amber), stroke("M4.5 2h11M4.5 18h11", "#8a5a2b", 2)];
const watch = [["circle", { cx: 10, cy: 11, r: 7, fill: white, stroke: "#7a808a", "stroke-width": 2 }], stroke("M10 7.5v3.5l2.3 1.8", dark, 1.8), stroke("M8 1.8h4M10 2v2", "#7a808a", 1.8)];
const turning = [tile(blue), stroke("M5.5 9a4.6 4.6 0 018.3-2M14.5 11a4.6 4.6 0 01-8.3 2", white, 1.9), fill("M15.6 4.2v4.4h-4.4zM4.4 15.8v-4.4h4.4z", white)];

const DRAWN = {
  white_check_mark: [tile(green), stroke(check, white)],
  heavy_check_mark: [stroke("M3.5 11l4.5 4.5 8.5-11", green, 3)],
  ballot_box_with_check: [tile(blue), stroke(check, white)],
  x: [stroke(cross, red, 3.4)],
  warning: [fill("M10 1.8L19 18H1z", amber), stroke("M10 7.5v4.6", dark, 2), ["circle", { cx: 10, cy: 15, r: 1.2, fill: dark }]],
  rotating_light: [fill("M4 17.5h12V15H4z", dark), fill("M5.5 15V10a4.5 4.5 0 019 0v5z", red), stroke("M10 1.2v2M3.6 3.8l1.5 1.5M16.4 3.8l-1.5 1.5M1.2 9.8h2M16.8 9.8h2", red, 1.6)],
  no_entry: [disc(red), fill("M4.5 8.3h11v3.4h-11z", white)],
  no_entry_sign: [ring(red, white, 2.6), stroke("M5 5l10 10", red, 2.4)],
  octagonal_sign: [fill("M6.3 1.5h7.4l4.8 4.8v7.4l-4.8 4.8H6.3l-4.8-4.8V6.3z", red), fill("M5 8.4h10v3.2H5z", white)],
  red_circle: [disc(red)],
  large_orange_circle: [disc(orange)],
  large_yellow_circle: [disc(amber)],
  large_green_circle: [disc(green)],
  large_blue_circle: [disc(blue)],
  white_circle: [ring("#b9b9c0", white)],
  black_circle: [disc(dark)],
  radio_button: [ring(grey, white), disc(grey, 3.6)],
  hourglass: glass,
  hourglass_flowing_sand: glass,
  stopwatch: watch,
  alarm_clock: watch,
  clock3: watch,
  bell: [fill("M10 2.2a5 5 0 015 5c0 4.2 1.2 5.2 2 6.3H3c.8-1.1 2-2.1 2-6.3a5 5 0 015-5z", amber), fill("M8 15h4a2 2 0 01-4 0z", "#c48a12")],
  no_bell: [fill("M10 2.2a5 5 0 015 5c0 4.2 1.2 5.2 2 6.3H3c.8-1.1 2-2.1 2-6.3a5 5 0 015-5z", grey), stroke("M3 17L17 3", red, 2)],
  lock: [stroke("M6.5 9V6.5a3.5 3.5 0 017 0V9", grey, 2), ["rect", { x: 4.2, y: 8.6, width: 11.6, height: 9, rx: 2, fill: amber }]],
  unlock: [stroke("M6.5 9V6a3.5 3.5 0 016.6-1.6", grey, 2), ["rect", { x: 4.2, y: 8.6, width: 11.6, height: 9, rx: 2, fill: amber }]],
  eyes: [["ellipse", { cx: 6, cy: 10, rx: 3.8, ry: 5.6, fill: white, stroke: dark, "stroke-width": 1.4 }], ["ellipse", { cx: 14, cy: 10, rx: 3.8, ry: 5.6, fill: white, stroke: dark, "stroke-width": 1.4 }], ["circle", { cx: 4.8, cy: 11, r: 1.7, fill: dark }], ["circle", { cx: 12.8, cy: 11, r: 1.7, fill: dark }]],
  question: [stroke("M6.6 6.6A3.5 3.5 0 0110 3.6c2 0 3.6 1.3 3.6 3.2 0 2.6-3.5 2.7-3.5 5.2", red, 2.8), ["circle", { cx: 10, cy: 16.2, r: 1.7, fill: red }]],
  grey_question: [stroke("M6.6 6.6A3.5 3.5 0 0110 3.6c2 0 3.6 1.3 3.6 3.2 0 2.6-3.5 2.7-3.5 5.2", grey, 2.8), ["circle", { cx: 10, cy: 16.2, r: 1.7, fill: grey }]],
  exclamation: [stroke("M10 3.5v8", red, 3), ["circle", { cx: 10, cy: 16.2, r: 1.8, fill: red }]],
  information_source: [tile(blue), stroke("M10 9.4v5", white, 2.4), ["circle", { cx: 10, cy: 5.8, r: 1.5, fill: white }]],
  arrows_counterclockwise: turning,
  repeat: turning,
  arrow_forward: [tile(blue), fill("M7 5.2l7.5 4.8L7 14.8z", white)],
  fast_forward: [tile(blue), fill("M4 5.6l5.6 4.4L4 14.4zM10 5.6l5.6 4.4-5.6 4.4z", white)],
  black_right_pointing_triangle: [fill("M6 4l9 6-9 6z", dark)],
  double_vertical_bar: [tile(blue), fill("M6 5.2h2.8v9.6H6zM11.2 5.2H14v9.6h-2.8z", white)],
  pause_button: [tile(blue), fill("M6 5.2h2.8v9.6H6zM11.2 5.2H14v9.6h-2.8z", white)],
  black_square_for_stop: [tile(blue), fill("M5.8 5.8h8.4v8.4H5.8z", white)],
  next_track_button: [tile(blue), fill("M4.6 5.4l6 4.6-6 4.6zM11 5.4h2.6v9.2H11z", white)],
  arrow_right: [stroke("M3 10h13M11 5l5 5-5 5", blue, 2.4)],
  wrench: [stroke("M4.5 15.5l7-7", grey, 3.4), fill("M17.6 6.2a4.6 4.6 0 11-4-4l-2.1 2.5 1.6 2.4 2.4.2z", grey)],
  hammer_and_wrench: [stroke("M4.5 15.5l7-7", grey, 3.4), fill("M17.6 6.2a4.6 4.6 0 11-4-4l-2.1 2.5 1.6 2.4 2.4.2z", grey)],
  mag: [ring(grey, "#dcebf7", 2, 0), ["circle", { cx: 8.4, cy: 8.4, r: 5.4, fill: "#dcebf7", stroke: grey, "stroke-width": 2 }], stroke("M12.6 12.6l5 5", grey, 2.6)],
  memo: [["rect", { x: 3.5, y: 1.8, width: 13, height: 16.4, rx: 1.6, fill: white, stroke: grey, "stroke-width": 1.6 }], stroke("M6.5 6h7M6.5 9.3h7M6.5 12.6h4", grey, 1.5)],
  clipboard: [["rect", { x: 3.2, y: 2.4, width: 13.6, height: 16, rx: 1.8, fill: "#c98e4f" }], ["rect", { x: 5.2, y: 4.6, width: 9.6, height: 12, fill: white }], ["rect", { x: 7, y: 1.2, width: 6, height: 4, rx: 1.2, fill: grey }]],
  bar_chart: [fill("M3 17V9h3.6v8zM8.2 17V3h3.6v14zM13.4 17v-5.5H17V17z", blue)],
  chart_with_upwards_trend: [stroke("M2.5 2.5v15h15", grey, 1.8), stroke("M5 13.5l3.6-4 3 2.4 5-7", red, 2.2)],
  chart_with_downwards_trend: [stroke("M2.5 2.5v15h15", grey, 1.8), stroke("M5 5.5l3.6 4 3-2.4 5 7", blue, 2.2)],
  zap: [fill("M11.8 1L3.5 11.4h5.2L7.6 19l8.9-10.8h-5.6z", amber)],
  fire: [fill("M10 1c.6 3.6 5.6 5.4 5.6 10.6A5.7 5.7 0 0110 18.5a5.7 5.7 0 01-5.6-6.3c0-2.6 1.6-4 2.2-6 1.4.8 1.8 2 1.8 3C9.8 7 10.4 4 10 1z", orange), fill("M10.2 10.6c.4 1.8 2.6 2.6 2.6 4.8a2.8 2.8 0 01-5.6 0c0-1.6 1.4-2 3-4.8z", amber)],
  bulb: [fill("M10 1.5a6 6 0 013.4 11c-.6.5-.9 1.2-.9 2h-5c0-.8-.3-1.5-.9-2a6 6 0 013.4-11z", amber), fill("M7.5 15.6h5v2.9h-5z", grey)],
  bust_in_silhouette: [["circle", { cx: 10, cy: 6.4, r: 4.2, fill: grey }], fill("M2.5 18c0-4.4 3.3-6.6 7.5-6.6s7.5 2.2 7.5 6.6z", grey)],
  busts_in_silhouette: [["circle", { cx: 7.4, cy: 6.6, r: 3.6, fill: grey }], fill("M1.4 17c0-3.9 2.6-5.7 6-5.7s6 1.8 6 5.7z", grey), ["circle", { cx: 14, cy: 6.6, r: 2.9, fill: grey }], fill("M14.8 17h4c0-3.4-1.8-5.3-4.6-5.4.6 1.3.7 3 .6 5.4z", grey)],
  robot_face: [["rect", { x: 3, y: 6, width: 14, height: 11, rx: 2.4, fill: "#a5b4c4" }], stroke("M10 2.2V6", grey, 1.8), ["circle", { cx: 7, cy: 10.6, r: 1.6, fill: dark }], ["circle", { cx: 13, cy: 10.6, r: 1.6, fill: dark }], stroke("M7 14.2h6", dark, 1.5)],
  thumbsup: [fill("M2 9h3.4v9H2zM6.6 9.2L10 2c1.8 0 2.5 1.2 2.2 2.8L11.6 8h4.6c1.4 0 2.2 1.2 1.8 2.5l-1.8 6c-.3.9-1 1.5-2 1.5H9c-1 0-1.8-.3-2.4-.9z", amber)],
  speech_balloon: [fill("M3.5 3h13A1.5 1.5 0 0118 4.5v8a1.5 1.5 0 01-1.5 1.5H10l-4.5 4v-4h-2A1.5 1.5 0 012 12.5v-8A1.5 1.5 0 013.5 3z", "#c3cfda")],
  link: [stroke("M8.4 11.600a3.200 3.200 0 004.600 0l3-3a3.200 3.200 0 00-4.600-4.600l-1 1M11.600 8.400a3.200 3.200 0 00-4.600 0l-3 3a3.200 3.200 0 004.600 4.600l1-1", grey, 2)],
  black_small_square: [fill("M7 7h6v6H7z", dark)],
  white_medium_square: [["rect", { x: 3, y: 3, width: 14, height: 14, rx: 2, fill: white, stroke: "#b9b9c0", "stroke-width": 1.800 }]],
  heavy_minus_sign: [stroke("M4 10h12", grey, 3)],
  skull: [fill("M10 2a7 7 0 017 7c0 2.400-1 4-2.600 5v3.5H5.600V14C4 13 3 11.400 3 9a7 7 0 017-7z", "#c9cdd3"), ["circle", { cx: 7.200, cy: 9.400, r: 1.900, fill: dark }], ["circle", { cx: 12.800, cy: 9.400, r: 1.900, fill: dark }]],
};
const ALIASES = { "+1": "thumbsup", white_large_square: "white_medium_square", heavy_exclamation_mark: "exclamation", stop_sign: "octagonal_sign", hourglass_not_done: "hourglass_flowing_sand", recycle: "repeat", track_next: "next_track_button", black_right_pointing_double_triangle_with_vertical_bar: "next_track_button", hammer: "wrench", sos: "rotating_light", heavy_multiplication_x: "x" };
const CHARACTERS = { "✅": "white_check_mark", "✔": "heavy_check_mark", "☑": "ballot_box_with_check", "❌": "x", "✖": "x", "⚠": "warning", "🚨": "rotating_light", "⛔": "no_entry", "🚫": "no_entry_sign", "🛑": "octagonal_sign", "🔴": "red_circle", "🟠": "large_orange_circle", "🟡": "large_yellow_circle", "🟢": "large_green_circle", "🔵": "large_blue_circle", "⚪": "white_circle", "⚫": "black_circle", "⏳": "hourglass_flowing_sand", "⌛": "hourglass", "⏱": "stopwatch", "⏰": "alarm_clock", "🔔": "bell", "🔕": "no_bell", "🔒": "lock", "🔓": "unlock", "👀": "eyes", "❓": "question", "❔": "grey_question", "❗": "exclamation", "ℹ": "information_source", "🔄": "arrows_counterclockwise", "🔁": "repeat", "⏩": "fast_forward", "⏸": "pause_button", "⏹": "black_square_for_stop", "⏭": "next_track_button", "🔧": "wrench", "🛠": "hammer_and_wrench", "🔍": "mag", "📝": "memo", "📋": "clipboard", "📊": "bar_chart", "📈": "chart_with_upwards_trend", "📉": "chart_with_downwards_trend", "⚡": "zap", "🔥": "fire", "💡": "bulb", "👤": "bust_in_silhouette", "👥": "busts_in_silhouette", "🤖": "robot_face", "👍": "thumbsup", "💬": "speech_balloon", "🔗": "link", "💀": "skull" };
const ANY_CHARACTER = new RegExp(`(${Object.keys(CHARACTERS).join("|")})\\uFE0F?`, "u");

export function emoji(name) {
  const drawing = DRAWN[ALIASES[name] ?? name];
  if (!drawing) return null;
  const label = `:${name}:`;
  return el("span", { class: "emoji", role: "img", "aria-label": label, title: label }, svg("0 0 20 20", ...drawing));
}

// Text with emoji characters as nodes.
export function textNodes(text) {
  const nodes = [];
  for (const part of text.split(new RegExp(ANY_CHARACTER.source, "gu"))) {
    if (part === undefined || part === "") continue;
    nodes.push(CHARACTERS[part] ? emoji(CHARACTERS[part]) : document.createTextNode(part));
  }
  return nodes;
}
