// The script of card.html. `cams_mcp.approval.card` puts it there, with the key and the words.
"use strict";
(() => {
const main = document.querySelector("main"), status = document.querySelector("[role=status]");
const source = document.getElementById("given");
const given = JSON.parse(source.textContent);
source.remove();

const FINAL = ["declined", "sent", "stopped", "refused", "unknown"];
const ARM = 1000, FALLBACK = 2500, SOON = 1500, LATER = 5000, STALLED = 8000, NO_ANSWER = 20000;  // milliseconds

let context = {}, capabilities = null, forced = null, torn = false, command = "cams-mcp approve";
let wanted;  // id of a write; "" for all; null if there is nothing to decide; undefined until a result or none comes
let writes = null, received = 0, problem = "", ranOut = false;  // the last answer, when it came, why there is none
let started = 0, applied = 0, timer, drawn = "", sizing;
const deciding = new Set(), failed = new Map();  // decisions on their way, and those that did not arrive
const seenOpen = new Set(), approvedSince = new Map(), told = new Map();

// --- Proofs. Sandboxed frames may lack crypto.subtle, so SHA-256 is written out. ---

const primes = [];
for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
const ROUNDS = primes.map((prime) => fraction(Math.cbrt(prime)));
const START = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const turn = (x, by) => (x >>> by) | (x << (32 - by));

function sha256(bytes) {
  const padded = new DataView(new ArrayBuffer(((bytes.length + 72) >> 6) << 6)), hash = [...START], w = [];
  bytes.forEach((byte, at) => padded.setUint8(at, byte));
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(padded.byteLength - 4, bytes.length * 8);
  for (let block = 0; block < padded.byteLength; block += 64) {
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2];
      w[i] = i < 16 ? padded.getInt32(block + 4 * i)
        : ((turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10)) + w[i - 7] + w[i - 16]) | 0;
      const t = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[i] + w[i];
      const u = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t) | 0, c, b, a, (t + u) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((part, i) => { hash[i] = (hash[i] + part) | 0; });
  }
  return hash.flatMap((part) => [part >>> 24, (part >>> 16) & 255, (part >>> 8) & 255, part & 255]);
}

