/** The browser's page: filters, a page of images, and one of them large. The address says all of it. */

import { findToken, Refusal, reasonOf } from "../shared/api";
import { byId, element } from "../shared/dom";
import { kept } from "../shared/storage";
import { createFilters, filterButton } from "./filters";
import { createGrid } from "./grid";
import { modeBadge } from "./mode";
import { createPager, pageCount } from "./pager";
import { askCounts, askDataset, askPage, type Dataset, type Page } from "./server";
import {
  type Filters,
  NOTHING,
  ORDERS,
  type Order,
  PAGE_LENGTH,
  pageStart,
  readState,
  type State,
  writeState,
} from "./state";
import { counted } from "./texts";
import { createViewer } from "./viewer";

const STALE_MS = 60_000;
const app = byId("app", HTMLDivElement);
void start();

async function start(): Promise<void> {
  if (!findToken()) return say("Please open the link", "The command unface browse prints a link that lets you in.");
  try {
    build(await askDataset());
  } catch (error) {
    if (error instanceof Refusal && error.status === 401)
      return say("The link has ended", "Open the one that the command unface browse printed when it was started last.");
    say("That did not work", reasonOf(error));
  }
}

function build(dataset: Dataset): void {
  let state = readState(location.search);
  let page: Page = { total: 0, rows: [] };
  let shownAt: string | null = null;
  let find = "";
  let turn = 0;
  let counting = 0;
  let askedAt = 0;

  const panel = createFilters(dataset, filter, (text) => {
    find = text;
    void count();
  });
  const grid = createGrid({
    onopen: (place) => go({ ...state, open: state.start + place }),
    onleave: (direction) => void leave(direction),
    onstale: () => Date.now() - askedAt > STALE_MS && void load(true),
  });
  const pagers = [createPager(turnTo), createPager(turnTo)];
  const viewer = createViewer(dataset, {
    onstep: (direction) => state.open !== null && go({ ...state, open: state.open + direction }, true),
    onclose: () => {
      const open = state.open;
      if (open === null) return;
      go({ ...state, open: null });
      grid.focus(open - state.start);
    },
  });
  const found = element("h1", { class: "found" });
  const alert = element("p", { class: "alert", role: "alert", hidden: true });
  const none = element(
    "div",
    { class: "empty", hidden: true },
    element("h2", {}, "No image fits these filters"),
    element("button", { type: "button", class: "button", onclick: () => filter(NOTHING) }, "Clear all filters"),
  );
  const order = element("select", { class: "field", id: "order", onchange: () => arrange(order.value as Order) });
  for (const [name, title] of Object.entries(ORDERS)) order.append(element("option", { value: name }, title));
  const sort = element("label", { class: "order", for: "order" }, "Order", order);
  const main = element(
    "main",
    { class: "results", tabindex: -1 },
    element("div", { class: "results-head" }, found, sort, pagers[0]?.view ?? null),
    alert,
    none,
    grid.view,
    element("div", { class: "results-foot" }, pagers[1]?.view ?? null),
  );
  app.replaceChildren(
    element(
      "div",
      { class: "browse" },
      header(dataset, panel.view),
      element("div", { class: "desk" }, panel.view, main),
    ),
    viewer.view,
  );
  addEventListener("popstate", () => {
    state = readState(location.search);
    void load();
  });
  void load();

  /** Go to a state: the address says it, and going back leads away from it. */
  function go(to: State, isStep = false): void {
    state = to.open === null ? to : { ...to, start: pageStart(to.open) };
    const address = `${location.pathname}${writeState(state)}`;
    if (isStep) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    void load();
  }

  function filter(filters: Filters): void {
    go({ ...filters, order: state.order, start: 0, open: null });
  }

  function arrange(by: Order): void {
    go({ ...state, order: by, start: 0, open: null });
  }

  function turnTo(place: number): void {
    go({ ...state, start: place, open: null });
    scrollTo({ top: 0 });
  }

  async function leave(direction: -1 | 1): Promise<void> {
    const to = state.start + direction * PAGE_LENGTH;
    if (to < 0 || to >= page.total) return;
    state = { ...state, start: to };
    history.pushState(null, "", `${location.pathname}${writeState(state)}`);
    await load();
    grid.focus(direction > 0 ? 0 : PAGE_LENGTH - 1);
  }

  /** Show the state: ask for its page, unless that is the one at hand. */
  async function load(isFresh = false): Promise<void> {
    const wanted = writeState({ ...state, open: null });
    const mine = ++turn;
    if (wanted !== shownAt || isFresh) {
      main.setAttribute("aria-busy", "true");
      try {
        askedAt = Date.now();
        const [asked] = await Promise.all([askPage(state, state.order, state.start), count()]);
        if (mine !== turn) return;
        if (state.start && state.start >= asked.total) {
          go({ ...state, start: (pageCount(asked.total) - 1) * PAGE_LENGTH, open: null }, true);
          return;
        }
        [page, shownAt] = [asked, wanted];
        grid.show(page.rows);
        for (const pager of pagers) pager.show(state.start, page.total);
        none.hidden = page.total > 0;
        order.value = state.order;
        alert.hidden = true;
      } catch (error) {
        if (mine === turn) complain(error);
        return;
      } finally {
        if (mine === turn) main.removeAttribute("aria-busy");
      }
    }
    const row = state.open === null ? undefined : page.rows[state.open - state.start];
    if (row && state.open !== null) viewer.show(row.number, state.open, page.total);
    else viewer.close();
  }

  async function count(): Promise<void> {
    const mine = ++counting;
    const asked = state;
    const counts = await askCounts(asked, find);
    if (mine !== counting) return;
    panel.show(asked, counts);
    found.replaceChildren(
      counted(counts.images, "image"),
      element("span", { class: "found-faces" }, counted(counts.faces, "face")),
    );
    document.title = `${counted(counts.images, "image")} · ${dataset.name} · unface`;
  }

  function complain(error: unknown): void {
    alert.textContent = reasonOf(error);
    alert.hidden = false;
  }
}

function header(dataset: Dataset, panel: HTMLElement): HTMLElement {
  return element(
    "header",
    { class: "topbar" },
    element("span", { class: "brand" }, element("span", { class: "brand-mark", "aria-hidden": "true" }), "unface"),
    element(
      "p",
      { class: "dataset" },
      element("strong", {}, dataset.name),
      element("span", {}, `${counted(dataset.images, "image")}, ${counted(dataset.faces, "face")}`),
    ),
    modeBadge(dataset.originals),
    copyButton(),
    filterButton(panel),
  );
}

/** Copies a link to what is shown that also lets other windows in. */
function copyButton(): HTMLButtonElement {
  const text = element("span", { "aria-live": "polite" }, "Copy link");
  const button = element("button", { type: "button", class: "button", title: "Copy a link to what is shown" }, text);
  button.addEventListener("click", async () => {
    const link = `${location.origin}${location.pathname}${location.search}#token=${kept(sessionStorage, "token") ?? ""}`;
    try {
      await navigator.clipboard.writeText(link);
      text.textContent = "Copied";
    } catch {
      text.textContent = "Not allowed here";
    }
    setTimeout(() => (text.textContent = "Copy link"), 2000);
  });
  return button;
}

function say(title: string, text: string): void {
  const heading = element("h1", { tabindex: -1 }, title);
  app.replaceChildren(element("main", { class: "empty empty-page" }, heading, element("p", {}, text)));
  heading.focus();
}
