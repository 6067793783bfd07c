/** What is looked at, as the address says it: filters, order, place, and the image that is open. */

export const STATUSES = ["detected", "reviewed", "failed"] as const;
export const LIMITS = ["min_faces", "max_faces", "min_height", "max_height", "min_score", "max_score"] as const;
export const ORDERS = {
  table: "As in the table",
  faces: "Most faces",
  largest: "Largest face",
  smallest: "Smallest face",
  score: "Lowest score",
} as const;
export const PAGE_LENGTH = 60;

export type Status = (typeof STATUSES)[number];
export type Limit = (typeof LIMITS)[number];
export type Order = keyof typeof ORDERS;

export interface Filters {
  readonly classes: readonly string[];
  readonly statuses: readonly Status[];
  /** As typed; a limit that is not there asks for nothing. */
  readonly limits: Readonly<Partial<Record<Limit, string>>>;
}

export interface State extends Filters {
  readonly order: Order;
  /** How many images lie before the page. */
  readonly start: number;
  /** Place of the open image among all that are found, or null. */
  readonly open: number | null;
}

export const NOTHING: State = { classes: [], statuses: [], limits: {}, order: "table", start: 0, open: null };

/** The state that an address's search part says; what makes no sense is left out. */
export function readState(search: string): State {
  const said = new URLSearchParams(search);
  const order = said.get("order") ?? "";
  const open = whole(said.get("open"));
  const limits: Partial<Record<Limit, string>> = {};
  for (const name of LIMITS) {
    const value = said.get(name)?.trim();
    if (value && Number(value) >= 0) limits[name] = value;
  }
  return {
    classes: [...new Set(said.getAll("class"))],
    statuses: STATUSES.filter((status) => said.getAll("status").includes(status)),
    limits,
    order: order in ORDERS ? (order as Order) : "table",
    start: pageStart(open ?? whole(said.get("start")) ?? 0),
    open,
  };
}

/** The search part of an address that says a state; empty for the state of nothing. */
export function writeState(state: State): string {
  const said = filterQuery(state);
  if (state.order !== "table") said.set("order", state.order);
  if (state.start) said.set("start", String(state.start));
  if (state.open !== null) said.set("open", String(state.open));
  const text = said.toString();
  return text && `?${text}`;
}

/** The filters as the server takes them. */
export function filterQuery(filters: Filters): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of filters.classes) query.append("class", name);
  for (const status of filters.statuses) query.append("status", status);
  for (const name of LIMITS) {
    const value = filters.limits[name];
    if (value !== undefined) query.set(name, value);
  }
  return query;
}

/** How many filters there are; both ends of a range count once. */
export function filterCount(filters: Filters): number {
  const ranges = new Set(Object.keys(filters.limits).map((name) => name.slice(4)));
  return filters.classes.length + filters.statuses.length + ranges.size;
}

/** Where the page begins on which an image lies. */
export function pageStart(place: number): number {
  return place - (place % PAGE_LENGTH);
}

function whole(text: string | null): number | null {
  const number = Number(text ?? Number.NaN);
  return Number.isInteger(number) && number >= 0 && number < 2 ** 31 ? number : null;
}
