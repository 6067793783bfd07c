/** What the server is asked (docs/browse.md). */

import { ask } from "../shared/api";
import { type Filters, filterQuery, type Order, PAGE_LENGTH, type Status } from "./state";

export interface Dataset {
  readonly name: string;
  readonly images: number;
  readonly faces: number;
  readonly classes: number;
  readonly most_faces: number;
  readonly tallest: number;
  readonly originals: boolean;
}

export interface Row {
  readonly number: number;
  readonly image_id: string;
  readonly status: Status;
  readonly faces: number;
  readonly candidates: number;
  readonly tallest: number | null;
  readonly score: number | null;
  readonly url: string;
}

export interface Page {
  readonly total: number;
  readonly rows: readonly Row[];
}

export interface ClassCount {
  readonly name: string;
  readonly title: string;
  readonly images: number;
}

export interface Counts {
  readonly images: number;
  readonly faces: number;
  readonly statuses: Readonly<Record<Status, number>>;
  readonly classes: readonly ClassCount[];
  readonly classes_found: number;
}

export interface Box {
  readonly x0: number;
  readonly y0: number;
  readonly x1: number;
  readonly y1: number;
  readonly score: number | null;
  readonly label: string;
  readonly source: string;
}

export interface Image {
  readonly number: number;
  readonly image_id: string;
  readonly class_name: string;
  readonly class_title: string;
  readonly status: Status;
  readonly width: number;
  readonly height: number;
  readonly faces: readonly Box[];
  readonly candidates: readonly Box[];
  readonly url: string;
}

/** What is browsed. */
export function askDataset(): Promise<Dataset> {
  return ask("GET", "/api/dataset");
}

/** The page that begins at a place. */
export function askPage(filters: Filters, order: Order, start: number): Promise<Page> {
  const query = filterQuery(filters);
  query.set("order", order);
  query.set("start", String(start));
  query.set("limit", String(PAGE_LENGTH));
  return ask("GET", `/api/rows?${query}`);
}

/** How many images there are, by status and class. */
export function askCounts(filters: Filters, find: string): Promise<Counts> {
  const query = filterQuery(filters);
  if (find) query.set("find", find);
  return ask("GET", `/api/counts?${query}`);
}

/** One image with its boxes. */
export function askImage(number: number): Promise<Image> {
  return ask("GET", `/api/rows/${number}`);
}
