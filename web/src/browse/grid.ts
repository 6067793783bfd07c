/** A page of images. */

import { ask, Refusal, reasonOf } from "../shared/api";
import { element } from "../shared/dom";
import { icon } from "../shared/icons";
import type { Row } from "./server";
import { counted, fileName, score as scoreText } from "./texts";

export interface Grid {
  readonly view: HTMLElement;
  show(rows: readonly Row[]): void;
  /** Put the focus on a card of the page. */
  focus(place: number): void;
}

export interface GridEvents {
  /** A card was opened; places count from the page's first. */
  onopen(place: number): void;
  /** The arrows left the page: -1 back, 1 on. */
  onleave(direction: -1 | 1): void;
  /** Links have expired. */
  onstale(): void;
}

/** The grid; one card of it can be reached by Tab, the others by the arrows. */
export function createGrid(events: GridEvents): Grid {
  const view = element("ul", {
    class: "grid",
    "aria-label": "Images",
    onkeydown: (event) => onkey(event as KeyboardEvent),
  });

  function cards(): HTMLButtonElement[] {
    return [...view.querySelectorAll<HTMLButtonElement>(".card")];
  }

  function focus(place: number): void {
    const all = cards();
    const wanted = all[Math.min(place, all.length - 1)];
    for (const card of all) card.tabIndex = card === wanted ? 0 : -1;
    wanted?.focus();
  }

  function onkey(event: KeyboardEvent): void {
    const all = cards();
    const at = all.indexOf(document.activeElement as HTMLButtonElement);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns(all),
      ArrowDown: columns(all),
      Home: -at,
      End: all.length - 1 - at,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const to = at + step;
    if (to >= 0 && to < all.length) focus(to);
    else if (event.key === "ArrowLeft") events.onleave(-1);
    else if (event.key === "ArrowRight") events.onleave(1);
  }

  return {
    view,
    focus,
    show(rows) {
      view.replaceChildren(...rows.map((row, place) => element("li", {}, cardOf(row, place, events))));
    },
  };
}

function columns(cards: readonly HTMLElement[]): number {
  const top = cards[0]?.getBoundingClientRect().top;
  const next = cards.findIndex((card) => card.getBoundingClientRect().top !== top);
  return next < 0 ? cards.length : next;
}

function cardOf(row: Row, place: number, events: GridEvents): HTMLButtonElement {
  const name = fileName(row.image_id);
  const picture = element("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  const frame = element("span", { class: "frame" }, picture);
  picture.addEventListener("load", () => frame.classList.add("frame-loaded"));
  picture.addEventListener("error", () => void explain(frame, row.url, events.onstale));
  picture.src = row.url;
  return element(
    "button",
    {
      type: "button",
      class: "card",
      tabindex: place ? -1 : 0,
      title: row.image_id,
      onclick: () => events.onopen(place),
    },
    frame,
    element(
      "span",
      { class: "card-text" },
      element("span", { class: "card-name" }, name),
      element(
        "span",
        { class: row.status === "failed" ? "card-facts card-failed" : "card-facts" },
        ...(row.status === "reviewed"
          ? [icon("check"), element("span", { class: "visually-hidden" }, "reviewed,")]
          : []),
        factsOf(row),
      ),
    ),
  );
}

function factsOf(row: Row): string {
  if (row.status === "failed") return "failed";
  const score = row.faces && row.score !== null ? ` · ≥ ${scoreText(row.score)}` : "";
  const more = row.candidates ? ` · ${row.candidates} possible` : "";
  return counted(row.faces, "face") + score + more;
}

/** Say in an image's place why it is not there. */
export async function explain(place: HTMLElement, url: string, onstale: () => void): Promise<void> {
  let reason = "This image cannot be shown.";
  try {
    await ask("GET", url);
  } catch (error) {
    if (error instanceof Refusal && error.code === "unknown") onstale();
    reason = reasonOf(error);
  }
  place.classList.add("frame-loaded");
  place.replaceChildren(element("span", { class: "placeholder" }, icon("eyeOff"), element("span", {}, reason)));
}
