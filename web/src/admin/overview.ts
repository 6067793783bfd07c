/** How the review stands, live. */

import { ask, reasonOf } from "../shared/api";
import { element } from "../shared/dom";
import { icon } from "../shared/icons";
import { ago, count, dollars, duration, percent } from "./figures";

interface Worker {
  readonly account_id: number;
  readonly name: string;
  readonly tasks_submitted: number;
  readonly tasks_open: number;
  readonly answers: number;
  readonly seconds_per_answer: number | null;
  readonly gold_right: number;
  readonly gold_judged: number;
  readonly gold_low: number;
  readonly gold_high: number;
  readonly agreement: number | null;
  readonly last_answer_at: string | null;
}

interface HardImage {
  readonly id: number;
  readonly image_id: string;
  readonly agreement: number;
  readonly decision: string;
}

export interface Dashboard {
  readonly paused: boolean;
  readonly images_total: number;
  readonly images_agreed: number;
  readonly images_adjudicated: number;
  readonly images_disputed: number;
  readonly images_undecided: number;
  readonly slots_total: number;
  readonly slots_submitted: number;
  readonly slots_open: number;
  readonly answers: number;
  readonly images_per_hour: number;
  readonly hours_left: number | null;
  readonly price_per_task: number;
  readonly cost_so_far: number;
  readonly cost_expected: number;
  readonly cost_paper_scale: number;
  readonly cost_paper: number;
  readonly agreement: number | null;
  readonly alpha: number | null;
  readonly workers: readonly Worker[];
  readonly hardest: readonly HardImage[];
}

const EVERY_MS = 3000;
const DECISIONS: Record<string, readonly [string, string]> = {
  agreed: ["agreed", "good"],
  adjudicated: ["decided", "good"],
  adjudicate: ["in dispute", "warn"],
  ask: ["asks one more", "plain"],
  asked: ["asks one more", "plain"],
};

export interface Overview {
  readonly view: HTMLElement;
  /** The button that pauses and resumes, for the head of the page. */
  readonly control: HTMLElement;
}

/** `onboard` is told of every new state. */
export function createOverview(onboard: (board: Dashboard) => void): Overview {
  const view = element("main", { class: "overview" }, element("p", { class: "quiet" }, "Loading…"));
  const live = element("span", { class: "live", role: "status" });
  const toggle = element("button", { type: "button", class: "button", onclick: () => void change() });
  toggle.hidden = true;
  let isPaused = false;
  let latest = 0;

  async function refresh(): Promise<void> {
    if (document.hidden) return;
    latest += 1;
    const mine = latest;
    try {
      const board = await ask<Dashboard>("GET", "/api/dashboard");
      if (mine === latest) render(board);
    } catch (error) {
      live.className = "live live-off";
      live.textContent = reasonOf(error);
    }
  }

  async function change(): Promise<void> {
    toggle.disabled = true;
    try {
      await ask("POST", isPaused ? "/api/resume" : "/api/pause", {});
      await refresh();
    } catch (error) {
      live.textContent = reasonOf(error);
    }
    toggle.disabled = false;
  }

  function render(board: Dashboard): void {
    isPaused = board.paused;
    toggle.hidden = false;
    toggle.replaceChildren(icon(isPaused ? "play" : "pause"), isPaused ? "Resume" : "Pause");
    live.className = isPaused ? "live live-paused" : "live live-on";
    live.textContent = isPaused ? "Paused" : "Live";
    const scroll = view.querySelector(".table-box")?.scrollLeft ?? 0;
    view.replaceChildren(progress(board), cards(board), workers(board.workers), hardest(board.hardest));
    view.querySelector(".table-box")?.scrollTo({ left: scroll });
    onboard(board);
  }

  void refresh();
  setInterval(() => void refresh(), EVERY_MS);
  document.addEventListener("visibilitychange", () => void refresh());
  return { view, control: element("div", { class: "control" }, live, toggle) };
}

function progress(board: Dashboard): HTMLElement {
  const settled = board.images_agreed + board.images_adjudicated;
  const parts = [
    ["agreed", "agreed by workers", board.images_agreed],
    ["adjudicated", "decided by a reviewer", board.images_adjudicated],
    ["disputed", "in dispute", board.images_disputed],
    ["undecided", "to do", board.images_undecided],
  ] as const;
  const bar = element("div", { class: "bar", role: "img", "aria-label": `${percent(share(settled, board))} settled` });
  for (const [kind, , many] of parts) {
    const part = element("span", { class: `part part-${kind}` });
    part.style.flexGrow = String(many);
    if (many) bar.append(part);
  }
  const legend = element(
    "ul",
    { class: "bar-legend" },
    ...parts.map(([kind, name, many]) =>
      element("li", {}, element("span", { class: `dot part-${kind}` }), element("b", {}, count(many)), ` ${name}`),
    ),
  );
  return element(
    "section",
    { class: "panel progress" },
    element(
      "div",
      { class: "progress-head" },
      element("h1", {}, `${count(settled)} of ${count(board.images_total)} images settled`),
      element("span", { class: "progress-share" }, percent(share(settled, board))),
    ),
    bar,
    legend,
  );
}

