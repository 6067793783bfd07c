/** The panel of filters: what may be asked for, and how many images each answer would leave. */

import { element } from "../shared/dom";
import { icon } from "../shared/icons";
import type { ClassCount, Counts, Dataset } from "./server";
import { type Filters, filterCount, LIMITS, type Limit, STATUSES, type Status } from "./state";
import { counted, number } from "./texts";

const TYPING_MS = 250;
const STATUS_NAMES: Record<Status, string> = { detected: "Detected", reviewed: "Reviewed by people", failed: "Failed" };

export interface FilterPanel {
  readonly view: HTMLElement;
  /** Show these filters and counts. */
  show(filters: Filters, counts: Counts): void;
}

/** The panel; `onchange` gets the new filters, `onfind` the text that classes are looked for by. */
export function createFilters(
  dataset: Dataset,
  onchange: (filters: Filters) => void,
  onfind: (text: string) => void,
): FilterPanel {
  let filters: Filters = { classes: [], statuses: [], limits: {} };
  const clear = element("button", { type: "button", class: "button button-quiet", onclick: clearAll }, "Clear");
  const statuses = element("div", { class: "options" });
  const classes = element("div", { class: "options options-classes" });
  const note = element("p", { class: "note" });
  const find = element("input", {
    type: "search",
    class: "field",
    placeholder: "Find a class",
    "aria-label": "Find a class",
    maxlength: 100,
    autocomplete: "off",
    oninput: later(() => onfind(find.value)),
  });
  const inputs = Object.fromEntries(LIMITS.map((name) => [name, limitInput(name)])) as Record<Limit, HTMLInputElement>;
  const view = element(
    "form",
    { class: "filters", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
    element("div", { class: "filters-head" }, element("h2", {}, "Filters"), clear),
    group("Status", statuses),
    range("Faces in the image", "faces"),
    range("Height of a face, px", "height"),
    range("Score of a face", "score"),
    dataset.classes ? group("Class", find, classes, note) : null,
  );

  function change(more: Partial<Filters>): void {
    filters = { ...filters, ...more };
    onchange(filters);
  }

  function clearAll(): void {
    if (find.value) {
      find.value = "";
      onfind("");
    }
    change({ classes: [], statuses: [], limits: {} });
  }

  function limitInput(name: Limit): HTMLInputElement {
    const isScore = name.endsWith("score");
    const input = element("input", {
      type: "number",
      class: "field",
      min: 0,
      max: isScore ? 1 : name.endsWith("faces") ? 2 ** 31 - 1 : 1e7,
      step: name.endsWith("faces") ? 1 : "any",
      inputmode: "decimal",
      placeholder: name.startsWith("min") ? "from" : most(name),
      "aria-label": name.startsWith("min") ? "At least" : "At most",
      oninput: later(() => {
        if (!input.checkValidity()) return void input.reportValidity();
        const { [name]: _, ...others } = filters.limits;
        change({ limits: input.value ? { ...others, [name]: input.value } : others });
      }),
    });
    return input;
  }

  function most(name: Limit): string {
    if (name === "max_faces") return `to ${number(dataset.most_faces)}`;
    return name === "max_height" ? `to ${number(Math.ceil(dataset.tallest))}` : "to 1";
  }

  function range(title: string, name: "faces" | "height" | "score"): HTMLElement {
    const [least, most] = [inputs[`min_${name}`], inputs[`max_${name}`]];
    return group(
      title,
      element("div", { class: "range" }, least, element("span", { "aria-hidden": "true" }, "–"), most),
    );
  }

  return {
    view,
    show(shown, counts) {
      filters = shown;
      clear.hidden = filterCount(filters) === 0;
      for (const name of LIMITS) {
        if (document.activeElement !== inputs[name]) inputs[name].value = filters.limits[name] ?? "";
      }
      fill(
        statuses,
        STATUSES.map((status) => ({
          key: status,
          title: STATUS_NAMES[status],
          images: counts.statuses[status],
          isOn: filters.statuses.includes(status),
          toggle: () => change({ statuses: toggled(filters.statuses, status) }),
        })),
      );
      fill(
        classes,
        counts.classes.map((entry) => ({
          key: entry.name,
          title: className(entry),
          ...(entry.title === entry.name || !entry.name ? {} : { detail: entry.name }),
          images: entry.images,
          isOn: filters.classes.includes(entry.name),
          toggle: () => change({ classes: toggled(filters.classes, entry.name) }),
        })),
      );
      const others = counts.classes.filter((entry) => !filters.classes.includes(entry.name)).length;
      const hidden = counts.classes_found - others;
      note.textContent = hidden > 0 ? `and ${counted(hidden, "more class", "more classes")}` : "";
      if (!counts.classes.length) note.textContent = "No class fits.";
    },
  };
}

/** How a class reads. */
export function className(entry: Pick<ClassCount, "name" | "title">): string {
  return entry.name ? entry.title : "No class";
}

interface Option {
  readonly key: string;
  readonly title: string;
  readonly detail?: string;
  readonly images: number;
  readonly isOn: boolean;
  readonly toggle: () => void;
}

/** Show options; the one that had the focus keeps it. */
function fill(list: HTMLElement, options: readonly Option[]): void {
  const focused = list.contains(document.activeElement) ? (document.activeElement as HTMLInputElement).value : null;
  list.replaceChildren(...options.map(optionView));
  if (focused === null) return;
  const again = [...list.querySelectorAll("input")].find((input) => input.value === focused);
  again?.focus({ preventScroll: true });
}

function optionView(option: Option): HTMLElement {
  const box = element("input", { type: "checkbox", value: option.key, onchange: option.toggle });
  box.checked = option.isOn;
  const detail = option.detail ? element("small", {}, option.detail) : null;
  return element(
    "label",
    { class: option.images || option.isOn ? "option" : "option option-none" },
    box,
    element("span", { class: "option-title", title: option.title }, option.title, detail),
    element("span", { class: "option-count" }, number(option.images)),
  );
}

function group(title: string, ...children: (HTMLElement | null)[]): HTMLElement {
  return element("fieldset", {}, element("legend", {}, title), ...children);
}

function toggled<T>(values: readonly T[], value: T): T[] {
  return values.includes(value) ? values.filter((other) => other !== value) : [...values, value];
}

/** Calls once typing has paused. */
function later(call: () => void): () => void {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, TYPING_MS);
  };
}

/** The button that opens the panel where there is no room beside the images. */
export function filterButton(panel: HTMLElement): HTMLButtonElement {
  const button = element("button", { type: "button", class: "button filters-button", "aria-expanded": "false" });
  button.append(icon("plus"), "Filters");
  button.addEventListener("click", () => {
    const isOpen = panel.classList.toggle("filters-open");
    button.setAttribute("aria-expanded", String(isOpen));
  });
  return button;
}
