// Keeps the approval page up to date. The page works without it: the buttons are those of a plain form.
// Text reaches the page by textContent and setAttribute only; the server's policy forbids anything else.
"use strict";
(() => {
  const POLL_MS = 1000;
  const ANSWER_MS = 5000;
  const ARM_MS = 1000;
  const SOON_SECONDS = 60;
  const MISSES = 3;
  const OPEN = ["waiting", "approved", "sending"];

  const $ = (id) => document.getElementById(id);
  const main = document.querySelector("main");
  const words = JSON.parse(main.dataset.words);
  const requests = $("requests");
  const template = { card: $("card").content.firstElementChild, row: $("row").content.firstElementChild };
  const seconds = () => performance.now() / 1000;

  /** The cards on the page: element, what it shows, the clock's time at which its question expires. */
  const cards = new Map();
  let arming = 0;
  let misses = 0;
  let over = false;
  let leaving = false;
  let timer = 0;

  // --- Drawing. page_html.py draws the same. ---

  const slot = (card, name) => card.querySelector(`[data-slot="${name}"]`);
  const part = (card, name) => card.querySelector(`[data-part="${name}"]`);

  function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  /** Announce a text to a screen reader, even if it repeats the last one. */
  function announce(text) {
    const said = document.createElement("span");
    said.textContent = text;
    $("news").replaceChildren(said);
  }

  function item(text, lead) {
    const made = document.createElement("li");
    if (lead === undefined) {
      made.textContent = text;
      return made;
    }
    for (const [name, words] of [["strong", lead], ["span", text]]) {
      const child = document.createElement(name);
      child.textContent = words;
      made.append(child);
    }
    return made;
  }

  function row(bar) {
    const made = template.row.cloneNode(true);
    made.querySelector("th").textContent = bar.label;
    made.querySelector(".number").textContent = bar.number;
    made.querySelector(".fill").setAttribute("width", bar.share);
    return made;
  }

  function draw(card, view) {
    const isWaiting = view.state === "waiting";
    const question = `question-${view.id}`;
    card.id = `write-${view.id}`;
    card.dataset.state = view.state;
    card.setAttribute("aria-labelledby", question);
    slot(card, "question").id = question;
    for (const name of ["status", "question", "requester", "next", "outcome", "until"]) say(slot(card, name), view[name]);
    for (const name of ["warnings", "samples", "place", "consequences"]) {
      const list = card.querySelector(`[data-list="${name}"]`);
      list.replaceChildren(...view[name].map((text) => item(text, list.dataset.lead)));
      const section = name === "warnings" ? list : part(card, name);
      if (section) section.hidden = !view[name].length;
    }
    card.querySelector("[data-rows]").replaceChildren(...view.bars.map(row));
    const contents = part(card, "bars").querySelector("h3");
    contents.id = `contents-${view.id}`;
    card.querySelector("table").setAttribute("aria-labelledby", contents.id);
    part(card, "bars").hidden = !view.bars.length;
    part(card, "change").hidden = !view.change;
    if (view.change) {
      say(slot(card, "change-label"), view.change.label);
      say(slot(card, "before"), view.change.before);
      say(slot(card, "added"), view.change.added);
      card.querySelector('[data-bar="share"]').setAttribute("width", view.change.share);
      card.querySelector('[data-bar="added"]').setAttribute("x", view.change.share);
      card.querySelector('[data-bar="added"]').setAttribute("width", view.change.share_added);
    }
    for (const name of ["clock", "next", "decision"]) part(card, name).hidden = !isWaiting;
    const form = part(card, "decision");
    form.querySelector('[name="id"]').setAttribute("value", view.id);
    if (!isWaiting) setToken(card, "");
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-describedby", question);
  }

  function setToken(card, token) {
    part(card, "decision").querySelector('[name="token"]').setAttribute("value", token);
  }

  /** What makes a card look different, without what changes with every answer. */
  const content = ({ token, seconds_left, ...shown }) => JSON.stringify(shown);

  // --- What arrives ---

  function show(page) {
    document.title = page.title;
    say($("heading"), page.heading);
    say($("lead"), page.lead);
    say($("door"), page.door);
    $("door").hidden = !page.waiting;
    let moved = false;
    let appeared = 0;
    const listed = new Set();
    for (const view of page.writes) {
      listed.add(view.id);
      const known = cards.get(view.id);
      const expires = seconds() + view.seconds_left;
      if (known === undefined) {
        const card = template.card.cloneNode(true);
        draw(card, view);
        setToken(card, view.token);
        requests.append(card);
        cards.set(view.id, { card, view, expires });
        appeared += view.state === "waiting";
        moved = true;
      } else {
        if (content(known.view) !== content(view)) {
          const hadFocus = known.card.contains(document.activeElement);
          draw(known.card, view);
          if (hadFocus && view.state !== "waiting") known.card.focus({ preventScroll: true });
          moved = true;
        }
        Object.assign(known, { view, expires });
      }
    }
    for (const [id, known] of cards) {
      if (!listed.has(id) && OPEN.includes(known.view.state)) {
        known.view = { ...known.view, state: "expired", status: words.expired, outcome: words.expired_outcome };
        draw(known.card, known.view);
        moved = true;
      }
    }
    if (moved) rearm(page);
    if (appeared) announce(words.new);
    tick();
  }

  /** Something may have moved under the pointer, so all buttons wait again, here and on the server. */
  function rearm(page) {
    for (const view of page.writes) if (view.token) setToken(cards.get(view.id).card, view.token);
    arm();
  }

  function arm() {
    requests.dataset.armed = "false";
    clearTimeout(arming);
    arming = setTimeout(() => (requests.dataset.armed = "true"), ARM_MS);
  }

  function tick() {
    for (const known of cards.values()) {
      if (known.view.state !== "waiting") continue;
      const left = Math.max(0, Math.floor(known.expires - seconds()));
      const time = `${String(Math.floor(left / 60)).padStart(2, "0")}:${String(left % 60).padStart(2, "0")}`;
      say(slot(known.card, "left"), words.left.replace("{time}", time));
      const isSoon = left < SOON_SECONDS;
      if (isSoon && !known.soon) announce(words.last_minute);
      known.soon = isSoon;
      known.card.classList.toggle("soon", isSoon);
    }
  }

  // --- The connection ---

  function connection(text, { command = false, calm = false } = {}) {
    $("connection").hidden = !text;
    $("connection").classList.toggle("calm", calm);
    $("connection-command").hidden = !command || !$("connection-command").textContent;
    say($("connection-text"), text);
    main.classList.toggle("lost", Boolean(text) && !calm);
  }

  const isFinished = () => ![...cards.values()].some((known) => OPEN.includes(known.view.state));

  async function poll() {
    clearTimeout(timer);
    if (leaving || over) return;
    try {
      const visible = document.visibilityState === "visible" ? "1" : "0";
      const response = await fetch(`state?visible=${visible}`, { signal: AbortSignal.timeout(ANSWER_MS), redirect: "error" });
      if (response.ok) {
        const page = await response.json();
        if (leaving) return;
        misses = 0;
        connection("");
        show(page);
      } else if (response.status === 503) {
        connection(words.store);
      } else {
        over = true;
        lost();
      }
    } catch {
      if (leaving) return;
      misses += 1;
      if (misses >= MISSES) lost();
    }
    if (!over) timer = setTimeout(poll, POLL_MS);
  }

  function lost() {
    if (isFinished()) connection(words.finished, { calm: true });
    else connection(over ? words.over : words.gone, { command: true });
  }

  // --- The person ---

  function note(text) {
    say($("note"), text);
    $("note").hidden = false;
  }

  requests.addEventListener("submit", (event) => {
    const isTooEarly = requests.dataset.armed !== "true";
    if (isTooEarly || leaving || main.classList.contains("lost")) {
      event.preventDefault();
      if (isTooEarly) note(words.note_early);
      return;
    }
    leaving = true;
    requests.dataset.armed = "false";
  });
  document.addEventListener("visibilitychange", poll);
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    // The browser kept this page while the person was on another one. What it shows is old.
    location.reload();
  });

  for (const view of JSON.parse(main.dataset.page).writes) {
    cards.set(view.id, { card: $(`write-${view.id}`), view, expires: seconds() + view.seconds_left });
  }
  arm();
  tick();
  if (location.search) history.replaceState(null, "", location.pathname + location.hash);
  poll();
  setInterval(tick, 250);
})();