function share(settled: number, board: Dashboard): number {
  return board.images_total ? settled / board.images_total : 1;
}

function cards(board: Dashboard): HTMLElement {
  const price = board.price_per_task ? `${dollars(board.price_per_task)} a task` : "no price set";
  const scale = board.cost_paper_scale ? dollars(board.cost_paper_scale) : "–";
  return element(
    "section",
    { class: "cards", "aria-label": "Figures" },
    card(
      "Rate",
      `${count(board.images_per_hour)} / h`,
      `images, in the last hour; ${count(board.answers)} answers in all`,
    ),
    card(
      "Time left",
      board.slots_submitted === board.slots_total ? "none" : duration(board.hours_left),
      `${count(board.slots_submitted)} of ${count(board.slots_total)} tasks handed in, ${count(board.slots_open)} at work`,
    ),
    card("Cost so far", dollars(board.cost_so_far), `of ${dollars(board.cost_expected)} expected, ${price}`),
    card(
      "At the paper's scale",
      scale,
      `1.43 million images at this price; the paper paid about ${dollars(board.cost_paper)}`,
    ),
    card(
      "Agreement",
      percent(board.agreement),
      board.alpha === null
        ? "of workers on shared images"
        : `of workers on shared images; alpha ${board.alpha.toFixed(2)}`,
    ),
  );
}

function card(name: string, value: string, note: string): HTMLElement {
  return element(
    "div",
    { class: "panel card" },
    element("h2", {}, name),
    element("p", { class: "card-value" }, value),
    element("p", { class: "quiet" }, note),
  );
}

function workers(rows: readonly Worker[]): HTMLElement {
  const now = new Date();
  const body = rows.map((row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, row.name),
      cell(`${count(row.tasks_submitted)}${row.tasks_open ? ` + ${row.tasks_open} open` : ""}`),
      cell(count(row.answers)),
      cell(row.seconds_per_answer === null ? "–" : `${row.seconds_per_answer.toFixed(1)} s`),
      gold(row),
      cell(percent(row.agreement)),
      cell(ago(row.last_answer_at, now)),
    ),
  );
  const head = ["Worker", "Tasks", "Answers", "Per image", "Checks right", "Agreement", "Last answer"];
  return table("Workers", head, body, "Nobody has answered yet.");
}

/** Right answers on gold, with the interval that the truth lies in. */
function gold(row: Worker): HTMLElement {
  if (!row.gold_judged) return cell("–");
  const text = `${row.gold_right} of ${row.gold_judged}`;
  const range = element("span", {
    class: "range",
    title: `95 % interval: ${percent(row.gold_low)} to ${percent(row.gold_high)}`,
  });
  const band = element("span", { class: "range-band" });
  band.style.left = `${row.gold_low * 100}%`;
  band.style.width = `${(row.gold_high - row.gold_low) * 100}%`;
  const point = element("span", { class: "range-point" });
  point.style.left = `${(row.gold_right / row.gold_judged) * 100}%`;
  range.append(band, point);
  return element("td", {}, element("span", { class: "gold" }, text, range));
}

function hardest(rows: readonly HardImage[]): HTMLElement {
  const body = rows.map((row) => {
    const [name, kind] = DECISIONS[row.decision] ?? [row.decision, "plain"];
    const isOpen = row.decision === "adjudicate";
    const state = element(
      isOpen ? "a" : "span",
      { class: `tag tag-${kind}`, href: isOpen ? "#disputes" : undefined },
      name,
    );
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, row.image_id),
      cell(percent(row.agreement)),
      element("td", {}, state),
    );
  });
  return table(
    "Hardest images",
    ["Image", "Agreement", "State"],
    body,
    "No two workers have answered the same image yet.",
  );
}

/** A table under its name, or what is said where it has no rows. */
export function table(name: string, head: readonly string[], body: HTMLElement[], none: string): HTMLElement {
  const content = body.length
    ? element(
        "div",
        { class: "table-box", tabindex: 0, role: "region", "aria-label": name },
        element(
          "table",
          {},
          element("thead", {}, element("tr", {}, ...head.map((title) => element("th", { scope: "col" }, title)))),
          element("tbody", {}, ...body),
        ),
      )
    : element("p", { class: "quiet" }, none);
  return element("section", { class: "panel" }, element("h2", {}, name), content);
}

export function cell(text: string): HTMLElement {
  return element("td", {}, text);
}
