/** A task as it stands in this tab: the server's state, and on top of it what was drawn here and not yet sent. */

import { type Boxes, type Size, sameBoxes } from "../shared/boxes";
import { forget, keep, kept, keptNames } from "../shared/storage";
import type { Answer, Saved } from "./outbox";

export interface ImageView extends Size {
  readonly position: number;
  readonly boxes: Boxes;
  readonly version: number;
  readonly truth: Boxes | null;
  readonly url: string;
}

export interface TaskView {
  readonly id: number;
  readonly state: "open" | "submitted" | "expired" | "returned";
  readonly attempt: number;
  readonly lives: number;
  readonly expires_at: string;
  readonly images: readonly ImageView[];
}

interface Page {
  readonly size: Size;
  url: string;
  /** As they are drawn now. */
  boxes: Boxes;
  /** As they were answered; null where there is no answer. */
  answered: Boxes | null;
  truth: Boxes | null;
  seconds: number;
}

export class Task {
  readonly id: number;
  readonly attempt: number;
  lives: number;
  readonly #pages: Page[];
  #at: number;

  /** `waiting`: answers that the server does not have yet. */
  constructor(
    view: TaskView,
    waiting: readonly Answer[],
    private readonly storage: Storage,
  ) {
    this.id = view.id;
    this.attempt = view.attempt;
    this.lives = view.lives;
    this.#pages = view.images.map((image) => {
      const answered = waiting.findLast((a) => a.attempt === view.attempt && a.position === image.position)?.boxes;
      const known = answered ?? (image.version ? image.boxes : null);
      const drawn = this.#draft(image.position);
      const { width, height, url, truth } = image;
      return {
        size: { width, height },
        url,
        boxes: drawn ?? known ?? image.boxes,
        answered: known,
        truth,
        seconds: 0,
      };
    });
    const last = Number(kept(storage, `at.${this.id}.${this.attempt}`) ?? this.nextOpen(-1) ?? 0);
    this.#at = Math.min(Math.max(last || 0, 0), this.length - 1);
  }

  get length(): number {
    return this.#pages.length;
  }

  get at(): number {
    return this.#at;
  }

  get answeredCount(): number {
    return this.#pages.filter((page) => page.answered !== null).length;
  }

  get isComplete(): boolean {
    return this.answeredCount === this.length;
  }

  page(position: number = this.#at): Readonly<Page> {
    return this.#page(position);
  }

  /** Whether an image's boxes are other than those that were answered. */
  isChanged(position: number = this.#at): boolean {
    const { answered, boxes } = this.#page(position);
    return answered === null || !sameBoxes(answered, boxes);
  }

  /** Whether somebody drew here since the last answer. */
  isDrafted(position: number = this.#at): boolean {
    return this.#draft(position) !== null;
  }

  /** The first image without an answer after this one, else from the beginning; null where all have one. */
  nextOpen(after: number): number | null {
    const places = this.#pages.map((_, i) => (after + 1 + i) % this.length);
    return places.find((place) => this.#page(place).answered === null) ?? null;
  }

  goTo(position: number): void {
    this.#at = Math.min(Math.max(position, 0), this.length - 1);
    keep(this.storage, `at.${this.id}.${this.attempt}`, String(this.#at));
  }

  /** What is drawn on the image at hand, kept at once. */
  draw(boxes: Boxes): void {
    const page = this.#page(this.#at);
    if (sameBoxes(boxes, page.boxes)) return;
    page.boxes = boxes;
    keep(this.storage, this.#draftName(this.#at), JSON.stringify(boxes));
  }

  /** Time that somebody looked at an image. */
  spend(position: number, seconds: number): void {
    this.#page(position).seconds += seconds;
  }

  /** The answer on an image as it is drawn now. */
  answer(position: number, key: string, now: number): Answer {
    const page = this.#page(position);
    page.answered = page.boxes;
    forget(this.storage, this.#draftName(position));
    const seconds = Math.min(Math.round(page.seconds * 10) / 10, 86_400);
    return { task: this.id, position, attempt: this.attempt, key, seconds, boxes: page.boxes, madeAt: now };
  }

  /** An answer that the server refused counts as none. */
  withdraw(position: number): void {
    this.#page(position).answered = null;
  }

  /** The server's reply to an answer of this attempt. */
  take(answer: Answer, saved: Saved): void {
    this.lives = saved.lives;
    if (saved.truth) this.#page(answer.position).truth = saved.truth;
  }

  /** Fresh links to the images. */
  renew(view: TaskView): void {
    for (const image of view.images) this.#page(image.position).url = image.url;
  }

  /** Forget what this tab kept of the task. */
  clear(): void {
    const own = [...keptNames(this.storage, `draft.${this.id}.`), ...keptNames(this.storage, `at.${this.id}.`)];
    for (const name of own) forget(this.storage, name);
  }

  #page(position: number): Page {
    const page = this.#pages[position];
    if (!page) throw new Error(`image ${position}: expected one of ${this.length}`);
    return page;
  }

  #draftName(position: number): string {
    return `draft.${this.id}.${this.attempt}.${position}`;
  }

  #draft(position: number): Boxes | null {
    const text = kept(this.storage, this.#draftName(position));
    try {
      return text === null ? null : (JSON.parse(text) as Boxes);
    } catch {
      return null;
    }
  }
}
