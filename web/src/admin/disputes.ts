/** Images on which workers disagree: a reviewer draws what counts. */

import { COLORS } from "../editor/editor";
import { createWorkbench } from "../editor/workbench";
import { ask, askImage, reasonOf } from "../shared/api";
import type { Boxes } from "../shared/boxes";
import { element, isFieldKey } from "../shared/dom";
import { icon } from "../shared/icons";
import { Pictures } from "../shared/pictures";
import { percent } from "./figures";

interface Dispute {
  readonly id: number;
  readonly image_id: string;
  readonly width: number;
  readonly height: number;
  readonly agreement: number | null;
  readonly answers: readonly { readonly boxes: Boxes }[];
  readonly proposal: Boxes;
  readonly url: string;
}

/** Of the workers' boxes; the reviewer's own are as everywhere. */
const ANSWER_COLORS = [
  "#4cc9f0",
  "#ff9f43",
  "#b892ff",
  "#7bed9f",
  "#ff7f7f",
  "#f5f6fa",
  "#c7ecee",
  "#f8a5c2",
  "#badc58",
];
const AHEAD = 2;

export interface Disputes {
  readonly view: HTMLElement;
  /** Ask the server anew, unless somebody is at work here. */
  refresh(): Promise<void>;
  handleKey(event: KeyboardEvent): void;
}

export function createDisputes(): Disputes {
  let queue: readonly Dispute[] = [];
  let total = 0;
  let isBusy = false;
  let hidden = new Set<number>();
  const pictures = new Pictures<string>((url) => askImage(url));
  const bench = createWorkbench(() => {});
  const title = element("h1", { class: "dispute-title" });
  const note = element("p", { class: "quiet" });
  const answers = element("div", { class: "answers", role: "group", "aria-label": "Workers' answers" });
  const status = element("p", { class: "quiet", role: "status" });
  const skip = element(
    "button",
    { type: "button", class: "button", onclick: () => next(false) },
    "Skip",
    element("kbd", {}, "S"),
  );
  const decide = element("button", { type: "button", class: "button button-primary", onclick: () => void save() });
  decide.append(icon("check"), "Decide, next", element("kbd", {}, "D"));
  const empty = element(
    "div",
    { class: "empty" },
    icon("check"),
    element("h1", {}, "Nothing in dispute"),
    element("p", { class: "quiet" }, "Images on which workers disagree come here."),
  );
  bench.side.append(element("div", { class: "answers-box" }, element("h2", {}, "Workers drew"), answers));
  const work = element(
    "main",
    { class: "dispute" },
    element("div", { class: "dispute-head" }, title, note),
    element("div", { class: "desk" }, bench.stage, bench.side),
    element(
      "footer",
      { class: "bottombar" },
      element("div", { class: "buttons" }, skip),
      bench.tools,
      element("div", { class: "buttons" }, status, decide),
    ),
  );
  const view = element("div", { class: "disputes" }, empty);

  async function refresh(): Promise<void> {
    if (queue.length) return;
    try {
      const found = await ask<{ total: number; images: readonly Dispute[] }>("GET", "/api/disputes?limit=20");
      [total, queue] = [found.total, found.images];
      show();
    } catch (error) {
      status.textContent = reasonOf(error);
    }
  }

  function show(): void {
    const dispute = queue[0];
    view.replaceChildren(dispute ? work : empty);
    if (!dispute) return;
    hidden = new Set();
    title.textContent = dispute.image_id;
    note.textContent = `Agreement ${percent(dispute.agreement)}. ${total === 1 ? "The last one" : `${total} in dispute`}.`;
    bench.editor.setPicture(undefined);
    bench.editor.show({ size: dispute, boxes: dispute.proposal, overlays: [], editable: true });
    bench.describe(`${dispute.image_id}, ${dispute.proposal.length} boxes proposed`);
    overlay();
    pictures.keepOnly(queue.slice(0, 1 + AHEAD).map((each) => each.url));
    void picture(dispute);
    decide.focus({ preventScroll: true });
  }

  async function picture(dispute: Dispute): Promise<void> {
    try {
      const loaded = await pictures.get(dispute.url);
      if (dispute === queue[0]) bench.editor.setPicture(loaded);
    } catch (error) {
      if (dispute === queue[0]) status.textContent = reasonOf(error);
    }
  }

  function overlay(): void {
    const given = queue[0]?.answers ?? [];
    const colors = given.map((_, index) => ANSWER_COLORS[index % ANSWER_COLORS.length] ?? COLORS.truth);
    const shown = given.map(({ boxes }, index) => ({ boxes, color: colors[index] as string, dashed: true }));
    bench.editor.setOverlays(
      shown.filter((_, index) => !hidden.has(index)),
      true,
    );
    answers.replaceChildren(
      ...given.map(({ boxes }, index) => {
        const swatch = element("span", { class: "swatch" });
        swatch.style.background = colors[index] as string;
        const text = `Worker ${index + 1}: ${boxes.length === 1 ? "1 box" : `${boxes.length} boxes`}`;
        return element(
          "div",
          { class: "answer" },
          element(
            "button",
            {
              type: "button",
              class: "box-item",
              "aria-pressed": !hidden.has(index) ? "true" : "false",
              onclick: () => flip(index),
            },
            swatch,
            text,
          ),
          element(
            "button",
            {
              type: "button",
              class: "button button-quiet",
              onclick: () => adopt(boxes),
              "aria-label": `Take worker ${index + 1}'s boxes`,
            },
            "Take",
          ),
        );
      }),
    );
  }

  function flip(index: number): void {
    if (!hidden.delete(index)) hidden.add(index);
    overlay();
  }

  function adopt(boxes: Boxes): void {
    bench.editor.replaceBoxes(boxes);
  }

  function next(isDecided: boolean): void {
    const [first, ...others] = queue;
    if (!first || isBusy) return;
    queue = isDecided ? others : [...others, first];
    if (isDecided) total -= 1;
    if (queue.length) show();
    else void refresh().then(() => show());
  }

  async function save(): Promise<void> {
    const dispute = queue[0];
    if (!dispute || isBusy) return;
    isBusy = true;
    status.textContent = "Saving…";
    try {
      await ask("PUT", `/api/disputes/${dispute.id}`, { key: crypto.randomUUID(), boxes: bench.editor.boxes });
      status.textContent = "Saved";
      isBusy = false;
      next(true);
    } catch (error) {
      status.textContent = `${reasonOf(error)} Try again.`;
    }
    isBusy = false;
  }

  function handleKey(event: KeyboardEvent): void {
    if (!queue.length || isFieldKey(event)) return;
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    const key = event.key.toLowerCase();
    if (isPlain && key === "d") void save();
    else if (isPlain && key === "s") next(false);
    else if (!bench.handleKey(event)) return;
    event.preventDefault();
  }

  return { view, refresh, handleKey };
}