function hmac(key, text) {
  const bytes = (value) => [...new TextEncoder().encode(value)];
  const block = bytes(key);  // our keys are no longer than a block
  while (block.length < 64) block.push(0);
  const inner = sha256([...block.map((byte) => byte ^ 0x36), ...bytes(text)]);
  return sha256([...block.map((byte) => byte ^ 0x5c), ...inner]).map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const proof = (...parts) => hmac(given.key, parts.join("\n"));

// --- Messages between this view and its host ---

const calls = new Map();
let lastCall = 0;
const post = (message) => parent.postMessage({ jsonrpc: "2.0", ...message }, "*");

function request(method, params, patience) {
  return new Promise((resolve, reject) => {
    const id = ++lastCall;
    calls.set(id, { resolve, reject });
    if (patience) setTimeout(() => calls.delete(id) && reject(new Error(words().no_answer)), patience);
    post({ id, method, params });
  });
}

const notices = {
  "ui/notifications/tool-result": (result) => {
    const data = dataOf(result);
    follow(isId(data?.approval_id) ? data.approval_id : data || result.isError ? null : "");
  },
  "ui/notifications/tool-cancelled": () => follow(""),
  "ui/notifications/host-context-changed": (changed) => adapt({ ...context, ...changed }),
};

addEventListener("message", ({ source, data }) => {
  if (source !== parent || data?.jsonrpc !== "2.0") return;
  const { id, method, params, result, error } = data;
  if (method === undefined) {
    const call = calls.get(id);
    calls.delete(id);
    if (error) call?.reject(new Error(error.message));
    else call?.resolve(result);
  } else if (id === undefined) {
    if (!torn && Object.hasOwn(notices, method)) notices[method](params ?? {});
  } else if (method === "ping" || method === "ui/resource-teardown") {
    if (method === "ui/resource-teardown") tearDown();
    post({ id, result: {} });
  } else post({ id, error: { code: -32601, message: "Method not found" } });
});

const textOf = (result) => result?.content?.find?.((item) => item?.type === "text")?.text ?? "";
function dataOf(result) {
  if (result?.structuredContent) return result.structuredContent;
  try { return JSON.parse(textOf(result)); } catch { return null; }
}

async function callTool(name, parameters, patience) {
  const result = await request("tools/call", { name, arguments: { ...parameters, language: language() } }, patience);
  const data = result?.isError ? null : dataOf(result);
  if (!Array.isArray(data?.writes)) throw new Error(textOf(result));
  return data;
}

// The host overwrites this text with the next one and passes it on with the person's next message. It may refuse.
function tell(write) {
  if (told.get(write.id) === write.state) return;
  told.set(write.id, write.state);
  const total = write.bars?.[0]?.number;
  const count = Number.isSafeInteger(total) ? filled(given.forModel.count, { n: total }) : "";
  const text = filled(given.forModel[write.state], { id: write.id, count });
  request("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => {});
}

// --- State ---

const isId = (value) => typeof value === "string" && /^[A-Za-z0-9_-]{1,40}$/.test(value);
const isWaiting = (write) => write.state === "waiting";
const isStalled = (write) => Date.now() - (approvedSince.get(write.id) ?? Infinity) >= STALLED;
const secondsLeft = (write) => Math.ceil(Math.max(0, write.expires - write.now - (Date.now() - received) / 1000));
const language = () => forced ?? (/^zh\b/i.test(context.locale || navigator.language) ? "zh" : "en");
const words = () => given.words[language()];
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const number = (value) => Number(value).toLocaleString(language());

function adapt(changed) {
  const before = language();
  context = changed ?? {};
  const isDark = context.theme ? context.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  main.dataset.theme = isDark ? "dark" : "light";
  for (const [name, value] of Object.entries(context.styles?.variables ?? {}))
    if (/^--(color|font|border)-[\w-]+$/.test(name) && typeof value === "string") main.style.setProperty(name, value);
  draw();
  if (language() !== before) load();
}

function follow(id) {
  if (wanted !== id) { writes = null; ranOut = false; problem = ""; }
  wanted = id;
  draw();
  load();
}

async function load() {
  clearTimeout(timer);
  if (torn || typeof wanted !== "string" || !capabilities?.serverTools) return;
  const order = ++started, id = wanted;
  try {
    const answer = await callTool(given.show, { ...(id && { approval_id: id }), proof: proof("show", id) }, NO_ANSWER);
    if (id === wanted) take(answer, order);
  } catch (error) {
    if (id === wanted && order > applied) problem = error.message || " ";
  }
  draw();
  if (order === started) schedule();
}

async function decide(write, decision) {
  if (torn || deciding.has(write.id)) return;
  const order = ++started, id = wanted;
  deciding.add(write.id);
  failed.delete(write.id);
  draw();
  schedule();
  try {
    const proved = { approval_id: write.id, decision, proof: proof("decide", write.id, decision) };
    const answer = await callTool(given.decide, proved);
    const latest = (each) => answer.writes.find((other) => other?.id === each.id) ?? each;
    if (id === wanted) take({ ...answer, writes: (writes ?? []).map(latest) }, order);
  } catch (error) { failed.set(write.id, error.message); }
  draw();
  await load();  // before the buttons could come back: the decision may have arrived all the same
  deciding.delete(write.id);
  draw();
  schedule();
}

// Answers may overtake each other: one that was asked for before the last one shown is too old.
function take(answer, order) {
  if (torn || order < applied) return;
  applied = order;
  problem = "";
  received = Date.now();
  command = answer.command || command;
  forced = Object.hasOwn(given.words, answer.language ?? "") ? answer.language : null;
  ranOut ||= Boolean(writes?.some(isWaiting));
  writes = answer.writes.filter((write) => isId(write?.id)).map((write) => ({ ...write, now: answer.now }));
  for (const write of writes) {
    const isFinal = FINAL.includes(write.state);
    if (!isFinal) seenOpen.add(write.id);
    if (!isWaiting(write)) failed.delete(write.id);
    if (write.state !== "approved") approvedSince.delete(write.id);
    else if (!approvedSince.has(write.id)) approvedSince.set(write.id, received);
    // Only what happened while this card was open is news to the model.
    if (seenOpen.has(write.id) && (isFinal || isStalled(write))) tell(write);
  }
}

function schedule() {
  clearTimeout(timer);
  if (torn || document.hidden) return;
  const unsettled = (writes ?? []).filter((write) => !FINAL.includes(write.state));
  const isSoon = unsettled.some((write) => (isWaiting(write) ? deciding.has(write.id) : !isStalled(write)));
  if (problem || unsettled.length) timer = setTimeout(load, isSoon && !problem ? SOON : LATER);
}

function tearDown() {
  torn = true;
  clearTimeout(timer);
  clearInterval(ticking);
  watcher.disconnect();
  for (const actions of main.querySelectorAll(".actions")) arm(actions, false);
}

// --- Drawing, with text nodes only ---

// The server replaces control characters and direction overrides. If one comes all the same, make it visible.
const clean = (text) => String(text).replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  for (const child of children.flat()) if (child) node.append(child instanceof Node ? child : clean(child));
  return node;
}

const line = (text) => text && el("p", {}, text);
const soft = (text) => text && el("p", { class: "soft" }, text);
const group = (className, texts) => texts?.length > 0 && el("div", { class: `group ${className}` }, texts.map(line));
const list = (className, items) => items?.length > 0 && el("ul", { class: className }, items);
const reason = (why) => soft(why?.trim() && filled(words().reported, { why: why.slice(0, 300) }));
const terminal = (id) => [soft(words().instead), el("p", {}, el("code", {}, `${command} ${id}`.trim()))];

function bar(whole, ...parts) {
  return el("div", { class: "bar", "aria-hidden": "true" }, parts.map(([part, className]) => {
    const share = Math.min(1, Math.max(0, part) / Math.max(1, whole)), fill = el("i", { class: className });
    fill.style.width = share && `max(3px, ${(100 * share).toFixed(2)}%)`;
    return fill;
  }));
}

function ofChange({ label, before, added }) {
  const isKnown = typeof before === "number";
  const now = isKnown ? filled(words().before, { n: number(before) }) : words().before_unknown;
  const amounts = el("b", {}, `${now} · ${filled(words().added, { n: number(added) })}`);
  return el("div", {}, el("p", { class: "pair" }, el("span", {}, label), amounts),
    isKnown && bar(before + added, [before, "before"], [added, "added"]));
}

function ofBars(bars) {
  const most = Math.max(...bars.map((each) => each.number));
  return el("dl", { class: "bars" }, bars.map((each) => el("div", {}, el("dt", {}, each.label),
    el("dd", { "aria-hidden": "true" }, bar(most, [each.number, ""])), el("dd", {}, el("b", {}, number(each.number))))));
}

function ofQuestion(write) {
  const samples = list("samples", write.samples?.map((text) => el("li", {}, text)));
  const figures = [write.change && ofChange(write.change), write.bars?.length && ofBars(write.bars),
    samples && el("div", {}, soft(words().samples), samples)].filter(Boolean);
  const target = figures.length || write.place?.length ? write.place : write.details;
  return [list("warnings", write.warnings?.map((text) => el("li", {}, el("b", {}, words().warning), text))),
    figures.length && el("div", { class: "figures" }, figures),
    group("place", target), group("consequences", write.consequences), soft(`${write.requester} ${filled(words().id, { id: write.id })}`)];
}

function ofActions(write, question) {
  const button = (decision) => {
    const attributes = { type: "button", class: decision, "aria-disabled": "true", "aria-describedby": question };
    const node = el("button", attributes, words()[decision]);
    node.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
    node.addEventListener("click", (event) => {
      if (event.isTrusted && node.getAttribute("aria-disabled") === "false") decide(write, decision);
    });
    return node;
  };
  const isBusy = deciding.has(write.id), why = failed.get(write.id);
  return [el("div", { class: isBusy ? "actions busy" : "actions" }, button("approve"), button("decline")),
    el("div", { class: "group" }, soft(isBusy ? words().recording : write.next), soft(words().trust)),
    why !== undefined && el("div", { class: "problem" }, line(words().not_recorded), reason(why), terminal(write.id))];
}

function ofWrite(write, headline) {
  const state = isWaiting(write) && !secondsLeft(write) ? "expired" : write.state, question = `question-${write.id}`;
  const clock = state === "waiting" && el("time", { role: "timer", "aria-live": "off", "data-of": write.id });
  const body = state === "waiting" ? [ofQuestion(write), ofActions(write, question)].flat()
    : [line(state === "expired" ? words().time_over : write.outcome), state === "approved" && isStalled(write) && soft(words().unsent),
      !seenOpen.has(write.id) && soft(words().already)];
  return el("article", { "aria-labelledby": question },
    el("div", { class: "top" }, el("span", { class: `badge ${state}` }, words()[state]), clock),
    el(headline, { id: question, tabindex: "-1" }, write.question), ...body);
}

function content() {
  if (wanted === null) return [soft(words().nothing)];
  if (!capabilities) return [soft(words().loading)];
  if (wanted !== undefined && !capabilities.serverTools) return [line(words().no_tools), ...terminal(wanted)];
  const retry = problem && el("button", { type: "button" }, words().again);
  if (retry) retry.addEventListener("click", load);
  const trouble = problem && el("div", { class: "problem" }, line(words().unavailable), reason(problem), terminal(wanted), retry);
  if (!writes) return [trouble || soft(words().loading)];
  const opened = writes.filter((write) => seenOpen.has(write.id));
  const shown = opened.length ? opened : writes.slice(-1), waiting = shown.filter(isWaiting).length;
  if (!shown.length) return [trouble, soft(ranOut ? words().time_over : wanted ? words().gone : words().none)];
  const several = waiting > 1 && el("h1", {}, filled(words().several, { n: number(waiting) }));
  return [trouble, several, ...shown.map((write) => ofWrite(write, several ? "h2" : "h1"))];
}

function draw() {
  if (torn) return;
  const nodes = content().filter(Boolean), looks = language() + nodes.map((node) => node.outerHTML).join("");
  if (looks !== drawn) {
    const hadFocus = main.contains(document.activeElement);
    drawn = looks;
    document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
    watcher.disconnect();
    main.replaceChildren(...nodes);
    for (const actions of main.querySelectorAll(".actions:not(.busy)")) watcher.observe(actions);
    if (hadFocus) main.querySelector("[tabindex]")?.focus({ preventScroll: true });
    const news = main.querySelectorAll("main > p, h1, .badge, article > [tabindex], article > p:not(.soft), .consequences > p, .problem > p");
    status.textContent = [...news].map((node) => node.textContent).join(" ");
  }
  tick();
}

// A button acts one second after it came into view and after anything in the card changed: a click that was meant for
// something else, or made before anybody could read the question, decides nothing.
const arming = new WeakMap();
const arm = (actions, on) => [...actions.children].forEach((button) => button.setAttribute("aria-disabled", String(!on)));
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    clearTimeout(arming.get(target));
    arm(target, false);
    if (isIntersecting) arming.set(target, setTimeout(() => arm(target, !torn), ARM));
  }
}, { threshold: 0.6 });

