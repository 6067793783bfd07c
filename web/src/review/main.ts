/** The worker's page: the way in, the instructions, task after task. */

import { ask, findToken, type Me, Refusal, reasonOf } from "../shared/api";
import { byId, element } from "../shared/dom";
import { icon } from "../shared/icons";
import { keep, kept } from "../shared/storage";
import { instructions } from "./instructions";
import type { TaskView } from "./task";
import { enterFromTurk, submitToTurk, turkVisit } from "./turk";
import { createWork, type Work } from "./work";

const app = byId("app", HTMLDivElement);
const turk = turkVisit(location.search);
const help = element("dialog", { class: "help", "aria-labelledby": "help-title" });
let work: Work | null = null;

document.body.append(help);
addEventListener("keydown", onkey);
void start();

async function start(): Promise<void> {
  const isArrival = location.hash.startsWith("#token=");
  const hasToken = findToken();
  try {
    if (turk) return await startFromTurk();
    if (!hasToken) return say("Please open your link", "You come in with the link that you were given.");
    const me = await ask<Me>("GET", "/api/me");
    if (isArrival && me.role !== "worker") return location.replace("/admin");
    if (kept(localStorage, "instructed") === "yes") return await takeTask(me);
    welcome(me.review.lives, "Start", async () => {
      keep(localStorage, "instructed", "yes");
      await takeTask(me);
    });
  } catch (error) {
    fail(error, start);
  }
}

async function startFromTurk(): Promise<void> {
  if (!turk) return;
  if (turk.isPreview) return welcome(2, null, null);
  const task = await enterFromTurk(turk);
  const me = await ask<Me>("GET", "/api/me");
  welcome(me.review.lives, "Start", async () => begin(me, await ask<TaskView>("GET", `/api/tasks/${task}`)));
}

async function takeTask(me: Me): Promise<void> {
  try {
    const { task } = await ask<{ task: TaskView | null }>("POST", "/api/tasks", {});
    if (task) return begin(me, task);
    say("Nothing left to do", "Every task is done or being worked on. Thank you! Look again later.", {
      label: "Look again",
      action: () => takeTask(me),
    });
  } catch (error) {
    fail(error, () => takeTask(me));
  }
}

function begin(me: Me, task: TaskView): void {
  const again = { label: "Take a task", action: () => takeTask(me) };
  work = createWork(me, task, {
    onsubmitted: () => {
      work = null;
      if (turk?.submitTo) return submitToTurk(turk);
      say(
        "Handed in. Thank you!",
        "Your answers are on the server.",
        turk ? undefined : { ...again, label: "Next task" },
      );
    },
    onlost: (title, message) => {
      work = null;
      say(title, message, turk ? undefined : again);
    },
    onhelp: () => openHelp(me.review.lives),
  });
  app.replaceChildren(work.view);
  (work.view.querySelector(".surface") as HTMLElement).focus();
}

function welcome(lives: number, label: string | null, onstart: (() => Promise<void>) | null): void {
  const button =
    label && onstart
      ? element("button", { type: "button", class: "button button-primary", onclick: () => void press() }, label)
      : element("p", { class: "lead" }, "Accept the HIT to begin.");
  async function press(): Promise<void> {
    try {
      await onstart?.();
    } catch (error) {
      fail(error, start);
    }
  }
  const card = element(
    "main",
    { class: "card card-wide" },
    brand(),
    element("h1", {}, "Cover the faces"),
    instructions(lives),
    element("div", { class: "card-buttons" }, button),
  );
  app.replaceChildren(element("div", { class: "screen" }, card));
  if (button instanceof HTMLButtonElement) button.focus({ preventScroll: true });
}

function openHelp(lives: number): void {
  const close = element("button", { type: "button", class: "button button-icon button-quiet", "aria-label": "Close" });
  close.append(icon("cross"));
  close.addEventListener("click", () => help.close());
  const all = instructions(lives);
  all.querySelector("details")?.setAttribute("open", "");
  help.replaceChildren(element("header", {}, element("h2", { id: "help-title" }, "How it works"), close), all);
  help.showModal();
}

interface Offer {
  readonly label: string;
  readonly action: () => Promise<void>;
}

function say(title: string, text: string, offer?: Offer): void {
  const button = offer
    ? element(
        "button",
        { type: "button", class: "button button-primary", onclick: () => void offer.action() },
        offer.label,
      )
    : null;
  const heading = element("h1", { tabindex: -1 }, title);
  app.replaceChildren(
    element(
      "div",
      { class: "screen" },
      element("main", { class: "card" }, brand(), heading, element("p", {}, text), button),
    ),
  );
  (button ?? heading).focus();
}

function fail(error: unknown, again: () => Promise<void>): void {
  if (error instanceof Refusal && error.status === 401)
    return say("Your link has ended", "Ask whoever invited you for a new one.");
  if (error instanceof Refusal && error.code === "paused")
    return say("The review is paused", "No tasks are given out for now. Come back later.", {
      label: "Look again",
      action: again,
    });
  say("That did not work", reasonOf(error), { label: "Try again", action: again });
}

function brand(): HTMLElement {
  return element("p", { class: "brand" }, element("span", { class: "brand-mark", "aria-hidden": "true" }), "unface");
}

function onkey(event: KeyboardEvent): void {
  if (help.open || !work || event.isComposing) return;
  if (event.key === "?") {
    event.preventDefault();
    byId("app", HTMLDivElement).querySelector<HTMLButtonElement>('[aria-label="Help"]')?.click();
  } else work.handleKey(event);
}
