/** Working on a task: one image after the other, each answer saved when its image is left. */

import { COLORS } from "../editor/editor";
import { createWorkbench, tool } from "../editor/workbench";
import { ask, askImage, type Me, Offline, pause, Refusal, reasonOf } from "../shared/api";
import { element, isFieldKey } from "../shared/dom";
import { icon } from "../shared/icons";
import { Pictures } from "../shared/pictures";
import { type Answer, Outbox, type Saved } from "./outbox";
import { Task, type TaskView } from "./task";

export interface Ending {
  /** The task is handed in. */
  onsubmitted(): void;
  /** Nothing more can be done on this task: says why. */
  onlost(title: string, message: string): void;
  onhelp(): void;
}

/** A wrong answer on a check, to be shown before the work goes on. */
interface Lesson {
  readonly position: number;
  /** Where the worker was by then: further on, if the network was slow. */
  readonly back: number;
  /** Lives that it left. */
  readonly lives: number;
  readonly restarted: boolean;
}

const REPLY_WITHIN_MS = 800;
const AHEAD = 3;
const BEHIND = 1;
const RETRY_MS = 2000;

export interface Work {
  readonly view: HTMLElement;
  handleKey(event: KeyboardEvent): void;
  /** End it: what is waiting stays kept. */
  close(): void;
}

