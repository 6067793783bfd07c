/** The server's interface (docs/review.md), with the token that the entry link carried. */

import { keep, kept } from "./storage";

export interface Me {
  readonly name: string;
  readonly role: "worker" | "reviewer" | "admin";
  readonly review: {
    readonly name: string;
    readonly images_per_task: number;
    readonly lives: number;
    readonly idle_minutes: number;
    readonly labels: readonly string[];
    readonly paused: boolean;
  };
}

/** A request that the server refused: `code` as in docs/review.md; `wait` is its Retry-After in seconds. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly wait: number,
  ) {
    super(message);
  }

  /** Whether the same request may go through later. */
  get passing(): boolean {
    return this.status === 429 || this.status >= 500;
  }
}

/** The network, or a proxy on the way, has lost the request. */
export class Offline extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

const PATIENCE_MS = 20_000;
let token = "";

/** Take the token from the address, where an entry link puts it, or from where this tab kept it. */
export function findToken(): boolean {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname + location.search); // not to be seen, copied or kept by history
    useToken(given);
  } else token = kept(sessionStorage, "token") ?? "";
  return token !== "";
}

/** Use this token in this tab from now on. */
export function useToken(given: string): void {
  token = given;
  keep(sessionStorage, "token", given);
}

/**
 * Send a request and return the JSON of its answer.
 *
 * Throws Refusal, or Offline.
 */
export async function ask<T>(method: "GET" | "POST" | "PUT", path: string, body?: object): Promise<T> {
  const reply = await send(method, path, body);
  if (!reply.ok) throw await refusal(reply);
  try {
    return (await reply.json()) as T;
  } catch {
    throw new Offline();
  }
}

/** An image behind one of the server's links; throws Refusal, or Offline. */
export async function askImage(url: string): Promise<ImageBitmap> {
  const reply = await send("GET", url);
  if (!reply.ok) throw await refusal(reply);
  try {
    return await createImageBitmap(await reply.blob());
  } catch {
    throw new Refusal(404, "unreadable", "This image cannot be shown.", 0);
  }
}

/** A sleep that ends early when the network comes back. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
  });
}

/** Say it in a sentence. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function send(method: string, path: string, body?: object): Promise<Response> {
  const headers: Record<string, string> = {};
  if (token && !path.startsWith("/api/images/")) headers.Authorization = `Bearer ${token}`;
  const request: RequestInit = { method, headers, signal: AbortSignal.timeout(PATIENCE_MS) };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, request);
  } catch {
    throw new Offline();
  }
}

async function refusal(reply: Response): Promise<Refusal> {
  const told = (await reply.json().catch(() => ({}))) as { code?: string; message?: string };
  const wait = Number(reply.headers.get("Retry-After")) || 0;
  return new Refusal(reply.status, told.code ?? "unavailable", told.message ?? `HTTP ${reply.status}`, wait);
}
