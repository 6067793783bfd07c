/** Who may come in: invite, renew a link, shut out. */

import { ask, reasonOf } from "../shared/api";
import { element } from "../shared/dom";
import { cell, table } from "./overview";

interface Account {
  readonly id: number;
  readonly name: string;
  readonly role: string;
  readonly created_at: string;
  readonly disabled: boolean;
}

export interface People {
  readonly view: HTMLElement;
  refresh(): Promise<void>;
}

export function createPeople(): People {
  const name = element("input", {
    class: "field",
    id: "invite-name",
    required: true,
    maxlength: 100,
    autocomplete: "off",
  });
  const role = element("select", { class: "field", id: "invite-role" });
  for (const each of ["worker", "reviewer", "admin"]) role.append(element("option", { value: each }, each));
  const days = element("input", {
    class: "field",
    id: "invite-days",
    type: "number",
    min: 1,
    max: 365,
    value: 30,
    required: true,
  });
  const result = element("div", { class: "invited", role: "status" });
  const list = element("div", {});
  const form = element(
    "form",
    { class: "invite" },
    field("Name", name),
    field("Role", role),
    field("Days the link is good", days),
    element("button", { class: "button button-primary" }, "Invite"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault(); // forms go nowhere: the server's policy forbids it
    void act(async () => {
      const body = { name: name.value.trim(), role: role.value, days: Number(days.value) };
      give(await ask<{ account: Account; link: string }>("POST", "/api/accounts", body));
      name.value = "";
    });
  });
  const view = element(
    "main",
    { class: "overview" },
    element("section", { class: "panel" }, element("h2", {}, "Invite somebody"), form, result),
    list,
  );

  async function act(what: () => Promise<void>): Promise<void> {
    try {
      await what();
    } catch (error) {
      result.replaceChildren(element("p", { class: "bad" }, reasonOf(error)));
    }
    await refresh();
  }

  function give({ account, link }: { account: Account; link: string }): void {
    const shown = element("input", { class: "field link", readonly: true, value: link, "aria-label": "Link" });
    const copy = element("button", { type: "button", class: "button" }, "Copy");
    copy.addEventListener("click", () => {
      shown.select();
      navigator.clipboard?.writeText(link).then(
        () => copy.replaceChildren("Copied"),
        () => {},
      );
    });
    const text = `The link of ${account.name} (${account.role}). It is shown this once: send it now.`;
    result.replaceChildren(element("p", {}, text), element("div", { class: "link-row" }, shown, copy));
  }

  async function refresh(): Promise<void> {
    try {
      const { accounts } = await ask<{ accounts: readonly Account[] }>("GET", "/api/accounts");
      list.replaceChildren(table("People", ["Name", "Role", "Since", ""], accounts.map(row), "Nobody yet."));
    } catch (error) {
      list.replaceChildren(element("p", { class: "bad" }, reasonOf(error)));
    }
  }

  function row(account: Account): HTMLElement {
    const renew = element("button", { type: "button", class: "button button-quiet" }, "New link");
    renew.setAttribute("aria-label", `New link for ${account.name}; the old ones end`);
    renew.addEventListener("click", () => {
      if (!confirm(`Make a new link for ${account.name}? The old ones end at once.`)) return;
      void act(async () => give(await ask("POST", `/api/accounts/${account.id}/link`, {})));
    });
    const shut = element("button", { type: "button", class: "button button-quiet bad" }, "Shut out");
    shut.setAttribute("aria-label", `Shut out ${account.name}`);
    shut.addEventListener("click", () => {
      if (!confirm(`Let ${account.name} in no more? The answers stay.`)) return;
      void act(async () => void (await ask("POST", `/api/accounts/${account.id}/disable`, {})));
    });
    const since = new Date(account.created_at).toLocaleDateString();
    const actions = account.disabled
      ? element("td", {}, element("span", { class: "tag tag-plain" }, "shut out"))
      : element("td", {}, renew, shut);
    return element("tr", {}, element("th", { scope: "row" }, account.name), cell(account.role), cell(since), actions);
  }

  return { view, refresh };
}

function field(label: string, input: HTMLElement): HTMLElement {
  return element("div", { class: "labelled" }, element("label", { for: input.id }, label), input);
}
