/** Where the page lies among all that is found, and the ways to others. */

import { element } from "../shared/dom";
import { type IconName, icon } from "../shared/icons";
import { PAGE_LENGTH } from "./state";
import { number } from "./texts";

export interface Pager {
  readonly view: HTMLElement;
  show(start: number, total: number): void;
}

/** The pager; `onturn` gets the place where the wanted page begins. */
export function createPager(onturn: (start: number) => void): Pager {
  let start = 0;
  let total = 0;
  const before = button("left", "Page before", () => onturn(start - PAGE_LENGTH));
  const next = button("right", "Next page", () => onturn(start + PAGE_LENGTH));
  const page = element("input", { type: "number", class: "field pager-page", min: 1, "aria-label": "Page" });
  const pages = element("span", {});
  page.addEventListener("change", () => {
    const wanted = Math.min(Math.max(Math.round(Number(page.value)) || 1, 1), pageCount(total));
    page.value = String(wanted);
    onturn((wanted - 1) * PAGE_LENGTH);
  });
  const view = element("nav", { class: "pager", "aria-label": "Pages" }, before, page, pages, next);
  return {
    view,
    show(from, of) {
      [start, total] = [from, of];
      view.hidden = total <= PAGE_LENGTH;
      before.disabled = start === 0;
      next.disabled = start + PAGE_LENGTH >= total;
      page.value = String(start / PAGE_LENGTH + 1);
      page.max = String(pageCount(total));
      pages.textContent = `of ${number(pageCount(total))}`;
    },
  };
}

/** How many pages there are. */
export function pageCount(total: number): number {
  return Math.max(Math.ceil(total / PAGE_LENGTH), 1);
}

function button(name: IconName, label: string, onclick: () => void): HTMLButtonElement {
  const made = element("button", {
    type: "button",
    class: "button button-icon",
    title: label,
    "aria-label": label,
    onclick,
  });
  made.append(icon(name));
  return made;
}
