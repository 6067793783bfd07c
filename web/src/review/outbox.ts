/** Answers on their way to the server: kept by the browser until the server has said that it has them. */

import { Offline, Refusal } from "../shared/api";
import type { Boxes } from "../shared/boxes";
import { forget, keep, kept, keptNames } from "../shared/storage";

export interface Answer {
  readonly task: number;
  readonly position: number;
  readonly attempt: number;
  readonly key: string;
  readonly seconds: number;
  readonly boxes: Boxes;
  /** Orders what a reload finds. */
  readonly madeAt: number;
}

export interface Saved {
  readonly version: number;
  readonly attempt: number;
  readonly lives: number;
  readonly restarted: boolean;
  readonly truth: Boxes | null;
}

export interface Post {
  /** Send an answer; throws Refusal, or Offline. */
  send(answer: Answer): Promise<Saved>;
  /** Wait this long, or until the network is back. */
  pause(ms: number): Promise<void>;
  /** The server has the answer, or will never take it. */
  onreply(answer: Answer, reply: Saved | Refusal): void;
  /** Something is waiting, or no more. */
  onchange(): void;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Sends answers one after the other, each again until it is answered.
 *
 * Each waits under a name of its own, so that two tabs do not lose each other's; its key makes sure that the server
 * takes it once, whoever sends it.
 */
export class Outbox {
  #waiting: Answer[] = [];
  #isSending = false;
  #failures = 0;

  constructor(
    private readonly storage: Storage,
    private readonly post: Post,
  ) {}

  get waiting(): readonly Answer[] {
    return this.#waiting;
  }

  /** Whether the last try failed. */
  get isStuck(): boolean {
    return this.#failures > 0;
  }

  /** The answers of a task that were not sent when the page was left; they are sent now. */
  resume(task: number): readonly Answer[] {
    const known = new Set(this.#waiting.map((answer) => answer.key));
    const found = keptNames(this.storage, `answer.${task}.`)
      .map((name) => parsed(kept(this.storage, name)))
      .filter((answer) => answer !== null)
      .filter((answer) => !known.has(answer.key))
      .sort((a, b) => a.madeAt - b.madeAt);
    this.#waiting.push(...found);
    void this.#work();
    return found;
  }

  add(answer: Answer): void {
    keep(this.storage, nameOf(answer), JSON.stringify(answer));
    this.#waiting.push(answer);
    void this.#work();
  }

  /** Drop what waits for an attempt, or a task, that is over. */
  drop(gone: (answer: Answer) => boolean): void {
    for (const answer of this.#waiting.filter(gone)) forget(this.storage, nameOf(answer));
    this.#waiting = this.#waiting.filter((answer) => !gone(answer));
    this.post.onchange();
  }

  async #work(): Promise<void> {
    this.post.onchange();
    if (this.#isSending) return;
    this.#isSending = true;
    for (let answer = this.#waiting[0]; answer !== undefined; answer = this.#waiting[0]) await this.#deliver(answer);
    this.#isSending = false;
  }

  async #deliver(answer: Answer): Promise<void> {
    try {
      this.#settle(answer, await this.post.send(answer));
    } catch (error) {
      const isRefused = error instanceof Refusal && !error.passing && error.status !== 401;
      if (isRefused) return this.#settle(answer, error);
      if (!(error instanceof Refusal || error instanceof Offline)) throw error;
      this.#failures += 1;
      if (error instanceof Refusal && error.status === 401) this.post.onreply(answer, error);
      this.post.onchange();
      const wait = error instanceof Refusal ? error.wait * 1000 : 0;
      await this.post.pause(Math.max(wait, Math.min(FIRST_PAUSE_MS * 2 ** (this.#failures - 1), LONGEST_PAUSE_MS)));
    }
  }

  #settle(answer: Answer, reply: Saved | Refusal): void {
    this.#failures = 0;
    this.#waiting = this.#waiting.filter((other) => other !== answer);
    forget(this.storage, nameOf(answer));
    this.post.onchange();
    this.post.onreply(answer, reply);
  }
}

function nameOf(answer: Answer): string {
  return `answer.${answer.task}.${answer.key}`;
}

function parsed(text: string | null): Answer | null {
  try {
    return text === null ? null : (JSON.parse(text) as Answer);
  } catch {
    return null;
  }
}
