/** Making elements. Text is always set as text, never parsed as HTML. */

type Child = Node | string | null;
type Attributes = Record<string, string | number | boolean | EventListener | undefined>;

/**
 * An element with attributes, listeners and children.
 *
 * A function is a listener (`onclick`), `true` an empty attribute; `false` and undefined leave an attribute out.
 */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The element with this id; throws where the page has none of this kind. */
export function byId<T extends Element>(id: string, kind: { new (): T }): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`#${id}: expected a ${kind.name}`);
  return found;
}

/** Whether a key belongs to the field that has the focus, and is no shortcut of the page. */
export function isFieldKey({ target, key }: KeyboardEvent): boolean {
  if (target instanceof HTMLInputElement && target.type === "range") return /^(Arrow|Home|End|Page)/.test(key);
  return target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
}
