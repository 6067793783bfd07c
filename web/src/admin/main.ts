/** The page of admins and reviewers: how it stands, what is in dispute, who may come in. */

import { ask, findToken, type Me, Refusal, reasonOf } from "../shared/api";
import { byId, element } from "../shared/dom";
import { createDisputes } from "./disputes";
import { createOverview } from "./overview";
import { createPeople } from "./people";

interface Tab {
  readonly name: string;
  readonly view: HTMLElement;
  open?(): void;
  onkey?(event: KeyboardEvent): void;
}

const app = byId("app", HTMLDivElement);
void start();

async function start(): Promise<void> {
  if (!findToken()) return say("Please open your link", "You come in with the link that you were given.");
  try {
    const me = await ask<Me>("GET", "/api/me");
    if (me.role === "worker") return location.replace("/");
    build(me);
  } catch (error) {
    if (error instanceof Refusal && error.status === 401)
      return say("Your link has ended", "Start `unface review serve` again for a new one, or ask an admin.");
    say("That did not work", reasonOf(error));
  }
}

function build(me: Me): void {
  const disputes = createDisputes();
  const tabs: Record<string, Tab> = {
    disputes: { name: "Disputes", view: disputes.view, open: () => void disputes.refresh(), onkey: disputes.handleKey },
  };
  const badge = element("span", { class: "badge", hidden: true });
  let control: HTMLElement | null = null;
  if (me.role === "admin") {
    const overview = createOverview((board) => {
      badge.hidden = board.images_disputed === 0;
      badge.textContent = String(board.images_disputed);
      if (current() === "disputes") void disputes.refresh();
    });
    const people = createPeople();
    control = overview.control;
    tabs.overview = { name: "Overview", view: overview.view };
    tabs.people = { name: "People", view: people.view, open: () => void people.refresh() };
  }
  const order = ["overview", "disputes", "people"].filter((id) => id in tabs);
  const links = order.map((id) => {
    const link = element("a", { href: `#${id}` }, tabs[id]?.name ?? "");
    if (id === "disputes") link.append(badge);
    return link;
  });
  const body = element("div", { class: "body" });
  const header = element(
    "header",
    { class: "topbar" },
    element("span", { class: "brand" }, element("span", { class: "brand-mark", "aria-hidden": "true" }), "unface"),
    element("nav", { "aria-label": "Views" }, ...links),
    element("div", { class: "topbar-end" }, control, element("a", { class: "button", href: "/" }, "Do a task")),
  );

  function current(): string {
    const id = location.hash.slice(1);
    return id in tabs ? id : (order[0] ?? "disputes");
  }

  function turn(): void {
    const id = current();
    links.forEach((link, index) => {
      if (order[index] === id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    const tab = tabs[id];
    if (!tab) return;
    body.replaceChildren(tab.view);
    tab.open?.();
  }

  addEventListener("hashchange", turn);
  addEventListener("keydown", (event) => tabs[current()]?.onkey?.(event));
  app.replaceChildren(element("div", { class: "admin" }, header, body));
  turn();
}

function say(title: string, text: string): void {
  app.replaceChildren(
    element("main", { class: "empty" }, element("h1", {}, title), element("p", { class: "quiet" }, text)),
  );
}