function tick() {
  for (const clock of main.querySelectorAll("time")) {
    const seconds = secondsLeft(writes.find((write) => write.id === clock.dataset.of));
    const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    clock.textContent = filled(words().left, { time });
    if (seconds === 60) status.textContent = words().last_minute;
    if (!seconds) return draw(), load();
  }
}
const ticking = setInterval(tick, 1000);

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  drawn = "";  // redraw for a person who returns to the card
  draw();
  load();
});

function resize() {
  const { width, height } = document.body.getBoundingClientRect();
  if (capabilities && !torn)
    post({ method: "ui/notifications/size-changed", params: { width: Math.ceil(width), height: Math.ceil(height) } });
}

new ResizeObserver(() => {
  clearTimeout(sizing);
  sizing = setTimeout(resize, 50);
}).observe(document.body);

adapt({});
request("ui/initialize", {
  protocolVersion: "2026-01-26",
  appInfo: { name: "cams-mcp-approval", version: "1" },
  appCapabilities: { availableDisplayModes: ["inline"] },
}).then((host) => {
  capabilities = host?.hostCapabilities ?? {};
  adapt(host?.hostContext);
  post({ method: "ui/notifications/initialized", params: {} });
  resize();
  load();
  setTimeout(() => wanted === undefined && follow(""), FALLBACK);
}, () => main.replaceChildren(line(words().no_host)));
})();