/** The page's work on a task. */
export function createWork(me: Me, first: TaskView, ending: Ending): Work {
  const lives = me.review.lives;
  const waiters = new Map<string, () => void>();
  let lessons: Lesson[] = [];
  let isBusy = false;
  let isClosed = false;
  let shown = -1; // which image the editor shows; -1 while it changes
  let lookedSince = performance.now();
  const outbox = new Outbox(localStorage, { send: sendAnswer, pause, onreply, onchange: () => updateState() });
  let task = new Task(first, outbox.resume(first.id), localStorage);
  let pictures = newPictures();

  const bench = createWorkbench(() => onboxes());
  const title = element("h1", { class: "where", tabindex: -1 });
  const done = element("span", { class: "done-count" });
  const hearts = element("span", { class: "lives", role: "img" });
  const state = element("span", { class: "state", role: "status" });
  const strip = element("div", { class: "strip", role: "group", "aria-label": "Images" });
  const message = element("section", { class: "message", hidden: true });
  const blank = element("p", { class: "blank" }, "Loading the image…");
  const before = element(
    "button",
    { type: "button", class: "button", onclick: () => goBack() },
    icon("left"),
    "Back",
    element("kbd", {}, "A"),
  );
  const next = element(
    "button",
    { type: "button", class: "button button-primary next", onclick: () => void goNext() },
    element("span", {}, "Save, next"),
    icon("right"),
    element("kbd", {}, "D"),
  );
  bench.stage.append(blank, message);
  const view = element(
    "div",
    { class: "work" },
    element(
      "header",
      { class: "topbar" },
      element("span", { class: "brand" }, element("span", { class: "brand-mark", "aria-hidden": "true" }), "unface"),
      element("div", { class: "where-box" }, title, done),
      hearts,
      state,
      tool("help", "Help", "?", () => ending.onhelp()),
    ),
    strip,
    element("main", { class: "desk" }, bench.stage, bench.side),
    element("footer", { class: "bottombar" }, before, bench.tools, next),
  );
  buildStrip();
  show(task.at);
  if (task.isComplete) offerEnd();

  function onboxes(): void {
    if (isClosed || shown !== task.at) return;
    if (!lessons.length) task.draw(bench.editor.boxes);
    describe();
  }

  function describe(): void {
    const count = bench.editor.boxes.length;
    bench.describe(`Image ${task.at + 1} of ${task.length}, ${count === 1 ? "1 box" : `${count} boxes`}`);
  }

  function show(position: number): void {
    spendTime();
    task.goTo(position);
    shown = -1; // what the editor tells while it changes is not drawn by anybody
    const { size, boxes } = task.page();
    bench.editor.setPicture(undefined);
    bench.editor.show({ size, boxes, overlays: [], editable: true });
    shown = position;
    showTruth();
    describe();
    blank.hidden = false;
    blank.textContent = "Loading the image…";
    void showPicture(position);
    const near = Array.from({ length: BEHIND + AHEAD + 1 }, (_, i) => position - BEHIND + i);
    pictures.keepOnly(near.filter((place) => place >= 0 && place < task.length));
    updateState();
  }

  async function showPicture(position: number): Promise<void> {
    const from = pictures;
    try {
      const picture = await from.get(position);
      if (position !== shown || from !== pictures) return;
      bench.editor.setPicture(picture);
      blank.hidden = true;
    } catch (error) {
      if (position === shown && from === pictures) blank.textContent = `${reasonOf(error)} Go on with the next one.`;
    }
  }

  /** The right boxes beside the worker's, where the answer was wrong. */
  function showTruth(): void {
    const { truth } = task.page();
    const overlays = truth ? [{ boxes: truth, color: COLORS.truth, dashed: true }] : [];
    bench.editor.setOverlays(overlays, !lessons.length);
  }

  function newPictures(): Pictures<number> {
    const of = task;
    return new Pictures((position) => fetchPicture(of, position));
  }

  async function fetchPicture(of: Task, position: number): Promise<ImageBitmap> {
    for (let isRenewed = false; ; ) {
      try {
        return await askImage(of.page(position).url);
      } catch (error) {
        const isPassing = error instanceof Offline || (error instanceof Refusal && error.passing);
        if (isClosed || of !== task) throw error;
        if (isPassing) await pause(RETRY_MS);
        else if (error instanceof Refusal && error.code === "unknown" && !isRenewed) {
          isRenewed = true; // the link has expired
          of.renew(await ask<TaskView>("GET", `/api/tasks/${of.id}`));
        } else throw error;
      }
    }
  }

  function goBack(): void {
    if (isBusy) return;
    if (lessons.length) return goOn();
    hideMessage();
    if (task.isDrafted()) save();
    if (task.at > 0) show(task.at - 1);
  }

  async function goNext(): Promise<void> {
    if (isBusy) return;
    if (lessons.length) return goOn();
    if (!message.hidden) return;
    if (task.isChanged()) {
      isBusy = true;
      next.setAttribute("aria-busy", "true");
      await Promise.race([save(), pause(REPLY_WITHIN_MS)]);
      isBusy = false;
      next.removeAttribute("aria-busy");
    }
    if (isClosed || lessons.length) return;
    leave();
  }

  /** On to the next image, or the end. */
  function leave(): void {
    if (task.at + 1 < task.length) return show(task.at + 1);
    const open = task.nextOpen(task.at);
    if (open === null) return offerEnd();
    show(open);
    bench.say(`${task.length - task.answeredCount} images have no answer yet.`);
  }

  /** Put the answer on the image at hand on its way; resolves when the server has spoken. */
  function save(): Promise<void> {
    spendTime();
    const answer = task.answer(task.at, crypto.randomUUID(), Date.now());
    const spoken = new Promise<void>((resolve) => waiters.set(answer.key, resolve));
    outbox.add(answer);
    updateState();
    return spoken;
  }

  function onreply(answer: Answer, reply: Saved | Refusal): void {
    if (isClosed || answer.task !== task.id) return;
    if (reply instanceof Refusal) onrefusal(answer, reply);
    else if (answer.attempt === task.attempt) onsaved(answer, reply);
    waiters.get(answer.key)?.();
    waiters.delete(answer.key);
    updateState();
  }

  function onsaved(answer: Answer, saved: Saved): void {
    task.take(answer, saved);
    if (!saved.truth) return;
    const left = saved.restarted ? 0 : saved.lives;
    const { restarted } = saved;
    lessons = [...lessons, { position: answer.position, back: task.at, lives: left, restarted }];
    if (saved.restarted) outbox.drop((other) => other.task === task.id && other.attempt === answer.attempt);
    if (lessons.length === 1) teach();
  }

  function onrefusal(answer: Answer, refusal: Refusal): void {
    if (refusal.status === 401)
      return lose("Your link has ended", "Ask for a new one. Your answers wait in this browser.");
    if (refusal.code === "ended") return lose("This task is no longer yours", sentence(refusal.message));
    if (refusal.code === "stale") return void restart();
    task.withdraw(answer.position);
    show(answer.position);
    bench.say(refusal.message);
    state.textContent = refusal.message;
  }

  /** Show the first lesson: the worker's boxes, the right ones, and what it cost. */
  function teach(): void {
    const lesson = lessons[0];
    if (!lesson) return;
    show(lesson.position);
    const left = lesson.lives === 1 ? "1 life left" : `${lesson.lives} lives left`;
    const what = lesson.restarted
      ? "That was the last life: the task starts again at its first image."
      : `It cost a life: ${left}. The work goes on.`;
    const key = element(
      "p",
      { class: "legend" },
      element("span", { class: "swatch swatch-truth" }),
      "right",
      element("span", { class: "swatch" }),
      "yours",
    );
    const none = task.page().truth?.length === 0 ? " There is no face to cover here." : "";
    const go = element("button", { type: "button", class: "button button-primary", onclick: () => goOn() });
    go.append(lesson.restarted ? "Start again" : "Continue", element("kbd", {}, "Enter"));
    showMessage(
      "bad",
      "This was a check, and the boxes were not right",
      element("p", {}, `The dashed green boxes are right.${none} ${what}`),
      key,
      go,
    );
  }

  /** On after a lesson. */
  function goOn(): void {
    const [lesson, ...others] = lessons;
    if (!lesson) return;
    lessons = others;
    hideMessage();
    if (lesson.restarted) return void restart();
    if (others.length) teach();
    else if (lesson.back === lesson.position) leave();
    else show(lesson.back);
  }

  async function restart(): Promise<void> {
    lessons = [];
    try {
      const fresh = await ask<TaskView>("GET", `/api/tasks/${task.id}`);
      if (fresh.state !== "open") return lose("This task is over", `It was ${fresh.state}.`);
      task.clear();
      task = new Task(fresh, outbox.waiting, localStorage);
      pictures.keepOnly([]);
      pictures = newPictures();
      hideMessage();
      show(task.at);
      title.focus();
      bench.say("The task has started again at its first image.");
    } catch (error) {
      failed(error, restart);
    }
  }

  function offerEnd(): void {
    const many = outbox.waiting.length;
    const go = element("button", { type: "button", class: "button button-primary", onclick: () => void submit() });
    go.append("Hand in", element("kbd", {}, "Enter"));
    const look = element("button", { type: "button", class: "button", onclick: () => hideMessage() }, "Look again");
    const text = many ? "The last answers are on their way." : "You can still go back and look again.";
    showMessage("good", `All ${task.length} images are done`, element("p", {}, text), go, look);
  }

  async function submit(): Promise<void> {
    if (isBusy) return;
    isBusy = true;
    while (outbox.waiting.length && !isClosed && !lessons.length) await pause(100);
    isBusy = false;
    if (isClosed || lessons.length) return;
    try {
      await ask("POST", `/api/tasks/${task.id}/submit`, { attempt: task.attempt });
      task.clear();
      close();
      ending.onsubmitted();
    } catch (error) {
      if (error instanceof Refusal && (error.code === "stale" || error.code === "incomplete")) return void restart();
      if (error instanceof Refusal && error.code === "ended")
        return lose("This task is no longer yours", error.message);
      failed(error, submit);
    }
  }

  /** Say what went wrong, and let it be tried again. */
  function failed(error: unknown, again: () => Promise<void>): void {
    const go = element(
      "button",
      { type: "button", class: "button button-primary", onclick: () => void again() },
      "Try again",
    );
    showMessage("bad", "That did not work", element("p", {}, reasonOf(error)), go);
  }

  function lose(heading: string, text: string): void {
    if (isClosed) return;
    close();
    ending.onlost(heading, text);
  }

  function showMessage(kind: "good" | "bad", heading: string, ...content: HTMLElement[]): void {
    message.className = `message message-${kind}`;
    message.setAttribute("role", "alertdialog");
    message.setAttribute("aria-label", heading);
    const [text, ...others] = content;
    const buttons = others.filter((part) => part instanceof HTMLButtonElement);
    message.replaceChildren(
      element(
        "div",
        { class: "message-text" },
        element("h2", {}, heading),
        text ?? "",
        ...others.filter((part) => !buttons.includes(part as HTMLButtonElement)),
      ),
      element("div", { class: "message-buttons" }, ...buttons),
    );
    message.hidden = false;
    buttons[0]?.focus();
  }

  function hideMessage(): void {
    message.hidden = true;
    showTruth();
    (bench.stage.firstElementChild as HTMLElement).focus();
  }

  function buildStrip(): void {
    const cells = Array.from({ length: task.length }, (_, position) =>
      element("button", { type: "button", class: "cell", tabindex: -1, onclick: () => jump(position) }),
    );
    strip.replaceChildren(...cells);
  }

  function jump(position: number): void {
    if (isBusy || lessons.length || position === task.at) return;
    hideMessage();
    if (task.isDrafted()) void save();
    show(position);
  }

  function updateState(): void {
    if (isClosed || shown < 0) return;
    const { at, length } = task;
    title.textContent = `Image ${at + 1} of ${length}`;
    done.textContent = `${task.answeredCount} done`;
    const left = lessons[0]?.lives ?? task.lives;
    hearts.replaceChildren(...Array.from({ length: lives }, (_, i) => icon("heart", i < left)));
    hearts.setAttribute("aria-label", `${left} of ${lives} lives`);
    before.disabled = at === 0;
    const isLast = at === length - 1;
    const label = next.firstElementChild as HTMLElement;
    label.textContent = task.isChanged() ? (isLast ? "Save" : "Save, next") : "Next";
    Array.from(strip.children).forEach((cell, position) => {
      const { answered, truth } = task.page(position);
      const kind = truth ? "wrong check" : answered ? "answered" : "open";
      cell.className = `cell cell-${kind === "wrong check" ? "wrong" : kind}`;
      cell.setAttribute("aria-label", `Image ${position + 1}, ${kind}`);
      cell.toggleAttribute("aria-current", position === at);
    });
    updateSaved();
  }

  function updateSaved(): void {
    const many = outbox.waiting.length;
    const answers = many === 1 ? "1 answer" : `${many} answers`;
    const text = !many ? "Saved" : outbox.isStuck ? `Offline: ${answers} kept here` : "Saving…";
    if (state.textContent !== text) state.replaceChildren(icon(many ? "cloud" : "check"), text);
    state.classList.toggle("state-stuck", many > 0 && outbox.isStuck);
  }

  function spendTime(): void {
    const now = performance.now();
    if (shown >= 0 && !document.hidden) task.spend(shown, (now - lookedSince) / 1000);
    lookedSince = now;
  }

  function handleKey(event: KeyboardEvent): void {
    if (isFieldKey(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (isPlain && (key === "d" || key === "ArrowRight")) void goNext();
    else if (isPlain && (key === "a" || key === "ArrowLeft")) goBack();
    else if (isPlain && key === "Escape" && !message.hidden && !lessons.length) hideMessage();
    else if (lessons.length || !message.hidden || !bench.handleKey(event)) return;
    event.preventDefault();
  }

  function close(): void {
    isClosed = true;
    document.removeEventListener("visibilitychange", spendTime);
    pictures.keepOnly([]);
  }

  document.addEventListener("visibilitychange", spendTime);
  return { view, handleKey, close };
}

function sendAnswer(answer: Answer): Promise<Saved> {
  const { task, position, attempt, key, seconds, boxes } = answer;
  return ask<Saved>("PUT", `/api/tasks/${task}/images/${position}`, { attempt, key, seconds, boxes });
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
